//! Two plans beside each other, each over its own groups of gateways: an AB test by region.
//!
//! ```text
//!  Running, wave 1: both groups have plan A's interval ─▶ wave 2: B's groups have plan B's
//!       a plan is worse, abort ─▶ RolledBack: the law paces all          neither is, promote ─▶ Released: all have B's
//! ```
//!
//! The obvious way compares the groups as they are, and finds that one region has worse radio. So both begin with one
//! interval, and how much oftener B's devices fail *then* is what they may fail afterwards without being worse for
//! their plan: the gate is the waves' own ([`super::urn`]), in an urn where a device of B weighs so much. It asks both
//! ways round, because here neither plan is the old one. A plan that is worse ends the test, and the law paces all
//! devices again; where neither is, a person decides.
//!
//! Limits: nobody drew the groups. What befalls one of them alone *during* the test, such as an outage of its carrier, is
//! not told apart from its plan. So false stops are bounded by 1 in 1,000, each way round, only as far as the groups'
//! ratio is what it was, and that is known no better than the failures of the first wave tell it: the test asks for an
//! excess over one standard error above what was seen, and over [`ODDS`]' lower bound in any case.

use std::sync::Arc;
use std::time::Duration;

use flyball_sdk::device::id::DeviceId;
use serde::{Deserialize, Serialize};

use super::audit::{Event, GateReport, What, Who, Why};
use super::buckets::{BUCKETS, Buckets, Hashing};
use super::gate::{Gate, Verdict};
use super::metric::{METRICS_MAX, MetricSpec, Sample};
use super::spec::{Command, Evidence, Refused, State};
use super::stage::{Beginning, Outcome, Stage, longest_wait};
use super::stake::Gates;
use crate::time::WallTime;

/// Rounds in which both groups have one interval, at least: as many as the fleet file holds a wave for, and so many.
pub const BASELINE_ROUNDS: u32 = 10;
/// How many times as often one group may fail as the other before it is the plan's fault. Groups are never alike; and
/// above four times a plan would have to be worse by an order of magnitude to be seen.
const ODDS: (f64, f64) = (1.25, 4.0);
const WAVES: usize = 2;

/// What is compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AbSpec {
    /// Unique; the salt of who tells when.
    pub id: Arc<str>,
    /// The label that tells the groups apart.
    pub by: Arc<str>,
    /// A, and B.
    pub plans: [Plan; 2],
    /// Part of the interval that a device adds at most.
    pub jitter: f64,
    /// Each wave is held for so many rounds at least,
    pub hold_intervals: u32,
    /// and so long at most: then a person is asked.
    pub max_hold: Duration,
    /// What is asked.
    pub gates: Gates,
    /// Part of the devices' beats that was missed before, as far as known.
    pub usual_failures: f64,
}

/// One of the two.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Values of the label.
    pub groups: Vec<Arc<str>>,
    /// What their devices have, without jitter.
    pub interval: Duration,
}

/// Which plan a device's group has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The first.
    A,
    /// The second.
    B,
}

/// A test of two plans.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AbTest {
    spec: AbSpec,
    state: State,
    hashing: Hashing,
    /// Buckets that are not empty: those of A are even, those of B odd.
    occupied: Buckets,
    /// Against B, whose devices are the treated, and against A.
    stages: [Stage; 2],
    started_ms: i64,
    now_ms: i64,
}

impl AbSpec {
    /// Both groups in one line, for logs and reports.
    pub fn compared(&self) -> Arc<str> {
        let [a, b] = self.plans.each_ref().map(|plan| plan.groups.join("+"));
        format!("{}={a} | {b}", self.by).into()
    }

    fn round(&self) -> Duration {
        let [a, b] = self.plans.each_ref().map(|plan| longest_wait(plan.interval, self.jitter));
        a.max(b)
    }
}

impl AbTest {
    /// Begins with one interval for both groups, of these devices.
    pub fn start(mut spec: AbSpec, devices: [&[DeviceId]; 2], now: WallTime) -> (Self, Vec<Event>) {
        spec.gates.queries.truncate(METRICS_MAX);
        let hashing = Hashing::new(&spec.id);
        let mut occupied = Buckets::default();
        for (side, devices) in [Side::A, Side::B].into_iter().zip(devices) {
            devices.iter().for_each(|device| _ = occupied.insert(bucket(hashing, *device, side)));
        }
        let now_ms = now.unix_ms();
        let stages = stages(&spec, &occupied, (0, now_ms), [1.0; 2]);
        let mut test = Self { spec, state: State::Running, hashing, occupied, stages, started_ms: now_ms, now_ms };
        let event = if test.population().contains(&0) {
            test.turn(State::Held, What::Held, Who::Law, Why::TooFewDevices)
        } else {
            test.turn(State::Running, What::WaveBegan, Who::Law, Why::Begin)
        };
        (test, vec![event])
    }

    /// What the devices of a side are to have now, in place of what the law would choose; `None` = the law's.
    pub fn interval(&self, side: Side) -> Option<Duration> {
        let [a, b] = self.spec.plans.each_ref().map(|plan| plan.interval);
        match (self.state, side) {
            (State::RolledBack, _) => None,
            (State::Released, _) => Some(b),
            (_, Side::B) if self.stages[0].wave > 0 => Some(b),
            _ => Some(a),
        }
    }

    /// Takes in what one device of a side showed.
    pub fn take(&mut self, side: Side, evidence: &Evidence, now: WallTime) -> Vec<Event> {
        let Some((round, part)) = self.judged_round(now) else { return Vec::new() };
        let bucket = bucket(self.hashing, evidence.device, side);
        let is_new = self.occupied.insert(bucket);
        let is_called = part >= self.hashing.call(bucket, round);
        let outcome = Outcome::drawn(evidence, self.hashing.draw(evidence.device, round));
        let mut has_failed = false;
        for (treated, stage) in [Side::B, Side::A].into_iter().zip(&mut self.stages) {
            if is_new {
                stage.join(side == treated);
            }
            if stage.is_asked(bucket, is_called) {
                has_failed |= stage.take(bucket, side == treated, outcome);
            }
        }
        if has_failed { self.judge_failure() } else { Vec::new() }
    }

    /// Takes in a value of the query in this place, of B as the treated. A limit is one of both.
    pub fn sample(&mut self, query: usize, sample: Sample, now: WallTime) -> Vec<Event> {
        if self.judged_round(now).is_none() {
            return Vec::new();
        }
        let is_compared = self.spec.gates.queries.get(query).is_some_and(|spec| spec.bad.is_compared());
        let turned = Sample { treated: sample.control, control: sample.treated };
        let swapped = if is_compared { turned } else { sample };
        self.stages.iter_mut().zip([sample, swapped]).for_each(|(stage, sample)| stage.sample(query, sample));
        self.judge_failure()
    }

    /// Time has passed. To be called once a round or more often.
    pub fn tick(&mut self, now: WallTime) -> Vec<Event> {
        let round = self.judged_round(now);
        if self.state != State::Running {
            return Vec::new();
        }
        let is_first = self.stages[0].wave == 0;
        let least = if is_first { self.spec.hold_intervals.max(BASELINE_ROUNDS) } else { self.spec.hold_intervals };
        let told = self.stages.iter().map(|stage| stage.rounds_told).min().unwrap_or(0);
        let is_held = told >= least && round.is_some_and(|(round, _)| round >= u64::from(least));
        match self.verdict() {
            _ if is_first && is_held => vec![self.begin(What::WaveBegan, Who::Law, Why::Compared)],
            Verdict::Pass if is_held && !is_first => {
                vec![self.turn(State::Held, What::Held, Who::Law, Why::NeitherWorse)]
            }
            _ if self.is_over() => {
                let open = self.stages.iter().map(Stage::verdict).find(|(verdict, _)| *verdict != Verdict::Pass);
                let why = open.map_or(Why::NeitherWorse, |(_, why)| why);
                vec![self.turn(State::Held, What::Held, Who::Law, why)]
            }
            _ => Vec::new(),
        }
    }

    /// What a person says: promote = B's plan for all (in the first wave: on to the second), abort = the law for all.
    ///
    /// # Errors
    /// [`Refused`] where the test has ended, or is already there.
    pub fn command(
        &mut self,
        command: Command,
        who: &Arc<str>,
        why: &Arc<str>,
        now: WallTime,
    ) -> Result<Event, Refused> {
        self.now_ms = self.now_ms.max(now.unix_ms());
        let (who, why) = (Who::Person(Arc::clone(who)), Why::Said(Arc::clone(why)));
        match (command, self.state) {
            (_, State::Released | State::RolledBack)
            | (Command::Pause, State::Paused)
            | (Command::Resume, State::Running) => Err(Refused { command, state: self.state }),
            (Command::Promote, _) if self.stages[0].wave == 0 => Ok(self.begin(What::WaveBegan, who, why)),
            (Command::Promote, _) => Ok(self.turn(State::Released, What::Released, who, why)),
            (Command::Abort, _) => Ok(self.turn(State::RolledBack, What::RolledBack, who, why)),
            (Command::Pause, _) => Ok(self.turn(State::Paused, What::Paused, who, why)),
            (Command::Resume, _) => Ok(self.resume(who, why)),
        }
    }

    /// What is compared.
    pub fn spec(&self) -> &AbSpec {
        &self.spec
    }

    /// Where it is.
    pub fn state(&self) -> State {
        self.state
    }

    /// The wave, counted from 1, and how many there are.
    pub fn wave(&self) -> (usize, usize) {
        (self.stages[0].wave + 1, WAVES)
    }

    /// When the first wave began, and this one.
    pub fn began(&self) -> [WallTime; 2] {
        [self.started_ms, self.stages[0].began_ms].map(WallTime::from_unix_ms)
    }

    /// Buckets (nearly: devices) of A, and of B.
    pub fn population(&self) -> [u32; 2] {
        population(&self.occupied)
    }

    /// How long a round is.
    pub fn round(&self) -> Duration {
        self.spec.round()
    }

    /// Both ways round together. The first wave has none: it is what the second is compared with.
    pub fn verdict(&self) -> Verdict {
        let verdicts = self.stages.each_ref().map(|stage| stage.verdict().0);
        match verdicts {
            _ if self.stages[0].wave == 0 => Verdict::Inconclusive,
            _ if verdicts.contains(&Verdict::Fail) => Verdict::Fail,
            _ if verdicts.contains(&Verdict::Error) => Verdict::Error,
            [Verdict::Pass, Verdict::Pass] => Verdict::Pass,
            _ => Verdict::Inconclusive,
        }
    }

    /// What each gate shows, B's devices as the treated.
    pub fn evidence(&self) -> Vec<GateReport> {
        self.stages[0].reports()
    }

    fn judged_round(&mut self, now: WallTime) -> Option<(u64, f64)> {
        self.now_ms = self.now_ms.max(now.unix_ms());
        if !matches!(self.state, State::Running | State::Held) {
            return None;
        }
        let (now_ms, length) = (self.now_ms, self.spec.round());
        let [one, other] = self.stages.each_mut().map(|stage| stage.round_at(now_ms, length));
        one.and(other)
    }

    /// The worse plan ends the test. In the first wave there is nothing to be worse than.
    fn judge_failure(&mut self) -> Vec<Event> {
        if self.stages[0].wave == 0 {
            return Vec::new();
        }
        let failed = [Side::B, Side::A].into_iter().zip(&self.stages).find(|(_, stage)| stage.is_failed());
        let Some((worse, stage)) = failed else { return Vec::new() };
        let Why::Failed(gate) = stage.verdict().1 else { return Vec::new() };
        // A value beyond its limit is of no plan.
        let is_limit = |spec: &MetricSpec| spec.name == gate && !spec.bad.is_compared();
        let is_of_both = self.spec.gates.queries.iter().any(is_limit);
        let why = if is_of_both { Why::Failed(gate) } else { Why::Worse { plan: worse, gate } };
        vec![self.turn(State::RolledBack, What::RolledBack, Who::Law, why)]
    }

    /// The second wave.
    fn begin(&mut self, what: What, who: Who, why: Why) -> Event {
        let odds = self.odds();
        self.turn_to(1, odds, what, who, why)
    }

    /// The same wave anew; what the first one told of the groups stays.
    fn resume(&mut self, who: Who, why: Why) -> Event {
        let odds = self.stages.each_ref().map(Stage::odds);
        self.turn_to(self.stages[0].wave, odds, What::Resumed, who, why)
    }

    fn turn_to(&mut self, wave: usize, odds: [f64; 2], what: What, who: Who, why: Why) -> Event {
        let event = self.turn(State::Running, what, who, why);
        self.stages = stages(&self.spec, &self.occupied, (wave, self.now_ms), odds);
        Event { wave: wave + 1, ..event }
    }

    /// How many times as often B's devices fail as A's while all have one interval, and the other way round: one standard
    /// error above what was seen (of the logarithm of a ratio of rates: Rothman 2012, "Epidemiology", with half a
    /// failure more in each group, so that none is no proof).
    fn odds(&self) -> [f64; 2] {
        let Some((b, a)) = self.stages[0].figures(Gate::Consistency) else { return [ODDS.0; 2] };
        let [failed_a, failed_b] = [a, b].map(|arm| f64::from(arm.buckets_failed) + 0.5);
        let [seen_a, seen_b] = [a, b].map(|arm| arm.outcomes.max(1) as f64);
        let ratio = (failed_b / seen_b) / (failed_a / seen_a);
        let error = (1.0 / failed_a + 1.0 / failed_b).sqrt().exp();
        [ratio * error, error / ratio].map(|odds| odds.clamp(ODDS.0, ODDS.1))
    }

    fn turn(&mut self, state: State, what: What, who: Who, why: Why) -> Event {
        self.state = state;
        Event {
            at_ms: self.now_ms,
            rollout: Arc::clone(&self.spec.id),
            cohort: self.spec.compared(),
            from: self.spec.plans[0].interval,
            to: self.spec.plans[1].interval,
            wave: self.stages[0].wave + 1,
            who,
            what,
            why,
            evidence: self.evidence(),
        }
    }

    fn is_over(&self) -> bool {
        u128::from(self.stages[0].held_ms(self.now_ms)) >= self.spec.max_hold.as_millis()
    }
}

/// A device's, within those of its side: a bucket of two devices is of one plan.
fn bucket(hashing: Hashing, device: DeviceId, side: Side) -> u32 {
    hashing.bucket(device) & !1 | u32::from(side == Side::B)
}

fn population(occupied: &Buckets) -> [u32; 2] {
    let odd = occupied.count_odd();
    [occupied.count(0, BUCKETS) - odd, odd]
}

/// Against B, and against A. Each begins with a stake of its own: with the whole of it in the second wave, as the first
/// bets nothing.
fn stages(spec: &AbSpec, occupied: &Buckets, (wave, at_ms): (usize, i64), odds: [f64; 2]) -> [Stage; 2] {
    let [a, b] = population(occupied);
    let usual = spec.usual_failures;
    let [against_b, against_a] = odds;
    [([b, a], against_b), ([a, b], against_a)].map(|(population, odds)| {
        Stage::new(&spec.gates, Beginning { wave, waves: 1, at_ms, population, usual, odds }, None)
    })
}

#[cfg(test)]
#[path = "ab_tests.rs"]
mod tests;
