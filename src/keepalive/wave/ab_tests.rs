use super::*;
use crate::keepalive::wave::metric::{Bad, MetricSpec};

const A: Duration = Duration::from_secs(60);
const B: Duration = Duration::from_secs(90);
/// 90 s and a quarter of it.
const ROUND_MS: i64 = 112_500;

fn spec() -> AbSpec {
    let plan = |name: &str, interval| Plan { groups: vec![name.into()], interval };
    AbSpec {
        id: "winter".into(),
        by: "region".into(),
        plans: [plan("north", A), plan("south", B)],
        jitter: 0.25,
        hold_intervals: 3,
        max_hold: Duration::from_secs(24 * 3_600),
        gates: Gates { devices: vec![Gate::Consistency], queries: Vec::new() },
        usual_failures: 0.0,
    }
}

fn device(n: u32) -> DeviceId {
    DeviceId(u128::from(n).to_be_bytes())
}

fn side(n: u32) -> Side {
    if n.is_multiple_of(2) { Side::A } else { Side::B }
}

/// Devices of even numbers are A's, the others B's; in each round one misses its beat with the probability that `misses`
/// says of its side and whether the plans are in force.
struct Region<M: Fn(Side, bool) -> f64> {
    test: AbTest,
    events: Vec<Event>,
    count: u32,
    misses: M,
    round: i64,
    draws: Hashing,
}

impl<M: Fn(Side, bool) -> f64> Region<M> {
    fn new(count: u32, seed: u64, misses: M) -> Self {
        let of = |wanted| (0..count).filter(|n| side(*n) == wanted).map(device).collect::<Vec<_>>();
        let (test, events) = AbTest::start(spec(), [&of(Side::A), &of(Side::B)], at(0, 0));
        Self { test, events, count, misses, round: 0, draws: Hashing::new(&format!("draws {seed}")) }
    }

    fn rounds(&mut self, rounds: i64) -> &mut Self {
        for _ in 0..rounds {
            for n in 0..self.count {
                let is_on = self.test.interval(Side::B) == Some(B);
                let is_missed = self.draws.draw(device(n), self.round as u64) < (self.misses)(side(n), is_on);
                let now = at(self.round, i64::from(n) * 100_000 / i64::from(self.count));
                let events = self.test.take(side(n), &beat(device(n), is_missed), now);
                self.events.extend(events);
            }
            self.round += 1;
            let events = self.test.tick(at(self.round, 0));
            self.events.extend(events);
        }
        self
    }

    fn last(&self) -> &Event {
        self.events.last().expect("the first at least")
    }
}

fn at(round: i64, ms: i64) -> WallTime {
    WallTime::from_unix_ms(round * ROUND_MS + ms)
}

fn beat(device: DeviceId, is_missed: bool) -> Evidence {
    let confirmed = u32::from(!is_missed);
    Evidence { device, due: 1, confirmed, gap_ratio: Some(0.9), is_reached: None, has_adopted: true }
}

#[test]
fn both_groups_begin_with_one_interval_and_then_each_has_its_plan() {
    let mut region = Region::new(400, 1, |_, _| 0.0);
    assert_eq!([Side::A, Side::B].map(|side| region.test.interval(side)), [Some(A); 2]);
    region.rounds(13);
    assert_eq!([Side::A, Side::B].map(|side| region.test.interval(side)), [Some(A), Some(B)]);
    assert_eq!((region.test.wave(), &region.last().why), ((2, 2), &Why::Compared));
}

#[test]
fn plans_that_are_alike_end_with_a_question_and_what_a_person_says_counts() {
    let mut region = Region::new(2_000, 2, |_, _| 0.000_2);
    region.rounds(100);
    assert_eq!((region.test.state(), &region.last().why), (State::Held, &Why::NeitherWorse));
    let (who, why) = ("ops".into(), "saves airtime".into());
    let promoted = region.test.command(Command::Promote, &who, &why, at(101, 0)).expect("it is held");
    assert_eq!((promoted.what, promoted.who), (What::Released, Who::Person(who.clone())));
    assert_eq!([Side::A, Side::B].map(|side| region.test.interval(side)), [Some(B); 2]);
    assert!(region.test.command(Command::Abort, &who, &why, at(102, 0)).is_err());
}

#[test]
fn the_worse_plan_is_named_whichever_it_is_and_the_law_paces_all_again() {
    for worse in [Side::A, Side::B] {
        let mut region = Region::new(2_000, 3, |side, is_on| if is_on && side == worse { 0.02 } else { 0.001 });
        region.rounds(40);
        let gate = Gate::Consistency.as_str().into();
        assert_eq!(region.last().why, Why::Worse { plan: worse, gate }, "{:?}", region.test.state());
        assert_eq!([Side::A, Side::B].map(|side| region.test.interval(side)), [None; 2]);
    }
}

#[test]
fn a_region_with_worse_radio_is_no_worse_plan() {
    let stopped = (0..40).filter(|seed| {
        let mut region = Region::new(1_000, *seed, |side, _| if side == Side::B { 0.012 } else { 0.006 });
        region.rounds(120);
        region.test.state() == State::RolledBack
    });
    assert_eq!(stopped.count(), 0);
}

#[test]
fn what_is_written_goes_on_as_if_nothing_had_been() {
    let misses = |side, is_on| if is_on && side == Side::B { 0.01 } else { 0.002 };
    let (mut whole, mut cut) = (Region::new(600, 5, misses), Region::new(600, 5, misses));
    whole.rounds(60);
    for _ in 0..60 {
        let text = serde_json::to_string(&cut.rounds(1).test).expect("plain");
        cut.test = serde_json::from_str(&text).expect("as written");
    }
    assert_eq!((whole.test, whole.events), (cut.test, cut.events));
}

#[test]
fn a_group_without_devices_asks_a_person_and_without_data_nothing_is_decided() {
    let (test, events) = AbTest::start(spec(), [&[device(1)], &[]], at(0, 0));
    assert_eq!((test.state(), &events[0].why), (State::Held, &Why::TooFewDevices));
    let devices: Vec<DeviceId> = (0..50).map(device).collect();
    let (mut test, _) = AbTest::start(spec(), [&devices[..25], &devices[25..]], at(0, 0));
    let events: Vec<Event> = (1..100).flat_map(|round| test.tick(at(round, 0))).collect();
    assert!(events.is_empty() && test.verdict() == Verdict::Inconclusive);
    let day = i64::from(24 * 3_600_000 / ROUND_MS as i32) + 2;
    assert_eq!(test.tick(at(day, 0))[0].what, What::Held);
}

/// What follows from the same sample in each round of the second wave.
fn asked(bad: Bad, sample: Sample) -> (AbTest, Vec<Event>) {
    let gates = Gates { devices: vec![Gate::Consistency], queries: vec![MetricSpec { name: "errors".into(), bad }] };
    let devices: Vec<DeviceId> = (0..50).map(device).collect();
    let (mut test, _) = AbTest::start(AbSpec { gates, ..spec() }, [&devices[..25], &devices[25..]], at(0, 0));
    let (who, why) = ("ops".into(), "now".into());
    test.command(Command::Promote, &who, &why, at(1, 0)).expect("on to the plans");
    let events = (4..60).flat_map(|round| test.sample(0, sample, at(round, 0))).collect();
    (test, events)
}

#[test]
fn a_query_is_asked_both_ways_round() {
    let (_, events) = asked(Bad::AboveControl(1.0), Sample { treated: Some(1.0), control: Some(2.0) });
    assert_eq!(events[0].why, Why::Worse { plan: Side::A, gate: "errors".into() });
}

#[test]
fn a_value_beyond_its_limit_ends_the_test_and_is_the_fault_of_neither_plan() {
    let value = |value| Sample { treated: Some(value), control: None };
    let (test, events) = asked(Bad::Above(5.0), value(6.0));
    assert_eq!((test.state(), &events[0].why), (State::RolledBack, &Why::Failed("errors".into())));
    let (test, events) = asked(Bad::Above(5.0), value(4.0));
    assert_eq!((test.state(), events), (State::Running, Vec::new()));
    let gates = test.stages.each_ref().map(|stage| stage.reports()[1].verdict());
    assert_eq!(gates, [Verdict::Pass; 2], "a limit needs no control, either way round");
}
