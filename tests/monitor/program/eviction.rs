//! A map of devices that is smaller than the fleet.

use flyball::monitor::mirror::record_kind;
use libtest_mimic::{Failed, Trial};

use super::frame::{Packet, Shape, WATCHED};
use super::heartbeat::Heartbeat;
use super::watch::{Watch, settings};
use crate::support::lab::trial;

const CAPACITY: u32 = 1_000;
const FLEET: u32 = 3_000;
const ROUNDS: u32 = 3;

pub(super) fn trials() -> Vec<Trial> {
    vec![trial("eviction::a_device_that_made_room_comes_back_as_new_and_never_as_a_gap", no_gap)]
}

fn no_gap() -> Result<(), Failed> {
    let mut settings = settings("heartbeat", &WATCHED);
    settings.devices = CAPACITY;
    // Whatever is not the first packet of a device ends a gap over this.
    settings.gap = std::time::Duration::from_nanos(1);
    let mut watch = Watch::load(&settings)?;
    let mut known = 0;
    for sequence in 1..=ROUNDS {
        for device in 0..FLEET {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&device.to_be_bytes());
            let packet = Packet::new(&Shape::default(), &Heartbeat::of(id, sequence).bytes());
            let was_there = watch.device(id).is_ok();
            known += u64::from(was_there);
            assert!(watch.run("flyball_from", &packet.bytes)?);
            let told: Vec<u8> = watch.records().iter().map(|record| record.kind).collect();
            let expected = if was_there { record_kind::GAP } else { record_kind::NEW };
            assert_eq!(told, [expected], "device {device}, round {sequence}");
        }
    }
    let counts = watch.counts()?;
    let held = watch.devices()?.keys().count() as u64;
    assert_eq!(counts.from, u64::from(ROUNDS * FLEET));
    assert_eq!((counts.new_devices, counts.missed), (counts.from - known, 0), "no jump over an eviction");
    assert!(held <= u64::from(CAPACITY) && held > u64::from(CAPACITY) / 2, "{held}");
    assert!(counts.new_devices - held > u64::from(FLEET - CAPACITY), "evicted, by what came and what is there");
    assert_eq!(watch.troubles()?.not_stored, 0);
    Ok(())
}
