//! What a rollout sees of heartbeats, and how an order goes out unasked.

use std::time::Duration;

use flyball::fleet::heartbeat::counters::Count;
use flyball::keepalive::observation::{Beat, ObservationKind};
use flyball::keepalive::order::{CohortOrder, DeviceCommand, DeviceOrder};
use flyball_sdk::device::jitter::Pace;
use flyball_sdk::device::wire::{Ack, Answer, Request, sent};
use libtest_mimic::Trial;

use crate::bed::{Bed, GENERATION, Plan, order, pace};
use crate::device::Device;
use crate::trial;

/// The longest wait of these rollouts.
const ROUND: Duration = Duration::from_millis(1_250);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("rollouts::a_beat_is_told_with_what_it_shows", told),
        trial("rollouts::what_is_sent_before_a_beat_shows_whether_it_passed", sounded),
        trial("rollouts::a_silence_beyond_the_round_is_a_beat_that_did_not_come", silent),
        trial("rollouts::a_device_that_starts_anew_tells_nothing", restarted),
        trial("rollouts::what_is_urgent_is_sent_unasked", urgent),
    ]
}

/// A cohort whose devices wait for so many milliseconds, without jitter, and whose beats are told.
fn judged(interval_ms: u64) -> Bed {
    let pace = Pace { jitter: 0, ..pace(GENERATION, interval_ms) };
    let order = CohortOrder { pace, tell_beats: Some(ROUND), ..order() };
    Bed::with(Plan { order, ..Plan::default() })
}

/// The next beat that `wanted` takes.
fn beat_of(bed: &mut Bed, wanted: impl Fn(&Beat) -> bool) -> Beat {
    bed.observed("a beat", |seen| match seen.kind {
        ObservationKind::Beat(beat) if wanted(&beat) => Some(beat),
        _ => None,
    })
}

/// Beats with this generation in force.
fn beats(device: &mut Device, generation: u64, flags: u16) {
    let request = Request { generation, flags, ..device.next() };
    device.send(&device.seal(&request));
}

fn told() {
    let mut bed = judged(60_000);
    let mut device = Device::registered(&bed, "a");
    device.acked();
    beats(&mut device, GENERATION, 0);
    let beat = beat_of(&mut bed, |beat| beat.has_adopted);
    assert_eq!((beat.device, beat.is_confirmed, beat.is_reached), (device.id, true, None));
    assert!(beat.gap_ratio.is_some_and(|ratio| ratio < 0.5), "{beat:?}");
    beats(&mut device, GENERATION - 1, sent::RETRY);
    let beat = beat_of(&mut bed, |beat| !beat.is_confirmed);
    assert!(!beat.has_adopted, "sent again, and by an older order");
}

fn sounded() {
    let mut bed = judged(1_000);
    for has_passed in [true, false] {
        let mut device = Device::registered(&bed, if has_passed { "a" } else { "b" });
        beats(&mut device, GENERATION, 0);
        device.ack();
        let (Answer::Ack(Ack { pace, sequence, .. }), _) = device.answer() else { panic!("an order") };
        assert_eq!((pace.generation, sequence), (GENERATION + 1, device.sequence), "the same, and newer");
        beats(&mut device, if has_passed { pace.generation } else { GENERATION }, 0);
        let id = device.id;
        let reached = bed.observed("what the beat shows", |seen| match seen.kind {
            ObservationKind::Beat(beat) if beat.device == id => beat.is_reached,
            _ => None,
        });
        assert_eq!(reached, has_passed);
    }
    assert!(bed.count(Count::Sounded) >= 2);
}

fn silent() {
    let mut bed = judged(600);
    let mut device = Device::registered(&bed, "a");
    beats(&mut device, GENERATION, 0);
    let is_missed = |beat: &Beat| !beat.is_confirmed && beat.gap_ratio.is_none();
    bed.observed("a beat that did not come", |seen| match seen.kind {
        ObservationKind::Beat(beat) => is_missed(&beat).then_some(()),
        _ => None,
    });
}

fn restarted() {
    let mut bed = judged(60_000);
    let mut device = Device::registered(&bed, "a");
    device.acked();
    beat_of(&mut bed, |beat| beat.is_confirmed);
    (device.boot, device.sequence) = (device.boot + 1, 0);
    beats(&mut device, GENERATION, 0);
    device.ack();
    beats(&mut device, GENERATION, 0);
    let first = beat_of(&mut bed, |_| true);
    assert!(first.is_confirmed && first.gap_ratio.is_some_and(|ratio| ratio < 0.01), "the second alone: {first:?}");
}

fn urgent() {
    let bed = judged(60_000);
    let mut device = Device::registered(&bed, "a");
    device.acked();
    let shorter = pace(GENERATION + 9, 20_000);
    let (cohort, order) = (bed.cohort(&[]), DeviceOrder::Own(shorter));
    bed.command_all(vec![DeviceCommand { device: device.id, cohort, order, is_urgent: true }]);
    assert_eq!(device.ack().0.pace, shorter);
    bed.await_count(Count::Pushed, 1);
}
