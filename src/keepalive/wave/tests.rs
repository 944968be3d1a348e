//! Rollouts as wholes: what they do, what they say, and how often they are wrong.

use std::sync::Arc;
use std::time::Duration;

use flyball_sdk::device::id::DeviceId;
use proptest::prelude::{any, prop};

use super::audit::{Event, GateReport, What, Who, Why};
use super::gate::{Gate, Verdict};
use super::metric::{Bad, MetricSpec, Sample};
use super::plan::{Arm, WavePolicy};
use super::rollout::Rollout;
use super::simulation::{Population, Tally};
use super::spec::{Command, Evidence, Refused, Spec, State};
use super::stake::Gates;
use crate::time::WallTime;

const FROM: Duration = Duration::from_secs(60);
const TO: Duration = Duration::from_secs(90);
/// 90 s and a quarter of it.
const ROUND_MS: i64 = 112_500;

fn spec(id: &str) -> Spec {
    Spec {
        id: id.into(),
        cohort: "carrier=a".into(),
        from: FROM,
        to: TO,
        jitter: 0.25,
        policy: WavePolicy { percent: vec![5, 20, 100], hold_intervals: 3, max_hold: Duration::from_secs(24 * 3_600) },
        gates: Gates { devices: vec![Gate::Consistency], queries: Vec::new() },
        usual_failures: 0.0,
    }
}

fn device(n: u32) -> DeviceId {
    DeviceId(u128::from(n).to_be_bytes())
}

fn devices(count: u32) -> Vec<DeviceId> {
    (0..count).map(device).collect()
}

fn at(round: i64) -> WallTime {
    WallTime::from_unix_ms(round * ROUND_MS)
}

fn beat(device: DeviceId, is_missed: bool) -> Evidence {
    Evidence {
        device,
        due: 1,
        confirmed: u32::from(!is_missed),
        gap_ratio: Some(0.9),
        is_reached: None,
        has_adopted: true,
    }
}

/// A cohort whose devices miss beats as `misses` says of the device, its arm and the round.
struct Cohort<M: Fn(u32, Arm, i64) -> bool> {
    rollout: Rollout,
    events: Vec<Event>,
    count: u32,
    misses: M,
    round: i64,
}

impl<M: Fn(u32, Arm, i64) -> bool> Cohort<M> {
    fn new(spec: Spec, count: u32, misses: M) -> Self {
        let (rollout, events) = Rollout::start(spec, &devices(count), at(0));
        Self { rollout, events, count, misses, round: 0 }
    }

    fn rounds(&mut self, rounds: i64) -> &mut Self {
        for _ in 0..rounds {
            for n in 0..self.count {
                let is_missed = (self.misses)(n, self.rollout.arm(device(n)), self.round);
                // Not all at once, and not in the order of arms.
                let now = at(self.round).plus(Duration::from_millis(u64::from(n) * 100_000 / u64::from(self.count)));
                let events = self.rollout.take(&beat(device(n), is_missed), now);
                self.events.extend(events);
            }
            self.round += 1;
            let events = self.rollout.tick(at(self.round));
            self.events.extend(events);
        }
        self
    }

    fn told(&self) -> Vec<(What, usize)> {
        self.events.iter().map(|event| (event.what, event.wave)).collect()
    }

    fn with_new(&self) -> u32 {
        (0..self.count).filter(|n| self.rollout.arm(device(*n)) == Arm::New).count() as u32
    }
}

fn tally(population: Population, runs: u64) -> Tally {
    Tally::of((0..runs).map(|seed| population.run(seed)).collect())
}

fn said(text: &str) -> Arc<str> {
    text.into()
}

#[test]
fn a_canary_is_stopped_after_some_twelve_thousand_beats() {
    let tally = tally(Population::canary(20_000), 200);
    assert!(tally.beats() < 13_500.0 && tally.beats_quantile(0.95) < 30_000.0, "{}", tally.beats());
    assert!(tally.stopped_ratio() > 0.97, "{}", tally.stopped_ratio());
}

#[test]
fn a_good_release_reaches_everybody_however_much_single_devices_differ() {
    for correlation in [0.0, 0.1] {
        let tally = tally(Population { correlation, ..Population::good(5_000) }, 100);
        assert!(tally.stopped_ratio() < 0.011, "{}", tally.stopped_ratio());
        assert!(tally.released_ratio() > 0.8, "{}", tally.released_ratio());
    }
}

#[test]
fn healthy_waves_follow_one_another_and_end_with_everybody() {
    let mut cohort = Cohort::new(spec("a"), 400, |_, _, _| false);
    assert_eq!(cohort.with_new(), 20);
    cohort.rounds(1_000);
    assert_eq!(cohort.told(), [(What::WaveBegan, 1), (What::WaveBegan, 2), (What::WaveBegan, 3), (What::Released, 3)]);
    assert_eq!((cohort.rollout.state(), cohort.with_new()), (State::Released, 400));
    assert!(cohort.events.iter().skip(1).all(|event| event.why == Why::Passed && !event.evidence.is_empty()));
}

#[test]
fn later_waves_contain_the_earlier_ones() {
    let mut rollout = Rollout::start(spec("a"), &devices(1_000), at(0)).0;
    let mut before: Vec<u32> = Vec::new();
    for wave in [50, 200, 900] {
        let new: Vec<u32> = (0..1_000).filter(|n| rollout.arm(device(*n)) == Arm::New).collect();
        assert!(new.len().abs_diff(wave) <= wave / 20, "{} of {wave}", new.len());
        assert!(before.iter().all(|n| new.contains(n)));
        before = new;
        rollout.command(Command::Promote, &said("kim"), &said("in a hurry"), at(1)).expect("it runs");
    }
    assert_eq!(rollout.state(), State::Released);
}

#[test]
fn a_wave_is_held_for_its_intervals_even_where_the_sample_is_large() {
    let mut cohort = Cohort::new(spec("a"), 40_000, |_, _, _| false);
    // Two rounds until the new interval shows, and three that count.
    cohort.rounds(4);
    assert_eq!(cohort.rollout.wave(), (1, 3));
    cohort.rounds(3);
    assert_eq!(cohort.rollout.wave(), (2, 3));
}

#[test]
fn an_interval_beyond_the_lifetime_is_rolled_back_in_the_first_round_that_counts() {
    let mut cohort = Cohort::new(spec("a"), 200, |_, arm, _| arm == Arm::New);
    cohort.rounds(2);
    assert_eq!((cohort.rollout.state(), cohort.with_new()), (State::Running, 10));
    cohort.rounds(1);
    let Some(last) = cohort.events.last() else { panic!("it was stopped") };
    assert_eq!((last.what, last.wave, &last.who), (What::RolledBack, 1, &Who::Law));
    assert_eq!(last.why, Why::Failed(Gate::Consistency.as_str().into()));
    assert!(last.at_ms < 3 * ROUND_MS, "{}", last.at_ms);
    assert_eq!((cohort.rollout.state(), cohort.with_new()), (State::RolledBack, 0));
}

#[test]
fn an_interval_that_only_a_box_of_the_second_wave_cannot_bear_is_stopped_there() {
    let mut first = Cohort::new(spec("a"), 1_000, |_, _, _| false);
    let wave_1: Vec<u32> = (0..1_000).filter(|n| first.rollout.arm(device(*n)) == Arm::New).collect();
    first.rounds(1);
    let mut cohort = Cohort::new(spec("a"), 1_000, |n, arm, _| arm == Arm::New && n % 5 == 0 && !wave_1.contains(&n));
    cohort.rounds(400);
    assert_eq!(cohort.told(), [(What::WaveBegan, 1), (What::WaveBegan, 2), (What::RolledBack, 2)]);
}

#[test]
fn two_bad_devices_in_the_first_wave_are_no_bad_release() {
    let (probe, _) = Rollout::start(spec("a"), &devices(2_000), at(0));
    let bad: Vec<u32> = (0..2_000).filter(|n| probe.arm(device(*n)) == Arm::New).take(2).collect();
    let mut cohort = Cohort::new(spec("a"), 2_000, move |n, _, _| bad.contains(&n) || n % 97 == 0);
    cohort.rounds(300);
    assert_ne!(cohort.rollout.state(), State::RolledBack);
}

#[test]
fn a_carrier_that_changes_under_both_arms_pauses_and_does_not_fail() {
    for wave in 1..=3 {
        let mut cohort = Cohort::new(spec("a"), 1_000, |_, _, round| round >= 600);
        for _ in 1..wave {
            cohort.rollout.command(Command::Promote, &said("kim"), &said("to there"), at(0)).expect("it runs");
        }
        cohort.rollout.command(Command::Pause, &said("kim"), &said("wait"), at(0)).expect("it runs");
        cohort.rounds(597);
        cohort.rollout.command(Command::Resume, &said("kim"), &said("now"), at(597)).expect("it was paused");
        cohort.rounds(5);
        let last = cohort.events.last().expect("it was paused");
        assert_eq!((last.what, &last.why), (What::Paused, &Why::ControlFails), "in wave {wave}");
        let before = cohort.with_new();
        cohort.rounds(2_000);
        assert_eq!((cohort.rollout.state(), cohort.with_new()), (State::Paused, before));
    }
}

#[test]
fn no_data_never_passes_and_asks_a_person_in_the_end() {
    let mut rollout = Rollout::start(spec("a"), &devices(1_000), at(0)).0;
    let events: Vec<Event> = (0..800).flat_map(|round| rollout.tick(at(round))).collect();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].what, rollout.state()), (What::Held, State::Held));
    assert_eq!(events[0].why, Why::Undecided(Gate::Consistency.as_str().into()));
    assert_eq!(rollout.verdict(), Verdict::Inconclusive);
}

#[test]
fn a_release_that_nobody_follows_does_not_pass() {
    let mut rollout = Rollout::start(spec("a"), &devices(1_000), at(0)).0;
    let mut events = Vec::new();
    for round in 2..800 {
        for n in 0..1_000 {
            drop(rollout.take(&Evidence { has_adopted: n % 2 == 0, ..beat(device(n), false) }, at(round)));
        }
        events.extend(rollout.tick(at(round + 1)));
    }
    assert_eq!(
        events.iter().map(|event| (event.what, &event.why)).collect::<Vec<_>>(),
        [(What::Held, &Why::NotAdopted)]
    );
}

/// Of 150 devices twelve miss a third of their beats. A device beats as its arm has it, so that those of the control
/// are told of half as often again, each is off for a third of the time, and every five minutes
/// nothing arrives for twelve seconds. Returns the most that was ever won of a
/// stake.
fn most_won_by_chance(seed: u32, wave: usize) -> f64 {
    let draw = |n: u32, what: u32| {
        let bytes = [seed, n, what, 7].map(u32::to_be_bytes).concat();
        super::buckets::Hashing::new("world").draw(DeviceId(bytes.try_into().expect("16 bytes")), 1)
    };
    let id = format!("chance {seed}");
    let mut rollout = Rollout::start(Spec { usual_failures: 1.0, ..spec(&id) }, &devices(150), at(0)).0;
    for _ in 1..wave {
        rollout.command(Command::Promote, &said("kim"), &said("to there"), at(0)).expect("it runs");
    }
    let stake: f64 = rollout.evidence().iter().map(GateReport::evidence).sum();
    let (mut most, mut next, mut beats): (f64, Vec<f64>, u32) =
        (0.0, (0..150).map(|n| draw(n, 0) * 200.0).collect(), 0);
    let end = 25.0 * ROUND_MS as f64 / 1e3;
    while let Some((n, when)) = next.iter().copied().enumerate().min_by(|a, b| a.1.total_cmp(&b.1)) {
        if when > end {
            break;
        }
        let (device_n, is_old) = (n as u32, rollout.arm(device(n as u32)) == Arm::Old);
        beats += 1;
        let is_out = when % 331.0 < 12.0;
        let is_missed = is_out || device_n % 13 == 5 && draw(device_n, beats) < 0.33;
        if (when / 400.0) as u32 % 3 != device_n % 3 {
            drop(rollout.take(&beat(device(device_n), is_missed), WallTime::from_unix_ms((when * 1e3) as i64)));
        }
        if is_missed {
            most = most.max(rollout.evidence().iter().map(GateReport::evidence).sum());
        }
        next[n] += if is_old { 60.0 } else { 90.0 } * (1.0 + 0.25 * draw(device_n, beats + 1_000_000));
    }
    most / stake
}

#[test]
fn chance_wins_twentyfold_in_one_of_twenty_rollouts_at_most() {
    for wave in 1..=3 {
        let runs = 400;
        let won = (0..runs).filter(|seed| most_won_by_chance(*seed, wave) >= 20.0).count();
        // Three standard deviations above a twentieth.
        assert!(won <= 33, "in wave {wave}: {won} of {runs}");
    }
}

#[test]
fn a_held_wave_is_still_rolled_back_where_it_fails() {
    let hold = Duration::from_secs(3_600);
    let policy = WavePolicy { max_hold: hold, ..spec("a").policy };
    let mut cohort = Cohort::new(Spec { policy, ..spec("a") }, 200, |_, arm, round| arm == Arm::New && round > 40);
    cohort.rounds(40);
    assert_eq!(cohort.rollout.state(), State::Held);
    cohort.rounds(2);
    assert_eq!(cohort.rollout.state(), State::RolledBack);
}

#[test]
fn a_shorter_interval_goes_out_at_once() {
    let (rollout, events) = Rollout::start(Spec { to: FROM, from: TO, ..spec("a") }, &devices(10), at(0));
    assert_eq!((events[0].what, &events[0].why), (What::Released, &Why::Shorter));
    assert_eq!(rollout.arm(device(3)), Arm::New);
}

#[test]
fn a_cohort_of_one_cannot_be_its_own_control() {
    let (rollout, events) = Rollout::start(spec("a"), &devices(1), at(0));
    assert_eq!((events[0].what, &events[0].why), (What::Held, &Why::TooFewDevices));
    assert_eq!(rollout.arm(device(0)), Arm::Old);
}

#[test]
fn persons_are_obeyed_and_named() {
    let (kim, why) = (said("kim"), said("incident 42"));
    let mut rollout = Rollout::start(spec("a"), &devices(100), at(0)).0;
    let events = rollout.command(Command::Pause, &kim, &why, at(1)).expect("it runs");
    assert_eq!((&events[0].who, &events[0].why), (&Who::Person(Arc::clone(&kim)), &Why::Said(Arc::clone(&why))));
    let again = rollout.command(Command::Pause, &kim, &why, at(1));
    assert_eq!(again, Err(Refused { command: Command::Pause, state: State::Paused }));
    let resumed = rollout.command(Command::Resume, &kim, &why, at(2)).expect("it was paused");
    assert_eq!((resumed[0].what, rollout.state()), (What::Resumed, State::Running));
    rollout.command(Command::Abort, &kim, &why, at(3)).expect("it runs");
    assert_eq!(rollout.state(), State::RolledBack);
    let late = rollout.command(Command::Promote, &kim, &why, at(4));
    assert_eq!(late, Err(Refused { command: Command::Promote, state: State::RolledBack }));
}

#[test]
fn an_operators_limit_stops_a_rollout_and_a_missing_value_lets_none_pass() {
    let queries = vec![MetricSpec { name: "errors".into(), bad: Bad::Above(5.0) }];
    let gates = Gates { devices: vec![Gate::Consistency], queries };
    let mut cohort = Cohort::new(Spec { gates: gates.clone(), ..spec("a") }, 10_000, |_, _, _| false);
    cohort.rounds(30);
    assert_eq!(cohort.rollout.wave().0, 1, "the query said nothing");
    for round in 30..33 {
        let sample = Sample { treated: Some(7.0), control: None };
        cohort.events.extend(cohort.rollout.sample(0, sample, at(round)));
    }
    assert_eq!(cohort.events.last().map(|event| &event.why), Some(&Why::Failed("errors".into())));
    let mut rollout = Rollout::start(Spec { gates, ..spec("a") }, &devices(100), at(0)).0;
    (2..6).for_each(|round| drop(rollout.sample(0, Sample { treated: None, control: None }, at(round))));
    let held = rollout.tick(at(800));
    assert_eq!(held[0].why, Why::NoValue("errors".into()));
}

#[test]
fn late_beats_stop_a_rollout_by_their_ratio_and_not_by_their_length() {
    let gates = Gates { devices: vec![Gate::Consistency, Gate::Gap], queries: Vec::new() };
    let run = |late: f32| {
        let mut rollout = Rollout::start(Spec { gates: gates.clone(), ..spec("a") }, &devices(2_000), at(0)).0;
        let mut events = Vec::new();
        for round in 2..40 {
            for n in 0..2_000 {
                let gap_ratio =
                    Some(if rollout.arm(device(n)) == Arm::New && (n + round) % 10 == 0 { late } else { 0.9 });
                events.extend(rollout.take(&Evidence { gap_ratio, ..beat(device(n), false) }, at(i64::from(round))));
            }
            events.extend(rollout.tick(at(i64::from(round) + 1)));
        }
        events
    };
    let stopped = run(1.4);
    assert_eq!(stopped.last().map(|event| &event.why), Some(&Why::Failed(Gate::Gap.as_str().into())));
    assert!(run(0.9).iter().all(|event| event.what != What::RolledBack));
}

#[test]
fn a_device_that_beats_more_often_has_no_more_chances_to_fail() {
    let mut rollout = Rollout::start(spec("a"), &devices(1_000), at(0)).0;
    for _ in 0..50 {
        for n in 0..1_000 {
            drop(rollout.take(&Evidence { due: 2, confirmed: 2, ..beat(device(n), false) }, at(3)));
        }
    }
    let GateReport::Devices { treated, control, .. } = &rollout.evidence()[0] else { panic!("a gate of devices") };
    assert!(treated.outcomes + control.outcomes <= 1_000);
}

#[test]
fn one_of_two_beats_missed_is_half_a_failure() {
    let mut rollout = Rollout::start(Spec { usual_failures: 1.0, ..spec("a") }, &devices(4_000), at(0)).0;
    for n in 0..4_000 {
        drop(rollout.take(&Evidence { due: 2, confirmed: 1, ..beat(device(n), false) }, at(3)));
    }
    let GateReport::Devices { control, .. } = &rollout.evidence()[0] else { panic!("a gate of devices") };
    assert!((control.ratio().expect("outcomes") - 0.5).abs() < 0.03 && control.outcomes > 3_000, "{control:?}");
}

#[test]
fn a_device_that_is_new_in_the_middle_of_a_wave_is_judged_too() {
    let mut rollout = Rollout::start(spec("a"), &devices(1_000), at(0)).0;
    for n in 1_000..1_200 {
        drop(rollout.take(&beat(device(n), false), at(3)));
    }
    let GateReport::Devices { treated, control, .. } = &rollout.evidence()[0] else { panic!("a gate of devices") };
    assert!(treated.outcomes > 0 && treated.outcomes + control.outcomes > 190);
}

#[test]
fn a_rollout_of_a_large_cohort_stays_small() {
    let mut rollout = Rollout::start(spec("a"), &devices(100_000), at(0)).0;
    let healthy = serde_json::to_string(&rollout).expect("written").len();
    for round in 2..20 {
        for n in 0..100_000 {
            drop(rollout.take(&beat(device(n), n % 300 == 7), at(round)));
        }
    }
    let worn = serde_json::to_string(&rollout).expect("written").len();
    assert!(healthy < 70_000 && worn < 80_000, "{healthy} and {worn} bytes");
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(24))]
    #[test]
    fn a_rollout_that_is_written_and_read_goes_on_as_if_nothing_had_been(
        cut in 1_i64..120, misses in 0_u32..400, seed in any::<u32>(), count in 20_u32..300,
    ) {
        let is_missed = move |n: u32, arm: Arm, round: i64| {
            let hash = (n ^ seed).wrapping_mul(2_654_435_761).wrapping_add(round as u32 * 40_503) % 10_000;
            hash < if arm == Arm::New { misses } else { 30 }
        };
        let mut straight = Cohort::new(spec("a"), count, is_missed);
        let mut resumed = Cohort::new(spec("a"), count, is_missed);
        straight.rounds(200);
        resumed.rounds(cut);
        let text = serde_json::to_string(&resumed.rollout).expect("written");
        resumed.rollout = serde_json::from_str(&text).expect("read");
        resumed.rounds(200 - cut);
        proptest::prop_assert_eq!(&straight.events, &resumed.events);
        proptest::prop_assert_eq!(&straight.rollout, &resumed.rollout);
    }

    #[test]
    fn no_order_of_inputs_panics_and_an_end_stays_an_end(
        steps in prop::collection::vec((0_u32..40, -5_i64..900, any::<bool>(), 0_u8..8, any::<f32>()), 0..300),
    ) {
        let mut rollout = Rollout::start(spec("a"), &devices(30), at(0)).0;
        for (n, round, is_missed, what, gap) in steps {
            let before = rollout.state();
            let command = [Command::Promote, Command::Abort, Command::Pause, Command::Resume];
            match what {
                0 => drop(rollout.tick(at(round))),
                1 => drop(rollout.sample(n as usize, Sample { treated: Some(f64::from(gap)), control: None }, at(round))),
                2 => drop(rollout.command(command[n as usize % 4], &said("kim"), &said("so"), at(round))),
                _ => {
                    let evidence = Evidence { gap_ratio: Some(gap), due: n, ..beat(device(n), is_missed) };
                    drop(rollout.take(&evidence, at(round)));
                }
            }
            let is_end = matches!(before, State::Released | State::RolledBack);
            proptest::prop_assert!(!is_end || rollout.state() == before);
        }
    }
}
