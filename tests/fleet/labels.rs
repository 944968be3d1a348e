//! What a device says of itself, and what its address says.

use std::sync::Arc;

use flyball::document::SourceFile;
use flyball::fleet::heartbeat::counters::Count;
use flyball::fleet::prefixes::PrefixTable;
use flyball::keepalive::cohort::CohortIndex;
use flyball::keepalive::observation::ObservationKind;
use flyball::keepalive::order::DeviceOrder;
use flyball::monitor::prefixes::Prefixes;
use flyball_sdk::device::wire::told;
use libtest_mimic::Trial;

use crate::bed::{Bed, GENERATION, Plan, order, pace, wait_for};
use crate::device::{Device, socket_at};
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("labels::a_hello_makes_the_cohort_and_is_asked_for_until_it_came", hello),
        trial("labels::what_a_device_was_ordered_by_itself_ends_with_its_cohort", ordered_before),
        trial("labels::what_the_device_does_not_say_the_prefix_does", prefixes),
        trial("labels::a_device_behind_another_carrier_is_asked_until_it_has_said_its_labels", elsewhere),
        trial("labels::labels_that_could_be_read_as_something_else_are_refused", bad),
        trial("labels::all_devices_are_asked_again_when_the_house_wants_it", again),
        trial("labels::devices_are_counted_by_cohort", counted),
    ]
}

fn named(bed: &Bed, cohort: CohortIndex) -> String {
    bed.cohorts.since(cohort.0 as usize)[0].key.name.to_string()
}

/// The cohort that the loop is told, of the next device that is here.
fn present(bed: &mut Bed) -> String {
    let cohort =
        bed.observed("a device", |seen| matches!(seen.kind, ObservationKind::Present { .. }).then_some(seen.cohort));
    named(bed, cohort)
}

fn hello() {
    let mut bed = Bed::new();
    let mut device = Device::registered(&bed, "a");
    assert_eq!(device.acked().flags, told::HELLO);
    assert_eq!(present(&mut bed), "unknown");
    device.hello("region=eu\ncarrier=a\nserial=1\n");
    assert_eq!(device.ack().0.flags, 0);
    assert_eq!(present(&mut bed), "carrier=a,region=eu");
    assert_eq!((device.acked().flags, bed.count(Count::Hello)), (0, 1));
    // The pace of the new cohort is told as newer than the one before: a device would not take it else.
    assert!(device.acked().pace.generation > GENERATION);
}

fn ordered_before() {
    let bed = Bed::new();
    let mut device = Device::registered(&bed, "a");
    let its = pace(GENERATION + 9, 300_000);
    bed.command(device.id, DeviceOrder::Own(its));
    wait_for("the pace of its own", || (device.acked().pace == its).then_some(()));
    device.hello("carrier=a\n");
    let told = device.ack().0.pace;
    assert_eq!((told.interval, told.generation), (order().pace.interval, its.generation + 1));
    // Decided before the loop knew of the other cohort.
    bed.command(device.id, DeviceOrder::Own(pace(GENERATION + 10, 300_000)));
    bed.await_count(Count::CommandDropped, 1);
    assert_eq!(device.acked().pace, told);
}

fn table(text: &str) -> PrefixTable {
    let file = Arc::new(SourceFile { path: "prefixes.csv".into(), text: text.to_owned() });
    PrefixTable::new(&Prefixes::parse(&file).expect("valid"))
}

fn prefixes() {
    let prefixes = table("prefix,carrier,region\n127.0.0.0/8,local,here\n");
    let mut bed = Bed::with(Plan { prefixes, ..Plan::default() });
    let mut device = Device::registered(&bed, "a");
    assert_eq!(present(&mut bed), "carrier=local,region=here");
    device.hello("carrier=mine\n");
    device.ack();
    assert_eq!(present(&mut bed), "carrier=mine,region=here");
}

fn elsewhere() {
    let prefixes = table("prefix,carrier,region\n127.0.0.1/32,a,eu\n127.0.0.2/32,b,eu\n");
    let mut bed = Bed::with(Plan { prefixes, ..Plan::default() });
    let mut device = Device::registered(&bed, "a");
    device.hello("serial=1\n");
    device.ack();
    assert_eq!(present(&mut bed), "carrier=a,region=eu");
    device.socket = socket_at("127.0.0.2:0");
    device.beat();
    let (ack, mac) = device.ack();
    assert_eq!(ack.flags, told::NEW_ADDRESS | told::HELLO);
    device.echo(mac);
    // Its hello was lost.
    assert_eq!((device.ack().0.flags, device.acked().flags), (told::HELLO, told::HELLO));
    device.hello("serial=1\n");
    assert_eq!(device.ack().0.flags, 0);
    assert_eq!(present(&mut bed), "carrier=b,region=eu");
}

fn bad() {
    let bed = Bed::new();
    let mut device = Device::registered(&bed, "a");
    let many: String = (0..30).map(|i| format!("k{i}=v\n")).collect();
    for (n, labels) in ["carrier", "a=b=c", "a=\u{1b}[31m", many.as_str()].into_iter().enumerate() {
        device.hello(labels);
        bed.await_count(Count::BadLabels, n as u64 + 1);
    }
    assert_eq!((device.acked().flags, bed.count(Count::Hello)), (told::HELLO, 0));
}

fn again() {
    let bed = Bed::new();
    let mut device = Device::registered(&bed, "a");
    device.hello("carrier=a\n");
    device.ack();
    assert_eq!(device.acked().flags, 0);
    bed.handle.ask_for_labels();
    assert_eq!(device.acked().flags, told::HELLO);
    device.hello("carrier=a\n");
    assert_eq!((device.ack().0.flags, device.acked().flags), (0, 0));
}

fn counted() {
    let bed = Bed::with(Plan { workers: 2, ..Plan::default() });
    for n in 0..10 {
        let mut device = Device::registered(&bed, &format!("device {n}"));
        device.hello(if n < 4 { "carrier=a\n" } else { "carrier=b\n" });
        device.ack();
    }
    let counts = || {
        let devices = bed.handle.counters().devices().into_iter().filter(|(_, n)| *n > 0);
        devices.map(|(cohort, n)| (named(&bed, cohort), n)).collect::<Vec<_>>()
    };
    let expected = [("carrier=a,region=unknown".to_owned(), 4), ("carrier=b,region=unknown".to_owned(), 6)];
    wait_for("the counts", || (counts() == expected).then_some(()));
}
