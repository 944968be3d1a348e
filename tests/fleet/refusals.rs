//! What is refused: it is counted, leaves nothing behind, and is not answered.

use flyball::fleet::heartbeat::counters::Count;
use flyball_sdk::device::key::{MacKey, derive};
use flyball_sdk::device::wire::{Request, kind};
use libtest_mimic::Trial;
use rand::{RngExt as _, SeedableRng as _};

use crate::bed::{Bed, Plan};
use crate::device::Device;
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("refusals::each_is_counted_by_its_reason_and_is_not_answered", each_reason),
        trial("refusals::a_replay_is_refused_and_a_late_one_is_not", replay),
        trial("refusals::the_last_again_is_acked_again_and_changes_nothing", duplicate),
        trial("refusals::one_device_too_many_is_not_even_asked", too_many),
        trial("refusals::garbage_is_never_answered_and_never_fells_it", garbage),
        trial("refusals::a_key_that_was_taken_out_is_unknown_and_one_that_was_added_is_taken", rotation),
    ]
}

fn each_reason() {
    let bed = Bed::new();
    let mut device = Device::registered(&bed, "a");
    let refused = |count: Count, bytes: &[u8], device: &mut Device| {
        let before = bed.count(count);
        device.send(bytes);
        // The next that comes is the ack of this one: what was refused was not answered.
        device.acked();
        assert_eq!(bed.count(count), before + 1, "{count:?}");
    };
    let good = Request { sequence: 1_000, ..device.next() };
    let sealed = device.seal(&good);
    let changed = |at: usize, byte: u8| {
        let mut bytes = sealed.clone();
        bytes[at] = byte;
        bytes
    };
    refused(Count::Malformed, &sealed[..79], &mut device);
    refused(Count::Malformed, &[], &mut device);
    refused(Count::Malformed, &[0; 2_000], &mut device);
    refused(Count::Malformed, &changed(0, 0), &mut device);
    refused(Count::Malformed, &changed(3, kind::ACK), &mut device);
    refused(Count::Version, &changed(2, 2), &mut device);
    refused(Count::UnknownKey, &changed(7, 9), &mut device);
    refused(Count::Forged, &changed(79, sealed[79] ^ 1), &mut device);
    refused(Count::Forged, &changed(31, 0), &mut device);
    let stranger = Device::new(&bed, "b");
    refused(Count::Forged, &Request { device: stranger.id, ..good }.sealed(&device.key), &mut device);
    let probe = Request { kind: kind::PROBE, device: stranger.id, ..good };
    refused(Count::Unregistered, &probe.sealed(&stranger.key), &mut device);
    let report = Request { kind: kind::PROBE, sequence: 0, ..device.next() };
    refused(Count::UnknownTest, &device.seal(&Request { sequence: device.sequence, ..report }), &mut device);
    assert_eq!((bed.handle.devices(), bed.count(Count::Registered)), (1, 1));
}

fn replay() {
    let bed = Bed::new();
    let mut device = Device::registered(&bed, "a");
    let [early, late, last] = [device.next(), device.next(), device.next()].map(|request| device.seal(&request));
    device.send(&last);
    assert_eq!(device.ack().0.sequence, device.sequence);
    device.send(&early);
    assert_eq!(device.ack().0.sequence, device.sequence - 2, "late, and new");
    for bytes in [&early, &early] {
        device.send(bytes);
    }
    device.send(&late);
    assert_eq!(device.ack().0.sequence, device.sequence - 1, "the replays before it were not answered");
    assert_eq!(bed.count(Count::Replayed), 2);
}

fn duplicate() {
    let mut bed = Bed::new();
    let mut device = Device::registered(&bed, "a");
    let bytes = device.beat();
    let (first, _) = device.ack();
    bed.await_count(Count::Accepted, 2);
    for _ in 0..3 {
        device.send(&bytes);
        assert_eq!(device.ack().0, first);
    }
    assert_eq!((bed.count(Count::Duplicate), bed.count(Count::Accepted)), (3, 2));
    let _ = bed.all_observed();
}

fn too_many() {
    let bed = Bed::with(Plan { devices: 2, ..Plan::default() });
    let mut known = Device::registered(&bed, "a");
    let _other = Device::registered(&bed, "b");
    let mut third = Device::new(&bed, "c");
    third.beat();
    known.acked();
    bed.await_count(Count::TooManyDevices, 1);
    assert!(Device::has_nothing(&third.socket) && bed.handle.devices() == 2);
}

fn garbage() {
    let bed = Bed::new();
    let mut device = Device::registered(&bed, "a");
    let attacker = Device::new(&bed, "x");
    let mut random = rand::rngs::SmallRng::seed_from_u64(5);
    for n in 0..20_000 {
        let length = random.random_range(0..1_400);
        let mut bytes: Vec<u8> = (0..length).map(|_| random.random()).collect();
        // Half of it has our head, so that it comes further.
        if n % 2 == 0 && bytes.len() > 40 {
            bytes[..4].copy_from_slice(&[0x46, 0x42, 1, random.random_range(0..8)]);
            bytes[6..8].copy_from_slice(&[0, 1]);
            bytes[8..24].copy_from_slice(&device.id.0);
            let length = if n % 4 == 0 { 80 } else { bytes.len() };
            bytes.resize(length, 0);
        }
        attacker.send(&bytes);
        // The kernel's queue is not what is tested.
        if n % 64 == 0 {
            device.acked();
        }
    }
    device.acked();
    assert!(Device::has_nothing(&attacker.socket));
    assert!(bed.count(Count::Forged) > 1_000 && bed.count(Count::Malformed) > 1_000);
    assert_eq!(bed.handle.devices(), 1);
}

fn rotation() {
    use flyball::document::SourceFile;
    use flyball::fleet::keys::MasterKeys;
    use std::sync::Arc;

    let bed = Bed::new();
    let mut device = Device::registered(&bed, "a");
    let parse = |text: String| MasterKeys::parse(&Arc::new(SourceFile { path: "keys".into(), text })).expect("keys");
    let (old, new) = ("5a".repeat(31) + "5b", "0b".repeat(31) + "01");
    let second: [u8; 32] = std::array::from_fn(|i| if i < 31 { 0x0b } else { 1 });
    // Both in force: the device takes the new key while it runs.
    bed.handle.set_keys(Arc::new(parse(format!("1:{old}\n2:{new}"))));
    device.acked();
    let before = device.key;
    (device.key_id, device.key) = (2, MacKey::new(&derive(&second, 2, device.id)));
    device.acked();
    // The old one alone is out of force.
    bed.handle.set_keys(Arc::new(parse(format!("2:{new}\n3:{old}"))));
    device.acked();
    let of_old = Request { key_id: 1, ..device.next() };
    device.send(&of_old.sealed(&before));
    device.acked();
    assert_eq!(bed.count(Count::UnknownKey), 1);
    // Another key under the same id: what was derived from the one before is forgotten.
    bed.handle.set_keys(Arc::new(parse(format!("2:{old}\n3:{new}"))));
    device.beat();
    bed.await_count(Count::Forged, 1);
}
