//! The heartbeat datagram, version 1, in network byte order.
//!
//! | offset | size | in what a device sends | in what it is answered |
//! |---|---|---|---|
//! | 0 | 2 | magic 0x4642 | the same |
//! | 2 | 1 | version 1 | the same |
//! | 3 | 1 | type: 1 heartbeat, 3 side-flow probe, 4 answers an ack, 6 hello | 2 ack, 4 probe answer, 5 challenge |
//! | 4 | 2 | flags | flags |
//! | 6 | 2 | key id | the same |
//! | 8 | 16 | device id | sequence u32 (echo), generation u48, interval u16 in 100 ms, jitter u8, retry u8, probe u16; challenge: nonce |
//! | 24 | 4 | boot counter | MAC over 0..23, device id and boot: to 39, the end |
//! | 28 | 4 | sequence within the boot | |
//! | 32 | 8 | generation of the order in force; hello: labels `k=v\n` up to 1,200 bytes, then the MAC, the end | |
//! | 40 | 16 | cookie or nonce that is echoed | |
//! | 56 | 8 | probe report | |
//! | 64 | 16 | MAC over 0..63 | |
//!
//! 80 bytes are asked with and at most 80 are answered: an ack, and for what needs it a second one. Nobody can have a
//! server send more to somebody else than it was sent.
//!
//! Reading is in two steps: the shape, which costs nothing, and the code, which costs some hundred nanoseconds.

use super::id::DeviceId;
use super::jitter::Pace;
use super::key::{MAC_BYTES, Mac, MacKey};
use super::probe::{ProbeOrder, ProbeReport};
use std::time::Duration;

/// The first two bytes.
pub const MAGIC: u16 = 0x4642;
/// The third.
pub const VERSION: u8 = 1;
/// Bytes of everything that a device sends but a hello.
pub const REQUEST_BYTES: usize = 80;
/// Bytes of everything that it is answered.
pub const ANSWER_BYTES: usize = 40;
/// Bytes of labels in a hello at most.
pub const LABELS_MAX_BYTES: usize = 1_200;
/// Bytes of the longest datagram.
pub const DATAGRAM_MAX_BYTES: usize = HELLO_HEAD_BYTES + LABELS_MAX_BYTES + MAC_BYTES;
/// Bytes that a request's MAC covers.
const COVERED_BYTES: usize = 64;
const HELLO_HEAD_BYTES: usize = 32;
const INTERVAL_UNIT: Duration = Duration::from_millis(100);
const GENERATION_MAX: u64 = (1 << 48) - 1;

/// Types of datagrams.
pub mod kind {
    /// Device to server.
    pub const HEARTBEAT: u8 = 1;
    /// Server to device.
    pub const ACK: u8 = 2;
    /// Device to server, from a side flow or about one.
    pub const PROBE: u8 = 3;
    /// Server to device, to a side flow or about one; device to server: answers an ack to a new address.
    pub const ANSWER: u8 = 4;
    /// Server to device: say that again, with this nonce.
    pub const CHALLENGE: u8 = 5;
    /// Device to server: its labels.
    pub const HELLO: u8 = 6;
}

/// Flags of what a device sends.
pub mod sent {
    /// The second ack came: the binding is a stream.
    pub const STREAM: u16 = 1;
    /// The link has just come up.
    pub const LINK_UP: u16 = 1 << 1;
    /// Nothing answered the sending before.
    pub const RETRY: u16 = 1 << 2;
    /// Answers an ack to a new address; the cookie is that ack's MAC.
    pub const NEW_ADDRESS: u16 = 1 << 3;
    /// A probe of unreplied bindings.
    pub const UNREPLIED: u16 = 1 << 5;
}

/// Flags of what it is answered.
pub mod told {
    /// This address is new: answer with this ack's MAC before more is sent here. The generation is a nonce, and the pace
    /// is not to be taken.
    pub const NEW_ADDRESS: u16 = 1;
    /// Say hello.
    pub const HELLO: u16 = 1 << 1;
    /// The second ack of a heartbeat.
    pub const SECOND: u16 = 1 << 2;
    /// The probe field holds an order.
    pub const PROBE: u16 = 1 << 3;
    /// The NAT forgets sooner than any allowed interval can serve.
    pub const HOSTILE: u16 = 1 << 4;
    /// The order tests unreplied bindings: the side flow's opening is not answered.
    pub const UNREPLIED: u16 = 1 << 5;
    /// Only in a probe answer: this one goes to the main flow, as the control.
    pub const CONTROL: u16 = 1 << 6;
}

/// What a device sends, but for a hello's labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// One of [`kind`].
    pub kind: u8,
    /// Of [`sent`].
    pub flags: u16,
    /// Which master key the device's key is derived from.
    pub key_id: u16,
    /// Who.
    pub device: DeviceId,
    /// Counts the device's starts.
    pub boot: u32,
    /// Counts its datagrams since the start.
    pub sequence: u32,
    /// Of the order in force; zero in a hello.
    pub generation: u64,
    /// Echoed cookie or nonce; zero else.
    pub cookie: Mac,
    /// Bytes of a probe report; zero else.
    pub report: [u8; 8],
}

/// A hello: a request's head and labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello<'a> {
    /// Head; `generation`, `cookie` and `report` are zero.
    pub head: Request,
    /// Lines of `k=v`, UTF-8.
    pub labels: &'a str,
}

/// What arrived at the server, in shape and not yet authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrived<'a> {
    /// Everything of 80 bytes.
    Request(Request),
    /// A hello.
    Hello(Hello<'a>),
}

/// Why a datagram is none of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Too short or too long for its type.
    #[error("{0} bytes are no datagram of this type")]
    Length(usize),
    /// Another protocol.
    #[error("no magic")]
    Magic,
    /// A version that this one does not know.
    #[error("version {0}")]
    Version(u8),
    /// A type that this side does not take.
    #[error("type {0}")]
    Kind(u8),
    /// Labels that are no UTF-8.
    #[error("labels are no UTF-8")]
    Labels,
}

/// What a device is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// An ack (type 2) or a probe answer (type 4).
    Ack(Ack),
    /// Say it again with this nonce as the cookie.
    Challenge {
        /// 16 bytes that the server can recognise.
        nonce: Mac,
    },
}

/// An ack, or a probe answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// [`kind::ACK`] or [`kind::ANSWER`].
    pub kind: u8,
    /// Of [`told`].
    pub flags: u16,
    /// Of the request.
    pub sequence: u32,
    /// What pace to take.
    pub pace: Pace,
    /// What to test. In a probe answer: the order that it belongs to, with the flow's number in place of `flows`.
    pub probe: u16,
}

impl Ack {
    /// The order, where there is one.
    pub fn order(&self) -> Option<ProbeOrder> {
        (self.flags & told::PROBE != 0).then(|| ProbeOrder::from_bits(self.probe)).flatten()
    }
}

impl Request {
    /// A heartbeat of nothing in particular.
    pub const fn heartbeat(key_id: u16, device: DeviceId, boot: u32, sequence: u32) -> Self {
        let kind = kind::HEARTBEAT;
        Self { kind, flags: 0, key_id, device, boot, sequence, generation: 0, cookie: [0; 16], report: [0; 8] }
    }

    /// The probe report, where there is one.
    pub fn report(&self) -> Option<ProbeReport> {
        ProbeReport::from_bytes(self.report)
    }

    /// As bytes, authenticated.
    pub fn sealed(&self, key: &MacKey) -> [u8; REQUEST_BYTES] {
        let mut bytes = [0; REQUEST_BYTES];
        bytes[..HELLO_HEAD_BYTES].copy_from_slice(&self.head());
        bytes[32..40].copy_from_slice(&self.generation.to_be_bytes());
        bytes[40..56].copy_from_slice(&self.cookie);
        bytes[56..64].copy_from_slice(&self.report);
        let mac = key.mac(&[&bytes[..COVERED_BYTES]]);
        bytes[COVERED_BYTES..].copy_from_slice(&mac);
        bytes
    }

    fn head(&self) -> [u8; HELLO_HEAD_BYTES] {
        let mut bytes = [0; HELLO_HEAD_BYTES];
        bytes[..8].copy_from_slice(&header(self.kind, self.flags, self.key_id));
        bytes[8..24].copy_from_slice(&self.device.0);
        bytes[24..28].copy_from_slice(&self.boot.to_be_bytes());
        bytes[28..32].copy_from_slice(&self.sequence.to_be_bytes());
        bytes
    }
}

impl Hello<'_> {
    /// As bytes, authenticated. Labels beyond [`LABELS_MAX_BYTES`] are cut at a line's end.
    pub fn sealed(&self, key: &MacKey) -> Vec<u8> {
        let labels = fitting(self.labels);
        let mut bytes = Request { kind: kind::HELLO, ..self.head }.head().to_vec();
        bytes.extend_from_slice(labels.as_bytes());
        let mac = key.mac(&[&bytes]);
        bytes.extend_from_slice(&mac);
        bytes
    }
}

fn fitting(labels: &str) -> &str {
    if labels.len() <= LABELS_MAX_BYTES {
        return labels;
    }
    let end = labels.as_bytes()[..LABELS_MAX_BYTES].iter().rposition(|byte| *byte == b'\n');
    &labels[..end.map_or(0, |end| end + 1)]
}

impl<'a> Arrived<'a> {
    /// The shape of a datagram that came to the server.
    ///
    /// # Errors
    /// It has no shape of ours.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        match checked_kind(bytes)? {
            kind::HEARTBEAT | kind::PROBE | kind::ANSWER => {
                let whole = bytes.try_into().map_err(|_| Malformed::Length(bytes.len()))?;
                Ok(Self::Request(request(whole)))
            }
            kind::HELLO => hello(bytes).map(Self::Hello),
            other => Err(Malformed::Kind(other)),
        }
    }

    /// Who says it, and under which key.
    pub fn head(&self) -> &Request {
        match self {
            Self::Request(request) => request,
            Self::Hello(hello) => &hello.head,
        }
    }
}

/// Whether the MAC at the end of a datagram that [`Arrived::read`] took is the key's.
pub fn is_authentic(bytes: &[u8], key: &MacKey) -> bool {
    let Some((covered, mac)) = bytes.split_last_chunk::<MAC_BYTES>() else { return false };
    key.is_mac(mac, &[covered])
}

fn request(bytes: &[u8; REQUEST_BYTES]) -> Request {
    let head: &[u8; HELLO_HEAD_BYTES] = bytes.first_chunk().expect("80 bytes are more than 32");
    Request {
        generation: u64::from_be_bytes(field(bytes, 32)),
        cookie: field(bytes, 40),
        report: field(bytes, 56),
        ..request_head(head)
    }
}

fn request_head(bytes: &[u8; HELLO_HEAD_BYTES]) -> Request {
    Request {
        kind: bytes[3],
        flags: u16::from_be_bytes(field(bytes, 4)),
        key_id: u16::from_be_bytes(field(bytes, 6)),
        device: DeviceId(field(bytes, 8)),
        boot: u32::from_be_bytes(field(bytes, 24)),
        sequence: u32::from_be_bytes(field(bytes, 28)),
        generation: 0,
        cookie: [0; 16],
        report: [0; 8],
    }
}

fn hello(bytes: &[u8]) -> Result<Hello<'_>, Malformed> {
    let long = || Malformed::Length(bytes.len());
    if bytes.len() > DATAGRAM_MAX_BYTES {
        return Err(long());
    }
    let (head, rest) = bytes.split_first_chunk::<HELLO_HEAD_BYTES>().ok_or_else(long)?;
    let (labels, _) = rest.split_last_chunk::<MAC_BYTES>().ok_or_else(long)?;
    let labels = std::str::from_utf8(labels).map_err(|_| Malformed::Labels)?;
    Ok(Hello { head: request_head(head), labels })
}

fn header(kind: u8, flags: u16, key_id: u16) -> [u8; 8] {
    let ([m0, m1], [f0, f1], [k0, k1]) = (MAGIC.to_be_bytes(), flags.to_be_bytes(), key_id.to_be_bytes());
    [m0, m1, VERSION, kind, f0, f1, k0, k1]
}

fn checked_kind(bytes: &[u8]) -> Result<u8, Malformed> {
    let &[m0, m1, version, kind, ..] = bytes else { return Err(Malformed::Length(bytes.len())) };
    match (u16::from_be_bytes([m0, m1]), version) {
        (MAGIC, VERSION) => Ok(kind),
        (MAGIC, other) => Err(Malformed::Version(other)),
        _ => Err(Malformed::Magic),
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}

impl Answer {
    /// As bytes, authenticated for the device and the boot that asked.
    pub fn sealed(&self, key: &MacKey, key_id: u16, device: DeviceId, boot: u32) -> [u8; ANSWER_BYTES] {
        let mut bytes = [0; ANSWER_BYTES];
        match self {
            Self::Ack(ack) => {
                let hostile = if ack.pace.is_hostile { told::HOSTILE } else { 0 };
                bytes[..8].copy_from_slice(&header(ack.kind, ack.flags | hostile, key_id));
                bytes[8..12].copy_from_slice(&ack.sequence.to_be_bytes());
                bytes[12..18].copy_from_slice(&ack.pace.generation.min(GENERATION_MAX).to_be_bytes()[2..]);
                bytes[18..20].copy_from_slice(&units(ack.pace.interval).to_be_bytes());
                bytes[20..22].copy_from_slice(&[ack.pace.jitter, ack.pace.retry]);
                bytes[22..24].copy_from_slice(&ack.probe.to_be_bytes());
            }
            Self::Challenge { nonce } => {
                bytes[..8].copy_from_slice(&header(kind::CHALLENGE, 0, key_id));
                bytes[8..24].copy_from_slice(nonce);
            }
        }
        let mac = key.mac(&[&bytes[..24], &device.0, &boot.to_be_bytes()]);
        bytes[24..].copy_from_slice(&mac);
        bytes
    }

    /// What came to the device, checked; with its MAC, which a new address has to echo.
    ///
    /// # Errors
    /// It has no shape of ours, or is not authentic (`None` within).
    pub fn read(bytes: &[u8], key: &MacKey, device: DeviceId, boot: u32) -> Result<(Self, Mac), Option<Malformed>> {
        let kind = checked_kind(bytes)?;
        let whole: &[u8; ANSWER_BYTES] = bytes.try_into().map_err(|_| Malformed::Length(bytes.len()))?;
        if !matches!(kind, kind::ACK | kind::ANSWER | kind::CHALLENGE) {
            return Err(Some(Malformed::Kind(kind)));
        }
        let mac: Mac = field(whole, 24);
        if !key.is_mac(&mac, &[&whole[..24], &device.0, &boot.to_be_bytes()]) {
            return Err(None);
        }
        if kind == kind::CHALLENGE {
            return Ok((Self::Challenge { nonce: field(whole, 8) }, mac));
        }
        let flags = u16::from_be_bytes(field(whole, 4));
        let [g0, g1, g2, g3, g4, g5] = field(whole, 12);
        let pace = Pace {
            generation: u64::from_be_bytes([0, 0, g0, g1, g2, g3, g4, g5]),
            interval: INTERVAL_UNIT * u32::from(u16::from_be_bytes(field(whole, 18))),
            jitter: whole[20],
            retry: whole[21],
            is_hostile: flags & told::HOSTILE != 0,
        };
        let probe = u16::from_be_bytes(field(whole, 22));
        let flags = flags & !told::HOSTILE;
        Ok((Self::Ack(Ack { kind, flags, sequence: u32::from_be_bytes(field(whole, 8)), pace, probe }), mac))
    }
}

/// In 100 ms, rounded down: an interval may be told shorter, never longer.
fn units(interval: Duration) -> u16 {
    u16::try_from(interval.as_millis() / INTERVAL_UNIT.as_millis()).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::key::derive;

    const DEVICE: DeviceId = DeviceId([0xd; 16]);

    fn key() -> MacKey {
        MacKey::new(&derive(&[1; 32], 3, DEVICE))
    }

    fn full() -> Request {
        Request {
            kind: kind::PROBE,
            flags: sent::STREAM | sent::RETRY,
            generation: 0x0102_0304_0506,
            cookie: [5; 16],
            report: [9; 8],
            ..Request::heartbeat(3, DEVICE, 11, 12)
        }
    }

    #[test]
    fn a_request_survives_the_wire_and_lies_where_the_layout_says() {
        let bytes = full().sealed(&key());
        assert_eq!(Arrived::read(&bytes), Ok(Arrived::Request(full())));
        assert!(is_authentic(&bytes, &key()));
        assert_eq!(bytes[..8], [0x46, 0x42, 1, 3, 0, 5, 0, 3]);
        assert_eq!(
            (bytes[8..24] == DEVICE.0, bytes[27], bytes[31], bytes[39], bytes[40], bytes[56]),
            (true, 11, 12, 6, 5, 9)
        );
    }

    #[test]
    fn a_request_with_any_bit_changed_is_not_authentic() {
        let bytes = full().sealed(&key());
        for bit in 0..REQUEST_BYTES * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_authentic(&changed, &key()), "bit {bit}");
        }
        assert!(!is_authentic(&bytes, &MacKey::new(&derive(&[1; 32], 4, DEVICE))));
    }

    #[test]
    fn an_ack_survives_the_wire() {
        let pace = Pace {
            generation: (1 << 48) - 2,
            interval: Duration::from_millis(84_200),
            jitter: 64,
            retry: 12,
            is_hostile: true,
        };
        let order = ProbeOrder::from_bits(0x5321).expect("an order");
        let ack = Ack { kind: kind::ACK, flags: told::PROBE | told::HELLO, sequence: 12, pace, probe: order.to_bits() };
        let bytes = Answer::Ack(ack).sealed(&key(), 3, DEVICE, 11);
        let (read, mac) = Answer::read(&bytes, &key(), DEVICE, 11).expect("authentic");
        assert_eq!((read, &mac[..], ack.order()), (Answer::Ack(ack), &bytes[24..], Some(order)));
        assert_eq!(Answer::read(&bytes, &key(), DEVICE, 12), Err(None), "an ack of another boot");
        assert_eq!(Answer::read(&bytes[..39], &key(), DEVICE, 11), Err(Some(Malformed::Length(39))));
    }

    #[test]
    fn a_challenge_survives_the_wire() {
        let challenge = Answer::Challenge { nonce: [0xc; 16] };
        let bytes = challenge.sealed(&key(), 3, DEVICE, 11);
        assert_eq!(Answer::read(&bytes, &key(), DEVICE, 11).map(|(answer, _)| answer), Ok(challenge));
    }

    #[test]
    fn a_hello_carries_labels_and_no_more_than_it_may() {
        let head = Request { kind: kind::HELLO, ..Request::heartbeat(3, DEVICE, 11, 12) };
        let hello = Hello { head, labels: "carrier=a\nregion=eu\n" };
        let bytes = hello.sealed(&key());
        assert_eq!(Arrived::read(&bytes), Ok(Arrived::Hello(hello)));
        assert!(is_authentic(&bytes, &key()));
        let long: String = (0..200).map(|i| format!("label-{i}=value\n")).collect();
        let bytes = Hello { head, labels: &long }.sealed(&key());
        assert!(bytes.len() <= DATAGRAM_MAX_BYTES && bytes[bytes.len() - 17] == b'\n', "{}", bytes.len());
        assert!(Arrived::read(&bytes).is_ok());
    }

    #[test]
    fn what_is_not_ours_is_told_by_what_is_wrong() {
        let bytes = full().sealed(&key());
        let with = |at: usize, byte: u8| {
            let mut changed = bytes;
            changed[at] = byte;
            Arrived::read(&changed).map(|_| ()).expect_err("malformed")
        };
        assert_eq!(with(0, 0), Malformed::Magic);
        assert_eq!(with(2, 2), Malformed::Version(2));
        assert_eq!(with(3, 2), Malformed::Kind(2));
        for length in 0..80 {
            assert_eq!(Arrived::read(&bytes[..length]), Err(Malformed::Length(length)));
        }
        let mut hello = bytes;
        hello[3] = kind::HELLO;
        hello[40] = 0xff;
        assert_eq!(Arrived::read(&hello), Err(Malformed::Labels));
    }
}
