//! What a device is told, when it is told it twice, and what the loop is told of it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use flyball::fleet::heartbeat::counters::Count;
use flyball::keepalive::observation::ObservationKind;
use flyball::keepalive::order::{CohortOrder, DeviceOrder};
use flyball::monitor::event::{DeviceId as Seen, Gap, Outcome, Path};
use flyball::monitor::key::Key;
use flyball::time::WallTime;
use flyball_sdk::device::wire::{Request, sent, told};
use libtest_mimic::Trial;

use crate::bed::{Bed, GENERATION, PATIENCE, Plan, order, pace, wait_for};
use crate::device::{Device, socket};
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("orders::a_change_of_pace_rides_on_the_next_ack", change),
        trial("orders::a_pace_of_its_own_lasts_until_the_cohorts_is_ordered_again", own),
        trial("orders::a_second_ack_comes_2_1_s_later_and_only_after_a_silence", second_ack),
        trial("orders::without_second_acks_there_is_none", no_second_ack),
        trial("orders::a_device_that_is_silent_beyond_its_retries_is_absent_and_present_when_it_comes_back", absent),
        trial("orders::silences_are_told_with_what_is_doubtful_of_them", silences),
        trial("orders::retries_are_told_as_losses", losses),
        trial("orders::a_passive_gap_counts_where_the_registry_agrees", passive),
    ]
}

fn quick(change: impl FnOnce(&mut CohortOrder)) -> Bed {
    let mut order = order();
    change(&mut order);
    Bed::with(Plan { order, ..Plan::default() })
}

fn change() {
    let bed = Bed::new();
    let mut device = Device::registered(&bed, "a");
    assert_eq!(device.acked().pace, order().pace);
    let changed = pace(GENERATION + 5, 30_000);
    bed.set_order(CohortOrder { pace: changed, ..order() });
    assert_eq!(device.acked().pace, changed);
}

fn own() {
    let bed = Bed::new();
    let mut device = Device::registered(&bed, "a");
    let its = pace(GENERATION + 9, 20_000);
    bed.command(device.id, DeviceOrder::Own(its));
    wait_for("the pace of its own", || (device.acked().pace == its).then_some(()));
    bed.command(device.id, DeviceOrder::Cohort);
    let told = wait_for("the cohort's pace", || {
        let told = device.acked().pace;
        (told != its).then_some(told)
    });
    assert_eq!((told.interval, told.generation), (order().pace.interval, its.generation + 1), "a newer order");
    bed.command(Device::new(&bed, "nobody").id, DeviceOrder::Own(its));
    bed.await_count(Count::CommandDropped, 1);
}

fn second_ack() {
    let bed = quick(|order| order.second_ack_after = Some(Duration::from_millis(1_500)));
    let mut device = Device::registered(&bed, "a");
    let registered = Instant::now();
    // The binding of a device that registers is new: it gets one too.
    let (ack, _) = device.ack();
    let waited = registered.elapsed();
    assert_eq!((ack.flags & told::SECOND, ack.sequence), (told::SECOND, device.sequence));
    assert!((Duration::from_millis(2_050)..Duration::from_millis(2_400)).contains(&waited), "{waited:?}");
    // No silence before this one.
    device.acked();
    let begun = Instant::now();
    std::thread::sleep(Duration::from_millis(1_600));
    let silent = device.acked();
    assert_eq!(silent.flags & told::SECOND, 0);
    let ended = Instant::now();
    let (ack, _) = device.ack();
    assert_eq!((ack.flags & told::SECOND, ack.sequence), (told::SECOND, silent.sequence));
    let waited = ended.elapsed();
    assert!(
        (Duration::from_millis(2_080)..Duration::from_millis(2_400)).contains(&waited),
        "{waited:?} of {:?}",
        begun.elapsed()
    );
    assert_eq!(bed.count(Count::SecondAcked), 2);
}

fn no_second_ack() {
    let bed = Bed::new();
    let mut device = Device::registered(&bed, "a");
    device.socket.set_read_timeout(Some(Duration::from_millis(2_500))).expect("set");
    assert!(device.socket.recv_from(&mut [0; 100]).is_err());
    device.socket.set_read_timeout(Some(PATIENCE)).expect("set");
    device.acked();
    assert_eq!(bed.count(Count::SecondAcked), 0);
}

fn absent() {
    let mut bed = quick(|order| order.pace = pace(GENERATION, 100));
    let mut device = Device::registered(&bed, "a");
    let id = device.id;
    let told = |seen: &ObservationKind| match seen {
        ObservationKind::Present { device, .. } if *device == id => Some(true),
        ObservationKind::Absent { device } if *device == id => Some(false),
        _ => None,
    };
    assert!(bed.observed("to be present", |seen| told(&seen.kind)));
    assert!(!bed.observed("to be absent", |seen| told(&seen.kind)));
    device.acked();
    assert!(bed.observed("to be present again", |seen| told(&seen.kind)));
}

fn silences() {
    let mut bed = quick(|order| order.tell_silences_from = Duration::from_millis(300));
    let mut device = Device::registered(&bed, "a");
    device.acked();
    for (flags, skipped) in [(sent::STREAM, 0), (0, 1), (sent::LINK_UP, 0)] {
        std::thread::sleep(Duration::from_millis(350));
        device.sequence += skipped;
        let request = Request { flags, ..device.next() };
        device.send(&device.seal(&request));
        device.ack();
        let silence = bed.observed("a silence", |seen| match seen.kind {
            ObservationKind::Silence(silence) => Some(silence),
            _ => None,
        });
        assert!(!silence.has_moved && silence.is_same_address);
        assert_eq!(silence.is_doubtful, flags == sent::LINK_UP || skipped > 0);
        assert_eq!(silence.class == flyball::keepalive::observation::BindingClass::Stream, flags == sent::STREAM);
        assert!((Duration::from_millis(300)..Duration::from_millis(800)).contains(&silence.silence), "{silence:?}");
    }
}

fn losses() {
    let mut bed = Bed::new();
    let mut device = Device::registered(&bed, "a");
    device.acked();
    // Two were lost on the way here, and the third is the retry.
    device.sequence += 2;
    let retry = Request { flags: sent::RETRY, ..device.next() };
    device.send(&device.seal(&retry));
    device.ack();
    let (mut sent, mut unanswered) = (0, 0);
    bed.observed("the losses", |seen| {
        if let ObservationKind::Loss { sent: more, unanswered: lost } = seen.kind {
            (sent, unanswered) = (sent + more, unanswered + lost);
        }
        (sent == 4).then_some(())
    });
    assert_eq!(unanswered, 2);
}

fn gap(device: &Device, from: SocketAddr, to: SocketAddr, gap: Duration) -> Gap {
    Gap {
        device: Seen::new(device.id.0, Key::Heartbeat),
        cohort: "unknown".into(),
        silence: gap,
        gap,
        both_ways: true,
        is_stream: true,
        outcome: if from == to { Outcome::Survived } else { Outcome::Rebound },
        path: Path { from, to, interface: 1 },
        missed: 0,
        is_rebooted: false,
        at: WallTime::from_unix_ms(0),
        kernel_at: flyball::monitor::clock::KernelTime::now(),
    }
}

fn passive() {
    let mut bed = quick(|order| order.tell_silences_from = Duration::from_millis(300));
    bed.handle.set_watched(true);
    let mut device = Device::registered(&bed, "a");
    device.acked();
    let here = device.socket.local_addr().expect("bound");
    std::thread::sleep(Duration::from_millis(600));
    device.acked();
    let short = Duration::from_millis(600);
    // What a stranger could have the kernel say: another silence, another place.
    let elsewhere = socket(bed.address).local_addr().expect("bound");
    bed.handle.offer(&gap(&device, here, here, Duration::from_secs(60)));
    bed.handle.offer(&gap(&device, here, elsewhere, short));
    bed.handle.offer(&gap(&device, here, here, short));
    let told = bed.observed("the gap", |seen| match seen.kind {
        ObservationKind::Silence(silence) => Some(silence),
        _ => None,
    });
    assert_eq!((told.silence, told.has_moved), (short, false));
    bed.await_count(Count::PassiveConfirmed, 1);
    // The kernel is ahead of the answer from the new address: the gap waits for it.
    std::thread::sleep(Duration::from_millis(600));
    device.rebind();
    let there = device.socket.local_addr().expect("bound");
    device.beat();
    let (_, mac) = device.ack();
    bed.handle.offer(&gap(&device, here, there, Duration::from_millis(605)));
    device.echo(mac);
    device.ack();
    let told = bed.observed("the gap", |seen| match seen.kind {
        ObservationKind::Silence(silence) => Some(silence),
        _ => None,
    });
    assert!(told.has_moved && told.silence == Duration::from_millis(605));
    bed.await_count(Count::PassiveConfirmed, 2);
    bed.await_count(Count::PassiveRefused, 2);
    assert!(!bed.all_observed().iter().any(|seen| matches!(seen, ObservationKind::Silence(_))), "none of its own");
}
