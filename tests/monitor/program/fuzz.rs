//! Tens of thousands of packets, most of them broken, through the program: none is changed or held back, and there is a
//! record exactly for those in which the reference finds a device.

use flyball::monitor::key::Key;
use libtest_mimic::{Failed, Trial};
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;

use super::frame::{Packet, Shape, WATCHED};
use super::heartbeat::Heartbeat;
use super::reference::{Datagram, datagram, named};
use super::watch::{Event, Watch, settings};
use crate::support::lab::trial;

/// For each key.
const CASES: u32 = 10_000;
/// Any other makes other packets; one that fails is named with its case.
const SEED: u64 = 4;
/// Ethernet and IPv6.
const IP_HEADER_END_MAX: usize = 14 + 40;
const FRAME_BYTES_SHOWN: usize = 140;

pub(super) fn trials() -> Vec<Trial> {
    let keys = ["heartbeat", "offset:3,len:7", "quic:8,prefix:4", "quic:20", "dtls12:8", "dtls13:17"];
    let fuzz = keys.map(|key| trial(&format!("fuzz::exactly_the_valid_packets_are_told_of::{key}"), move || fuzz(key)));
    let tags = trial("fuzz::two_vlan_tags_are_looked_behind", vlan_tags);
    fuzz.into_iter().chain([tags]).collect()
}

fn fuzz(key: &str) -> Result<(), Failed> {
    let mut watch = Watch::load(&settings(key, &WATCHED))?;
    let key: Key = key.parse()?;
    let mut random = Pcg64Mcg::seed_from_u64(SEED);
    let (mut devices, mut unknown_egress) = (0, 0);
    for case in 0..CASES {
        let mut packet = Packet::draw(&mut random, key, case);
        if random.random_bool(0.7) {
            packet.spoil(&mut random);
        }
        let frame = &packet.bytes;
        let head = &frame[..frame.len().min(FRAME_BYTES_SHOWN)];
        let failed = |what: &str| Failed::from(format!("case {case}: {what} for {head:02x?}, {} bytes", frame.len()));
        let expected = expected(key, frame);
        if !watch.run("flyball_from", frame).map_err(|error| failed(&format!("{error:?}")))? {
            // The kernel does not run what ends within its IP header; the trial on a wire does.
            if expected.is_some() || frame.len() >= IP_HEADER_END_MAX {
                return Err(failed("not run"));
            }
            continue;
        }
        let told = watch.events();
        if told != expected.iter().cloned().collect::<Vec<_>>() {
            return Err(failed(&format!("told {told:?} and not {expected:?}")));
        }
        if let Some(event) = expected {
            devices += 1;
            watch.forget(event.device)?;
        }
        watch.run("flyball_to", frame)?;
        unknown_egress += u64::from(datagram(frame).is_some_and(|found| WATCHED.contains(&found.from.port())));
    }
    assert_eq!(watch.counts()?.from, devices);
    assert_eq!(watch.troubles()?.unknown_egress, unknown_egress);
    let enough = u64::from(CASES / 10)..u64::from(CASES - CASES / 10);
    assert!(enough.contains(&devices), "{devices} valid packets are no test");
    Ok(())
}

/// What the program must tell of a frame from a device that it does not know.
pub(super) fn expected(key: Key, frame: &[u8]) -> Option<Event> {
    let Datagram { from, to, payload } = datagram(frame)?;
    let named = WATCHED.contains(&to.port()).then(|| named(key, payload))??;
    named.is_introduction.then(|| Event::new("new", named.device, from, from))
}

fn vlan_tags() -> Result<(), Failed> {
    let mut watch = Watch::load(&settings("heartbeat", &WATCHED))?;
    let beat = |device: u8| Heartbeat::of([device; 16], 1).bytes();
    for (tags, is_seen) in [(1, true), (2, true), (3, false)] {
        for is_ipv6 in [false, true] {
            let packet = Packet::new(&Shape { tags, is_ipv6, ..Shape::default() }, &beat(1));
            assert_eq!(datagram(&packet.bytes).is_some(), is_seen);
            for name in ["flyball_from", "flyball_from_l3"] {
                assert!(watch.run(name, &packet.bytes)?);
                assert_eq!(!watch.events().is_empty(), is_seen, "{tags} tags");
                if is_seen {
                    watch.forget([1; 16])?;
                }
            }
        }
    }
    Ok(())
}
