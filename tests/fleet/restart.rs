//! What is known after a restart, and what cannot be used against it.

use std::fs;
use std::sync::Arc;

use flyball::fleet::heartbeat::counters::Count;
use flyball::keepalive::observation::ObservationKind;
use flyball::keepalive::order::Orders;
use flyball_sdk::device::wire::told;
use libtest_mimic::Trial;

use crate::bed::{Bed, GENERATION, Plan, order};
use crate::device::{Device, socket};
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("restart::a_registry_that_was_written_in_order_goes_on_as_it_was", in_order),
        trial("restart::after_a_crash_each_address_answers_once_more", after_a_crash),
        trial("restart::a_copied_registration_registers_nobody_after_the_registry_is_lost", copied_registration),
        trial("restart::a_damaged_registry_is_set_aside", damaged),
        trial("restart::until_its_cohort_is_ordered_something_a_device_keeps_what_it_has", not_ordered_yet),
    ]
}

fn bed(folder: &std::path::Path, workers: usize) -> Bed {
    Bed::with(Plan { state: Some(folder), workers, ..Plan::default() })
}

/// The same device, to the server that runs now.
fn again(bed: &Bed, device: Device) -> Device {
    let Device { boot, sequence, socket, .. } = device;
    Device { boot, sequence, socket, ..Device::at(bed.address, "a") }
}

fn in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = bed(folder.path(), 3);
    let mut device = Device::registered(&first, "a");
    device.hello("carrier=a\nregion=eu\n");
    device.ack();
    let old = device.beat();
    device.ack();
    first.end();
    let mut second = bed(folder.path(), 2);
    let mut device = again(&second, device);
    assert_eq!(device.acked().flags, 0, "it need not register, nor say hello");
    assert_eq!((second.handle.devices(), second.count(Count::Registered)), (1, 0));
    device.send(&old);
    device.acked();
    assert_eq!(second.count(Count::Replayed), 1);
    let cohort = second
        .observed("to be present", |seen| matches!(seen.kind, ObservationKind::Present { .. }).then_some(seen.cohort));
    assert_eq!(*second.cohorts.since(cohort.0 as usize)[0].key.name, *"carrier=a,region=eu");
}

fn after_a_crash() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = bed(folder.path(), 1);
    let mut device = Device::registered(&first, "a");
    first.end();
    fs::remove_file(folder.path().join("devices.clean")).expect("as after a crash");
    let second = bed(folder.path(), 1);
    device = again(&second, device);
    device.beat();
    let (ack, mac) = device.ack();
    assert_eq!(ack.flags & told::NEW_ADDRESS, told::NEW_ADDRESS, "what came after the copy is not known");
    device.echo(mac);
    assert_eq!(device.ack().0.flags & told::NEW_ADDRESS, 0);
    assert_eq!((device.acked().flags & told::NEW_ADDRESS, second.count(Count::AddressMoved)), (0, 0));
}

fn copied_registration() {
    let first = Bed::new();
    let mut device = Device::new(&first, "a");
    let pair = device.register();
    first.end();
    // The same orders are in force, so that only what the process itself adds can tell.
    let second = Bed::new();
    let attacker = socket(second.address);
    for bytes in &pair {
        attacker.send_to(bytes, second.address).expect("sent");
    }
    // The second of the pair is no answer to what was asked: it is asked about as a heartbeat.
    second.await_count(Count::AddressAsked, 2);
    for bytes in pair.iter().chain(&pair) {
        attacker.send_to(bytes, second.address).expect("sent");
    }
    second.await_count(Count::Copied, 2);
    assert_eq!((second.handle.devices(), second.count(Count::Registered)), (0, 0));
}

fn not_ordered_yet() {
    let bed = Bed::new();
    // As in the first second of a process: of the cohorts, only that of unknown devices is known to the loop.
    bed.orders.store(Arc::new(Orders { generation: GENERATION, cohorts: vec![Arc::new(order())] }));
    let mut device = Device::registered(&bed, "a");
    assert_eq!(device.acked().pace.generation, 0, "the oldest order there is, which no device takes for another");
    bed.set_order(order());
    assert_eq!(device.acked().pace, order().pace);
}

fn damaged() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = bed(folder.path(), 1);
    let device = Device::registered(&first, "a");
    first.end();
    let file = folder.path().join("devices-0.bin");
    let mut bytes = fs::read(&file).expect("written");
    bytes[20] ^= 1;
    fs::write(&file, bytes).expect("written");
    let second = bed(folder.path(), 1);
    let mut device = again(&second, device);
    device.register();
    assert!(folder.path().join("devices-0.damaged").exists() && second.count(Count::Registered) == 1);
}
