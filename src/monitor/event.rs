//! What the kernel tells, in the words of everything above it: a [`Record`] becomes an [`Event`], and an event that ended
//! a known silence of a device has a [`Gap`], the evidence from which a NAT's lifetime is learnt.
//!
//! Records come from a ring buffer or from a file that somebody sent: an unknown kind is an error, an unknown cohort is
//! [`UNKNOWN`], and a silence in which nobody watched is `None`. Nothing here panics.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::key::Key;
use super::mirror::{BINDING_REPLIED, BINDING_STREAM, ID_BYTES, RECORD_BLIND, RECORD_REBOOTED, Record, record_kind};
use super::prefixes::UNKNOWN;
use crate::time::WallTime;

/// The bytes that name a device, as many as its key has. Shown as lower hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId {
    bytes: [u8; ID_BYTES],
    length: u8,
}

/// What happened to a device, or to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A device that was not known.
    New,
    /// A known device comes from another address: the NAT forgot its binding, or the device changed networks.
    Rebinding,
    /// A known device comes from another address with another connection id: it moved on purpose.
    Migration,
    /// A gap over the threshold, and the binding is still the same.
    Gap,
    /// Sequence numbers are missing: packets were sent and did not arrive.
    Jump,
    /// A TCP connection is established, and nothing gets through.
    TcpUnreachable,
}

/// What is known of a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Binding {
    /// A packet went out to the device.
    pub is_replied: bool,
    /// And one passed, either way, later than a NAT takes to count the binding as a stream.
    pub is_stream: bool,
}

/// Where the packet came from, and where those before it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// The binding before.
    pub from: SocketAddr,
    /// The binding now.
    pub to: SocketAddr,
    /// Index of the interface; 0 for TCP.
    pub interface: u32,
}

/// Something rare that the kernel told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// When.
    pub at: WallTime,
    /// To whom; `None` for TCP.
    pub device: Option<DeviceId>,
    /// Of the device or the peer, as it is now.
    pub cohort: Arc<str>,
    /// Since the packet before from the device; TCP: since the first timeout that nothing answered. `None` where that
    /// is not known: a new device, or one that sent when nobody watched.
    pub gap: Option<Duration>,
    /// Since the last packet either way; `None` as for `gap`.
    pub silence: Option<Duration>,
    /// The binding as it was before the silence.
    pub binding: Binding,
    /// Its address, before and now.
    pub path: Path,
    /// Sequence numbers that never came.
    pub missed: u32,
    /// The boot counter changed: what looks like a lost binding may be a new socket.
    pub is_rebooted: bool,
}

/// How a silence ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The binding is the same.
    Survived,
    /// The device is the same, its binding another.
    Rebound,
    /// The device moved on purpose: says nothing of the binding.
    Migrated,
}

/// A silence of known length, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Whose.
    pub device: DeviceId,
    /// Of the device.
    pub cohort: Arc<str>,
    /// Since the last packet either way.
    pub silence: Duration,
    /// A packet had gone out to the device over the binding before the silence.
    pub both_ways: bool,
    /// And the binding counted as a stream.
    pub is_stream: bool,
    /// How it ended.
    pub outcome: Outcome,
    /// Where.
    pub path: Path,
    /// Packets that the device sent in it and that did not arrive: each may have refreshed the binding.
    pub missed: u32,
    /// The device restarted in it.
    pub is_rebooted: bool,
    /// When it ended.
    pub at: WallTime,
}

/// A record of a kind that this version does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a record of kind {0}, which this version of Flyball does not know")]
pub struct UnknownKind(pub u8);

/// How records are read: what the numbers in them mean.
#[derive(Debug, Clone)]
pub struct Decoder {
    key: Key,
    names: Vec<Arc<str>>,
    zero: WallTime,
    unknown: Arc<str>,
}

impl DeviceId {
    /// The first bytes of `bytes`, as many as `key` names a device by.
    pub fn new(bytes: [u8; ID_BYTES], key: Key) -> Self {
        Self { bytes, length: key.id_bytes().min(ID_BYTES) as u8 }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex: String = self.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        f.pad(&hex)
    }
}

impl EventKind {
    /// The name in logs and JSON lines. A jump is a gap too: of packets that did not arrive.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Rebinding => "rebinding",
            Self::Migration => "migration",
            Self::Gap | Self::Jump => "gap",
            Self::TcpUnreachable => "tcp_unreachable",
        }
    }
}

impl TryFrom<u8> for EventKind {
    type Error = UnknownKind;

    fn try_from(kind: u8) -> Result<Self, UnknownKind> {
        match kind {
            record_kind::NEW => Ok(Self::New),
            record_kind::REBINDING => Ok(Self::Rebinding),
            record_kind::MIGRATION => Ok(Self::Migration),
            record_kind::GAP => Ok(Self::Gap),
            record_kind::JUMP => Ok(Self::Jump),
            record_kind::TCP_UNREACHABLE => Ok(Self::TcpUnreachable),
            unknown => Err(UnknownKind(unknown)),
        }
    }
}

impl Event {
    /// The silence that this event ended, if it ended one of known length.
    pub fn ended_gap(&self) -> Option<Gap> {
        let outcome = match self.kind {
            EventKind::Rebinding => Outcome::Rebound,
            EventKind::Migration => Outcome::Migrated,
            EventKind::Gap | EventKind::Jump => Outcome::Survived,
            EventKind::New | EventKind::TcpUnreachable => return None,
        };
        Some(Gap {
            device: self.device?,
            cohort: Arc::clone(&self.cohort),
            silence: self.silence?,
            both_ways: self.binding.is_replied,
            is_stream: self.binding.is_stream,
            outcome,
            path: self.path,
            missed: self.missed,
            is_rebooted: self.is_rebooted,
            at: self.at,
        })
    }
}

impl Decoder {
    /// `names` are the cohorts by number, `zero` the wall time at the kernel's time 0.
    pub fn new(key: Key, names: Vec<Arc<str>>, zero: WallTime) -> Self {
        Self { key, names, zero, unknown: UNKNOWN.into() }
    }

    /// The wall's time was set: `zero` is now the wall time at the kernel's time 0.
    pub fn set_zero(&mut self, zero: WallTime) {
        self.zero = zero;
    }

    /// Whether a cohort of this number was told.
    pub fn is_named(&self, number: u16) -> bool {
        usize::from(number) < self.names.len()
    }

    /// The name of a cohort; one that was never told counts where the kernel counts it, as unknown.
    pub fn cohort(&self, number: u16) -> Arc<str> {
        Arc::clone(self.names.get(usize::from(number)).unwrap_or(&self.unknown))
    }

    /// The event that a record tells.
    ///
    /// # Errors
    /// The record is of a kind that this version does not know.
    pub fn event(&self, record: &Record) -> Result<Event, UnknownKind> {
        let kind = EventKind::try_from(record.kind)?;
        let is_timed = kind != EventKind::New && record.flags & RECORD_BLIND == 0;
        Ok(Event {
            kind,
            at: self.zero.plus(Duration::from_nanos(record.at)),
            device: (kind != EventKind::TcpUnreachable).then(|| DeviceId::new(record.device, self.key)),
            cohort: self.cohort(record.cohort),
            gap: is_timed.then(|| Duration::from_nanos(record.gap)),
            silence: is_timed.then(|| Duration::from_nanos(record.silence)),
            binding: binding(record.flags),
            path: path(record),
            missed: record.missed,
            is_rebooted: record.flags & RECORD_REBOOTED != 0,
        })
    }
}

fn binding(flags: u8) -> Binding {
    Binding { is_replied: flags & BINDING_REPLIED != 0, is_stream: flags & BINDING_STREAM != 0 }
}

fn path(record: &Record) -> Path {
    Path {
        from: address(record.from, record.from_port),
        to: address(record.to, record.to_port),
        interface: record.interface,
    }
}

/// IPv4 as people write it, also where the kernel carries it in IPv6.
fn address(bytes: [u8; 16], port: u16) -> SocketAddr {
    let ip = Ipv6Addr::from(bytes);
    SocketAddr::new(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4), port)
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;
    use proptest::prelude::*;

    use super::*;
    use crate::monitor::synthetic::{self, seconds};

    fn decoder() -> Decoder {
        let names = vec![UNKNOWN.into(), "carrier=a,region=eu".into()];
        Decoder::new(Key::Heartbeat, names, WallTime::from_unix_ms(1_000_000))
    }

    #[test]
    fn a_rebinding_is_the_end_of_a_silence_that_the_binding_did_not_survive() {
        let event = decoder().event(&synthetic::rebinding(1, 45.1)).expect("a known kind");
        assert_eq!((event.kind, event.cohort.as_ref()), (EventKind::Rebinding, "carrier=a,region=eu"));
        let (from, to) = (event.path.from.to_string(), event.path.to.to_string());
        assert_eq!((from.as_str(), to.as_str()), ("10.0.0.1:4000", "10.0.0.1:4711"));
        let gap = event.ended_gap().expect("a known silence");
        assert_eq!((gap.silence, gap.outcome), (seconds(45.1), Outcome::Rebound));
        assert_eq!((gap.both_ways, gap.is_stream), (true, false));
    }

    #[test]
    fn a_silence_in_which_nobody_watched_is_no_evidence() {
        let mut record = synthetic::rebinding(1, 45.1);
        record.flags |= RECORD_BLIND;
        let event = decoder().event(&record).expect("a known kind");
        assert_eq!((event.gap, event.silence, event.ended_gap()), (None, None, None));
    }

    #[test]
    fn kinds_outcomes_and_names_agree() {
        let table = [
            (record_kind::NEW, "new", None),
            (record_kind::REBINDING, "rebinding", Some(Outcome::Rebound)),
            (record_kind::MIGRATION, "migration", Some(Outcome::Migrated)),
            (record_kind::GAP, "gap", Some(Outcome::Survived)),
            (record_kind::JUMP, "gap", Some(Outcome::Survived)),
            (record_kind::TCP_UNREACHABLE, "tcp_unreachable", None),
        ];
        for (kind, name, outcome) in table {
            let event = decoder().event(&Record { kind, ..synthetic::rebinding(1, 45.1) }).expect("a known kind");
            assert_eq!((event.kind.as_str(), event.ended_gap().map(|gap| gap.outcome)), (name, outcome));
            assert_eq!(event.device.is_none(), kind == record_kind::TCP_UNREACHABLE);
        }
    }

    #[test]
    fn a_device_is_named_by_as_many_bytes_as_its_key_has() {
        let bytes: [u8; 16] = std::array::from_fn(|i| 0xa0 + i as u8);
        let shown = |key: &str| DeviceId::new(bytes, key.parse().expect("a key")).to_string();
        assert_eq!(shown("heartbeat"), "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf");
        assert_eq!(shown("quic:8,prefix:4"), "a0a1a2a3");
        assert_eq!(shown("offset:8,len:1"), "a0");
    }

    #[test]
    fn a_cohort_that_was_never_told_is_unknown() {
        let event = decoder().event(&synthetic::rebinding(7, 1.0)).expect("a known kind");
        assert_eq!(event.cohort.as_ref(), UNKNOWN);
    }

    #[test]
    fn a_record_of_another_version_is_an_error() {
        for kind in [0, 7, 255] {
            assert_eq!(decoder().event(&Record { kind, ..Record::zeroed() }), Err(UnknownKind(kind)));
        }
    }

    proptest! {
        #[test]
        fn no_record_makes_the_decoder_panic(bytes in prop::array::uniform32(any::<u8>()), kind: u8, at: u64) {
            let mut raw = [0; size_of::<Record>()];
            raw.iter_mut().zip(bytes.iter().cycle()).for_each(|(to, from)| *to = *from);
            let record = Record { kind, at, ..bytemuck::cast(raw) };
            let _ = decoder().event(&record).map(|event| (event.ended_gap(), event.at.rfc3339()));
        }
    }
}
