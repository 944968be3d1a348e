//! What the RFCs say a frame is, in the plainest way: to compare the program with.
//!
//! Written from the layouts and not from the program. What it leaves to the receiver's stack, as the program does:
//! checksums, hop counts, addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use flyball::monitor::key::Key;

const UDP: u8 = 17;
const HOP_BY_HOP: u8 = 0;
const DESTINATION_OPTIONS: u8 = 60;
/// Tags within the frame that are looked behind.
const TAGS_MAX: usize = 2;
/// Extension headers that are looked behind.
const EXTENSIONS_MAX: usize = 4;

/// A UDP datagram that is whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Datagram<'a> {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) payload: &'a [u8],
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The datagram in an Ethernet frame; none where there is none, or not the whole of it.
pub(super) fn datagram(frame: &[u8]) -> Option<Datagram<'_>> {
    let (mut kind, mut rest) = (u16_at(frame, 12)?, &frame[14..]);
    for _ in 0..TAGS_MAX {
        if matches!(kind, 0x8100 | 0x88a8) {
            (kind, rest) = (u16_at(rest, 2)?, &rest[4..]);
        }
    }
    match kind {
        0x0800 => ipv4(rest),
        0x86dd => ipv6(rest),
        _ => None,
    }
}

/// RFC 791.
fn ipv4(packet: &[u8]) -> Option<Datagram<'_>> {
    let fixed: &[u8; 20] = packet.first_chunk()?;
    let header_bytes = usize::from(fixed[0] & 15) * 4;
    let packet = packet.get(..usize::from(u16_at(fixed, 2)?))?;
    let is_fragment = u16_at(fixed, 6)? & 0x3fff != 0;
    if fixed[0] >> 4 != 4 || header_bytes < 20 || fixed[9] != UDP || is_fragment {
        return None;
    }
    let address = |at: usize| Some(IpAddr::from(Ipv4Addr::from(*fixed[at..].first_chunk::<4>()?)));
    udp(packet.get(header_bytes..)?, address(12)?, address(16)?)
}

/// RFC 8200: hop-by-hop options come first or not at all. Other extensions mean that the packet is not whole (a fragment), not
/// yet there (routing), or not readable. RFC 2675's jumbograms, of length 0, are too long for a datagram of ours.
fn ipv6(packet: &[u8]) -> Option<Datagram<'_>> {
    let fixed: &[u8; 40] = packet.first_chunk()?;
    let mut rest = packet.get(40..40 + usize::from(u16_at(fixed, 4)?))?;
    let mut next = fixed[6];
    for i in 0..EXTENSIONS_MAX {
        if next == DESTINATION_OPTIONS || (next == HOP_BY_HOP && i == 0) {
            let bytes = (usize::from(*rest.get(1)?) + 1) * 8;
            (next, rest) = (rest[0], rest.get(bytes..)?);
        }
    }
    let address = |at: usize| Some(IpAddr::from(Ipv6Addr::from(*fixed[at..].first_chunk::<16>()?)));
    if fixed[0] >> 4 != 6 || next != UDP { None } else { udp(rest, address(8)?, address(24)?) }
}

/// RFC 768.
fn udp(segment: &[u8], from: IpAddr, to: IpAddr) -> Option<Datagram<'_>> {
    let payload = segment.get(8..usize::from(u16_at(segment, 4)?))?;
    let end = |ip: IpAddr, at| Some(SocketAddr::new(ip.to_canonical(), u16_at(segment, at)?));
    Some(Datagram { from: end(from, 0)?, to: end(to, 2)?, payload })
}

/// What a payload says of its sender.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) device: [u8; 16],
    /// Whether it is enough to make a device known.
    pub(super) is_introduction: bool,
}

/// The device that a payload names.
pub(super) fn named(key: Key, payload: &[u8]) -> Option<Named> {
    let introduced = |id: &[u8]| {
        let mut device = [0; 16];
        device[..id.len()].copy_from_slice(id);
        Named { device, is_introduction: true }
    };
    match key {
        Key::Heartbeat => heartbeat(payload),
        Key::Offset { offset, length } => payload.get(offset as usize..)?.get(..length as usize).map(introduced),
        Key::Quic { length, prefix } => Some(introduced(&quic(payload, length as usize)?[..prefix as usize])),
        Key::Dtls12 { length } => Some(introduced(&dtls12(payload, length as usize)?[..length.min(16) as usize])),
        Key::Dtls13 { length } => Some(introduced(&dtls13(payload, length as usize)?[..length.min(16) as usize])),
    }
}

fn heartbeat(payload: &[u8]) -> Option<Named> {
    let device = *payload.get(8..)?.first_chunk()?;
    let [0x46, 0x42, 1, kind, ..] = *payload else { return None };
    let bytes_min = if kind == 6 { 48 } else { 80 };
    let is_known = matches!(kind, 1 | 4 | 6) && payload.len() >= bytes_min;
    is_known.then_some(Named { device, is_introduction: kind != 4 })
}

/// RFC 9000, 17.2.4 and 17.3.1; RFC 9369, 3.2; RFC 9001, 5.4.2 for the shortest packet.
fn quic(payload: &[u8], length: usize) -> Option<&[u8]> {
    if payload.len() < 1 + length + 20 {
        return None;
    }
    if payload[0] & 0x80 == 0 {
        return payload.get(1..1 + length);
    }
    let handshake = match *payload.get(1..)?.first_chunk::<4>()? {
        [0, 0, 0, 0] => return None,
        [0x6b, 0x33, 0x43, 0xcf] => 3,
        _ => 2,
    };
    let is_ours = payload[0] >> 4 & 3 == handshake && usize::from(payload[5]) == length;
    if is_ours { payload.get(6..6 + length) } else { None }
}

/// RFC 9146, 4: with the record's length behind the id.
fn dtls12(payload: &[u8], length: usize) -> Option<&[u8]> {
    let [25, 0xfe, 0xfd, ..] = *payload else { return None };
    payload.get(11..11 + length + 2).map(|id| &id[..length])
}

/// RFC 9147, 4: 001, the id's bit, then three others; a sequence of at least a byte, and 16 of ciphertext.
fn dtls13(payload: &[u8], length: usize) -> Option<&[u8]> {
    let is_ours = payload.first()? & 0b1111_0000 == 0b0011_0000;
    payload.get(1..1 + length + 17).filter(|_| is_ours).map(|id| &id[..length])
}
