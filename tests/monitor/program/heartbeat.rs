//! Key `heartbeat`: Flyball's own datagram, over real sockets.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use flyball::lab::SERVER_V6;
use flyball::monitor::mirror::{BINDING_REPLIED, RECORD_REBOOTED};
use libtest_mimic::{Failed, Trial};

use super::bed::{Bed, passes};
use super::watch::{Event, Watch, settings};
use crate::support::lab::trial;

/// Over the threshold of a gap.
const LONG_SILENCE: Duration = Duration::from_millis(1_200);
/// A packet to the device, before the next from it.
const SHORT_SILENCE: Duration = Duration::from_millis(300);
/// The program's clock ticks every 1 to 10 ms; a busy machine sleeps longer than it was asked.
const CLOCK: Duration = Duration::from_millis(50);

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("heartbeat::a_first_beat_is_a_new_device", first_beat),
        trial("heartbeat::a_steady_beat_is_no_event", steady_beat),
        trial("heartbeat::a_jump_is_told_with_what_is_missing", jump),
        trial("heartbeat::a_retry_changes_nothing", retry),
        trial("heartbeat::an_old_sequence_moves_no_device", old_sequence),
        trial("heartbeat::a_fresh_sequence_moves_its_device", fresh_sequence),
        trial("heartbeat::a_reboot_is_no_jump_and_is_flagged", reboot),
        trial("heartbeat::other_types_are_passed_by", other_types),
        trial("heartbeat::a_hello_counts_as_a_beat", hello),
        trial("heartbeat::an_answer_refreshes_and_never_moves", answer),
        trial("heartbeat::a_gap_and_a_silence_are_two_things", gap_and_silence),
        trial("heartbeat::ipv6_is_as_good", ipv6),
        trial("heartbeat::every_watched_port_counts_and_no_other", ports),
    ]
}

/// Version 1, up to 80 bytes; the MAC is zeros, which the kernel cannot check.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heartbeat {
    pub(super) kind: u8,
    pub(super) device: [u8; 16],
    pub(super) boot: u32,
    pub(super) sequence: u32,
}

pub(super) const HEARTBEAT: u8 = 1;
const ACK: u8 = 2;
const SIDE_FLOW_PROBE: u8 = 3;
pub(super) const ANSWER: u8 = 4;
const CHALLENGE: u8 = 5;
pub(super) const HELLO: u8 = 6;
const UNHEARD_OF: u8 = 7;

/// The one device of most trials.
const DEVICE: [u8; 16] = *b"a device's id 16";

impl Heartbeat {
    pub(super) fn of(device: [u8; 16], sequence: u32) -> Self {
        Self { kind: HEARTBEAT, device, boot: 1, sequence }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0x46, 0x42, 1, self.kind, 0, 0, 0, 0];
        bytes.extend(self.device);
        bytes.extend(self.boot.to_be_bytes());
        bytes.extend(self.sequence.to_be_bytes());
        if self.kind == HELLO {
            bytes.extend(b"carrier=a\n");
            bytes.resize(bytes.len() + 16, 0);
        } else {
            bytes.resize(80, 0);
        }
        bytes
    }
}

/// The beat of this sequence, sent; where the server saw it come from.
fn beat(bed: &Bed, socket: &UdpSocket, sequence: u32) -> Result<SocketAddr, Failed> {
    bed.send(socket, &Heartbeat::of(DEVICE, sequence).bytes())
}

fn new(at: SocketAddr) -> Event {
    Event::new("new", DEVICE, at, at)
}

fn first_beat() -> Result<(), Failed> {
    let mut bed = Bed::new("heartbeat")?;
    let at = beat(&bed, &bed.device.udp()?, 7)?;
    assert_eq!(bed.watch.events(), [new(at)]);
    let (counts, device) = (bed.watch.counts()?, bed.watch.device(DEVICE)?);
    assert_eq!((counts.from, counts.new_devices, counts.gap_sum), (1, 1, 0), "a first packet ends no gap");
    assert_eq!((device.sequence, device.boot, device.port, device.to_at), (7, 1, at.port(), 0));
    Ok(())
}

fn steady_beat() -> Result<(), Failed> {
    let mut bed = Bed::new("heartbeat")?;
    let socket = bed.device.udp()?;
    let at = beat(&bed, &socket, 1)?;
    for sequence in 2..=20 {
        beat(&bed, &socket, sequence)?;
        bed.push(at, &socket, b"ack")?;
    }
    assert_eq!(bed.watch.events(), [new(at)]);
    let counts = bed.watch.counts()?;
    assert_eq!((counts.from, counts.to, counts.missed, counts.stale), (20, 19, 0, 0));
    assert_eq!(counts.gaps.iter().sum::<u64>(), 19);
    Ok(())
}

fn jump() -> Result<(), Failed> {
    let mut bed = Bed::new("heartbeat")?;
    let socket = bed.device.udp()?;
    let at = beat(&bed, &socket, u32::MAX - 1)?;
    beat(&bed, &socket, u32::MAX)?;
    beat(&bed, &socket, 4)?;
    let jump = Event { missed: 4, ..Event::new("jump", DEVICE, at, at) };
    assert_eq!(bed.watch.events(), [new(at), jump], "0 to 3 are missing: sequences go round");
    assert_eq!(bed.watch.counts()?.missed, 4);
    Ok(())
}

fn retry() -> Result<(), Failed> {
    let mut bed = Bed::new("heartbeat")?;
    let socket = bed.device.udp()?;
    let at = beat(&bed, &socket, 5)?;
    beat(&bed, &socket, 5)?;
    beat(&bed, &socket, 3)?;
    assert_eq!(bed.watch.device(DEVICE)?.sequence, 5);
    beat(&bed, &socket, 6)?;
    assert_eq!(bed.watch.events(), [new(at)]);
    let counts = bed.watch.counts()?;
    assert_eq!((counts.from, counts.stale, counts.missed), (4, 2, 0));
    Ok(())
}

/// A copy of a datagram, sent by somebody else, must not take the device over.
fn old_sequence() -> Result<(), Failed> {
    let mut bed = Bed::new("heartbeat")?;
    let (socket, other) = (bed.device.udp()?, bed.device.udp()?);
    let at = beat(&bed, &socket, 5)?;
    let before = bed.watch.device(DEVICE)?;
    beat(&bed, &other, 5)?;
    beat(&bed, &other, 1)?;
    let after = bed.watch.device(DEVICE)?;
    assert_eq!(bytemuck::bytes_of(&before), bytemuck::bytes_of(&after), "not a bit");
    beat(&bed, &socket, 6)?;
    assert_eq!(bed.watch.events(), [new(at)]);
    assert_eq!(bed.watch.counts()?.from, 2);
    Ok(())
}

fn fresh_sequence() -> Result<(), Failed> {
    let mut bed = Bed::new("heartbeat")?;
    let (socket, other) = (bed.device.udp()?, bed.device.udp()?);
    let first = beat(&bed, &socket, 5)?;
    let second = beat(&bed, &other, 6)?;
    let third = beat(&bed, &socket, 9)?;
    bed.push(second, &other, b"too late")?;
    bed.push(third, &socket, b"ack")?;
    let moved = Event::new("rebinding", DEVICE, first, second);
    let back = Event { missed: 2, ..Event::new("rebinding", DEVICE, second, third) };
    assert_eq!(bed.watch.events(), [new(first), moved, back]);
    let (counts, device) = (bed.watch.counts()?, bed.watch.device(DEVICE)?);
    assert_eq!((counts.rebindings, counts.to, device.rebindings), (2, 1, 2 << 2 | u16::from(BINDING_REPLIED)));
    assert_eq!(bed.watch.troubles()?.unknown_egress, 1, "a packet to the address before");
    Ok(())
}

fn reboot() -> Result<(), Failed> {
    let mut bed = Bed::new("heartbeat")?;
    let (socket, other) = (bed.device.udp()?, bed.device.udp()?);
    let rebooted = |boot, sequence| Heartbeat { boot, ..Heartbeat::of(DEVICE, sequence) }.bytes();
    let first = beat(&bed, &socket, 900)?;
    bed.send(&socket, &rebooted(2, 1))?;
    let second = bed.send(&other, &rebooted(3, 1))?;
    bed.send(&other, &rebooted(3, 2))?;
    let moved = Event { flags: RECORD_REBOOTED, ..Event::new("rebinding", DEVICE, first, second) };
    assert_eq!(bed.watch.events(), [new(first), moved]);
    let (counts, device) = (bed.watch.counts()?, bed.watch.device(DEVICE)?);
    assert_eq!((counts.missed, counts.stale, device.boot, device.sequence), (0, 0, 3, 2));
    Ok(())
}

fn other_types() -> Result<(), Failed> {
    let mut bed = Bed::new("heartbeat")?;
    let socket = bed.device.udp()?;
    for kind in [0, ACK, SIDE_FLOW_PROBE, CHALLENGE, UNHEARD_OF, 255] {
        bed.send(&socket, &Heartbeat { kind, ..Heartbeat::of(DEVICE, 1) }.bytes())?;
    }
    let beat = Heartbeat::of(DEVICE, 2).bytes();
    let altered = |at: usize, byte| [&beat[..at], &[byte], &beat[at + 1..]].concat();
    for not_ours in [altered(0, 0x47), altered(1, 0x43), altered(2, 2), beat[..79].to_vec(), Vec::new()] {
        bed.send(&socket, &not_ours)?;
    }
    assert_eq!(bed.watch.events(), []);
    assert_eq!(bed.watch.counts()?.from, 0);
    Ok(())
}

fn hello() -> Result<(), Failed> {
    let mut bed = Bed::new("heartbeat")?;
    let socket = bed.device.udp()?;
    let hello = Heartbeat { kind: HELLO, ..Heartbeat::of(DEVICE, 3) }.bytes();
    bed.send(&socket, &hello[..47])?;
    let at = bed.send(&socket, &hello)?;
    beat(&bed, &socket, 4)?;
    assert_eq!(bed.watch.events(), [new(at)]);
    assert_eq!(bed.watch.counts()?.from, 2);
    Ok(())
}

fn answer() -> Result<(), Failed> {
    let mut bed = Bed::new("heartbeat")?;
    let (socket, other) = (bed.device.udp()?, bed.device.udp()?);
    let answer = |sequence| Heartbeat { kind: ANSWER, ..Heartbeat::of(DEVICE, sequence) }.bytes();
    bed.send(&other, &answer(1))?;
    assert_eq!(bed.watch.events(), [], "an answer makes no device");
    let at = beat(&bed, &socket, 5)?;
    let before = bed.watch.device(DEVICE)?;
    std::thread::sleep(CLOCK);
    bed.send(&other, &answer(900))?;
    assert_eq!(bed.watch.device(DEVICE)?.from_at, before.from_at, "nor does it speak for one elsewhere");
    bed.send(&socket, &answer(900))?;
    let after = bed.watch.device(DEVICE)?;
    assert!(after.from_at > before.from_at);
    assert_eq!((after.sequence, after.port), (5, at.port()));
    assert_eq!(bed.watch.events(), [new(at)]);
    let counts = bed.watch.counts()?;
    assert_eq!((counts.from, counts.stale), (2, 0), "and it is no heartbeat that came again");
    Ok(())
}

fn gap_and_silence() -> Result<(), Failed> {
    let mut bed = Bed::new("heartbeat")?;
    let socket = bed.device.udp()?;
    let at = beat(&bed, &socket, 1)?;
    std::thread::sleep(LONG_SILENCE - SHORT_SILENCE);
    bed.push(at, &socket, b"a push")?;
    std::thread::sleep(SHORT_SILENCE);
    beat(&bed, &socket, 2)?;
    let records = bed.watch.records();
    let told: Vec<Event> = records.iter().map(Event::from).collect();
    assert_eq!(told, [new(at), Event::new("gap", DEVICE, at, at)]);
    let (gap, silence) = (Duration::from_nanos(records[1].gap), Duration::from_nanos(records[1].silence));
    assert!(gap >= LONG_SILENCE - CLOCK, "{gap:?}");
    assert!(silence >= SHORT_SILENCE - CLOCK && silence < gap / 2, "{silence:?} of {gap:?}");
    assert_eq!(records[1].flags, BINDING_REPLIED);
    Ok(())
}

fn ipv6() -> Result<(), Failed> {
    let bed = Bed::new("heartbeat")?;
    let server = bed.lab.server().udp(SocketAddr::from((SERVER_V6, 0)))?;
    let to = server.local_addr()?;
    let mut watch = Watch::attach(&settings("heartbeat", &[to.port()]), bed.lab.server())?;
    let (socket, other) = (bed.device.udp_v6()?, bed.device.udp_v6()?);
    let first = passes(&socket, &server, to, &Heartbeat::of(DEVICE, 1).bytes())?;
    passes(&server, &socket, first, b"ack")?;
    let second = passes(&other, &server, to, &Heartbeat::of(DEVICE, 2).bytes())?;
    assert_eq!(watch.events(), [new(first), Event::new("rebinding", DEVICE, first, second)]);
    let counts = watch.counts()?;
    assert_eq!((counts.from, counts.to, first.ip()), (2, 1, bed.device.address_v6().into()));
    Ok(())
}

fn ports() -> Result<(), Failed> {
    let bed = Bed::new("heartbeat")?;
    let servers = [bed.lab.server_udp()?, bed.lab.server_udp()?, bed.lab.server_udp()?];
    let [first, second, third] = servers.each_ref().map(|server| server.local_addr().expect("bound"));
    let mut watch = Watch::attach(&settings("heartbeat", &[first.port(), second.port()]), bed.lab.server())?;
    let socket = bed.device.udp()?;
    let at = passes(&socket, &servers[0], first, &Heartbeat::of(DEVICE, 1).bytes())?;
    passes(&socket, &servers[1], second, &Heartbeat::of(DEVICE, 2).bytes())?;
    passes(&socket, &servers[2], third, &Heartbeat::of(DEVICE, 90).bytes())?;
    passes(&servers[2], &socket, at, b"not watched")?;
    assert_eq!(watch.events(), [new(at)]);
    let counts = watch.counts()?;
    assert_eq!((counts.from, counts.to, counts.missed), (2, 0, 0));
    Ok(())
}
