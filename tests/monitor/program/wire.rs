//! The same on a wire: frames as no stack sends them, fragments that a stack made, and frames of 8,000 bytes.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use flyball::lab::{Namespace, SERVER_V6, UPLINK};
use flyball::monitor::key::Key;
use libtest_mimic::{Failed, Trial};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, sendto, socket};
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;

use super::bed::{Bed, passes};
use super::frame::{Packet, WATCHED};
use super::fuzz::expected;
use super::heartbeat::Heartbeat;
use super::watch::{Event, Watch, settings};
use crate::support::lab::trial;

const FRAMES: u32 = 4_000;
/// Ethernet's, with the header.
const FRAME_BYTES_MAX: usize = 1_514;
/// An ordinary datagram passes after each of so many frames.
const ORDINARY_EVERY: u32 = 500;
const SEED: u64 = 5;
const PATIENCE: Duration = Duration::from_secs(5);
/// The lab's name for the server's link in the namespace between all of them.
const TO_SERVER: &str = "server";
const JUMBO_MTU: &str = "9000";
const DEVICE: [u8; 16] = *b"a device's id 16";

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("wire::broken_frames_are_no_event_and_disturb_nobody", broken_frames),
        trial("wire::fragments_are_passed_by", fragments),
        trial("wire::a_jumbo_frame_is_read_like_any_other", jumbo),
    ]
}

/// Puts whole frames on a link.
struct Wire {
    socket: OwnedFd,
    link: LinkAddr,
}

impl Wire {
    fn open(namespace: &Namespace, link: &str) -> Result<Self, Failed> {
        namespace.enter(|| {
            let mut interfaces = getifaddrs()?.filter(|one| one.interface_name == link);
            let address = interfaces.find_map(|one| one.address?.as_link_addr().copied()).ok_or("no such link")?;
            let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
            Ok(Self { socket, link: address })
        })?
    }

    fn send(&self, frame: &[u8]) -> Result<(), Failed> {
        let sent = sendto(self.socket.as_raw_fd(), frame, &self.link, MsgFlags::empty())?;
        if sent == frame.len() { Ok(()) } else { Err("cut on its way".into()) }
    }
}

/// As the kernel hands it to the program: it puts the outermost tag beside the packet.
fn untagged(frame: &[u8]) -> Vec<u8> {
    let is_tagged = frame.len() >= 18 && matches!(frame[12..14], [0x81, 0] | [0x88, 0xa8]);
    if is_tagged { [&frame[..12], &frame[16..]].concat() } else { frame.to_vec() }
}

fn broken_frames() -> Result<(), Failed> {
    let bed = Bed::new("heartbeat")?;
    let mut watch = Watch::attach(&settings("heartbeat", &WATCHED), bed.lab.server())?;
    let wire = Wire::open(bed.lab.internet(), TO_SERVER)?;
    let socket = bed.device.udp()?;
    let mut random = Pcg64Mcg::seed_from_u64(SEED);
    let mut devices = BTreeSet::new();
    for case in 0..FRAMES {
        let mut packet = Packet::draw(&mut random, Key::Heartbeat, case);
        if random.random_bool(0.7) {
            packet.spoil(&mut random);
        }
        packet.bytes.truncate(FRAME_BYTES_MAX);
        wire.send(&packet.bytes)?;
        devices.extend(expected(Key::Heartbeat, &untagged(&packet.bytes)).map(|event| event.device));
        if case % ORDINARY_EVERY == 0 {
            bed.send(&socket, b"an ordinary datagram")?;
        }
    }
    assert!(devices.len() > FRAMES as usize / 10, "{} valid frames are no test", devices.len());
    let (mut told, deadline) = (BTreeSet::new(), Instant::now() + PATIENCE);
    while told != devices && Instant::now() < deadline {
        told.extend(watch.events().iter().map(|event| event.device));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(told, devices);
    assert_eq!(watch.troubles()?.lost_records, 0);
    Ok(())
}

/// None of them is a whole datagram, the first included, which has the ports and begins as a heartbeat does.
fn fragments() -> Result<(), Failed> {
    let mut bed = Bed::new("heartbeat")?;
    let mut long = Heartbeat::of(DEVICE, 1).bytes();
    long.extend((0..3_920).map(|i: u32| i.to_be_bytes()[3]));
    let socket = bed.device.udp()?;
    bed.send(&socket, &long)?;
    assert_eq!(bed.watch.events(), []);
    let at = bed.send(&socket, &long[..1_400])?;
    assert_eq!(bed.watch.events(), [Event::new("new", DEVICE, at, at)], "as long as one packet holds");

    let server = bed.lab.server().udp(SocketAddr::from((SERVER_V6, 0)))?;
    let to = server.local_addr()?;
    let mut watch = Watch::attach(&settings("heartbeat", &[to.port()]), bed.lab.server())?;
    passes(&bed.device.udp_v6()?, &server, to, &long)?;
    assert_eq!(watch.events(), []);
    assert_eq!(watch.counts()?.from, 0);
    Ok(())
}

fn jumbo() -> Result<(), Failed> {
    let mut bed = Bed::new("heartbeat")?;
    let port = bed.server.local_addr()?.port();
    let mut deep = Watch::attach(&settings("offset:7000,len:8", &[port]), bed.lab.server())?;
    let links = [
        (bed.device.namespace(), UPLINK),
        (bed.carrier.namespace(), "device1"),
        (bed.carrier.namespace(), UPLINK),
        (bed.lab.internet(), "carrier1"),
        (bed.lab.internet(), TO_SERVER),
        (bed.lab.server(), UPLINK),
    ];
    for (namespace, link) in links {
        let made = namespace.output(Command::new("ip").args(["link", "set", link, "mtu", JUMBO_MTU]))?;
        assert!(made.status.success(), "{link}: {}", String::from_utf8_lossy(&made.stderr));
    }
    let socket = bed.device.udp()?;
    let noise = [&[0xee; 7_000][..], b"far from", &[0xee; 992]].concat();
    let at = bed.send(&socket, &noise)?;
    assert_eq!(bed.watch.events(), [], "no heartbeat");
    let id = [b"far from".as_slice(), &[0; 8]].concat().try_into().expect("16");
    assert_eq!(deep.events(), [Event::new("new", id, at, at)]);
    let mut long = Heartbeat::of(DEVICE, 1).bytes();
    long.resize(8_000, 0xee);
    bed.send(&socket, &long)?;
    assert_eq!(bed.watch.events(), [Event::new("new", DEVICE, at, at)], "in one piece, and a heartbeat");
    Ok(())
}
