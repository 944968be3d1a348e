//! A rollout: which devices have the new interval, what has been seen, and what follows.
//!
//! ```text
//!              pass            pass (last wave)
//!   Running ──▶ next wave ────▶ Released
//!    │  │ └─ control fails, pause ─▶ Paused ─ resume ─▶ Running, the wave judged anew
//!    │  └─ max_hold ─▶ Held: a person promotes or aborts; evidence is still taken, and a failure still rolls back
//!    └─ fail, abort ─▶ RolledBack
//! ```
//!
//! All of it is in the value: it can be written at any moment, and goes on from there as if nothing had been. Times are
//! wall times, because it outlives processes; one that goes back is taken for standing still, and one that leaps costs
//! at most an early `Held`, as passing takes evidence from as many rounds as the policy asks for.
//!
//! Limits: after `resume` the wave's devices are drawn no more: what made single devices fail before may fail them
//! again, so a resumed wave's part of the bound on false stops holds only as far as that is over.

use std::sync::Arc;
use std::time::Duration;

use flyball_sdk::device::id::DeviceId;
use serde::{Deserialize, Serialize};

use super::audit::{Event, GateReport, What, Who, Why};
use super::buckets::{BUCKETS, Buckets, Hashing};
use super::gate::Verdict;
use super::metric::{METRICS_MAX, Sample};
use super::plan::{Arm, Cuts, Role};
use super::spec::{Command, Evidence, Refused, Spec, State};
use super::stage::{Beginning, Outcome, Stage, longest_wait};
use crate::time::WallTime;

/// A rollout of one interval to one cohort.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    spec: Spec,
    state: State,
    hashing: Hashing,
    /// Buckets that are not empty.
    occupied: Buckets,
    cuts: Cuts,
    stage: Stage,
    #[serde(default)]
    started_ms: i64,
    now_ms: i64,
}

impl Rollout {
    /// Begins the first wave, in a cohort of these devices. A shorter interval is released at once.
    pub fn start(mut spec: Spec, devices: &[DeviceId], now: WallTime) -> (Self, Vec<Event>) {
        spec.gates.queries.truncate(METRICS_MAX);
        let hashing = Hashing::new(&spec.id);
        let buckets: Vec<u32> = devices.iter().map(|device| hashing.bucket(*device)).collect();
        let mut occupied = Buckets::default();
        buckets.iter().for_each(|bucket| _ = occupied.insert(*bucket));
        let cuts = Cuts::new(&spec.policy, buckets);
        let now_ms = now.unix_ms();
        let beginning = beginning(&spec, &cuts, &occupied, (0, now_ms));
        let stage = Stage::new(&spec.gates, beginning, None);
        let mut rollout =
            Self { spec, state: State::Running, hashing, occupied, cuts, stage, started_ms: now_ms, now_ms };
        let event = if rollout.spec.to <= rollout.spec.from {
            rollout.turn(State::Released, What::Released, Who::Law, Why::Shorter)
        } else if rollout.cuts.waves() == 0 {
            rollout.turn(State::Held, What::Held, Who::Law, Why::TooFewDevices)
        } else {
            rollout.turn(State::Running, What::WaveBegan, Who::Law, Why::Begin)
        };
        (rollout, vec![event])
    }

    /// Which interval a device is to have now.
    pub fn arm(&self, device: DeviceId) -> Arm {
        let is_new = match self.state {
            State::Released => true,
            State::RolledBack => false,
            _ => self.hashing.bucket(device) < self.cuts.slice(self.stage.wave).1,
        };
        if is_new { Arm::New } else { Arm::Old }
    }

    /// Takes in what one device showed.
    pub fn take(&mut self, evidence: &Evidence, now: WallTime) -> Vec<Event> {
        let Some((round, part)) = self.judged_round(now) else { return Vec::new() };
        let bucket = self.hashing.bucket(evidence.device);
        let role = self.cuts.role(self.stage.wave, bucket);
        if role == Role::Earlier {
            return Vec::new();
        }
        if self.occupied.insert(bucket) {
            self.stage.join(role == Role::Treated);
        }
        if !self.stage.is_asked(bucket, part >= self.hashing.call(bucket, round)) {
            return Vec::new();
        }
        let outcome = Outcome::drawn(evidence, self.hashing.draw(evidence.device, round));
        if self.stage.take(bucket, role == Role::Treated, outcome) { self.judge_failure() } else { Vec::new() }
    }

    /// Takes in a value of the query in this place of the policy.
    pub fn sample(&mut self, query: usize, sample: Sample, now: WallTime) -> Vec<Event> {
        if self.judged_round(now).is_none() {
            return Vec::new();
        }
        self.stage.sample(query, sample);
        self.judge_failure()
    }

    /// Time has passed: the next wave, the end, or the hold's end. To be called once a round or more often.
    pub fn tick(&mut self, now: WallTime) -> Vec<Event> {
        let round = self.judged_round(now);
        if self.state != State::Running {
            return Vec::new();
        }
        let least = self.spec.policy.hold_intervals;
        let is_held = self.stage.rounds_told >= least && round.is_some_and(|(round, _)| round >= u64::from(least));
        match self.stage.verdict() {
            (Verdict::Fail, why) => vec![self.turn(State::RolledBack, What::RolledBack, Who::Law, why)],
            (Verdict::Pass, why) if is_held => self.go_on(Who::Law, why),
            (_, why) if self.is_over() => vec![self.turn(State::Held, What::Held, Who::Law, why)],
            _ => Vec::new(),
        }
    }

    /// What a person says.
    ///
    /// # Errors
    /// [`Refused`] where the rollout has ended, or is already there.
    pub fn command(
        &mut self,
        command: Command,
        who: &Arc<str>,
        why: &Arc<str>,
        now: WallTime,
    ) -> Result<Vec<Event>, Refused> {
        self.now_ms = self.now_ms.max(now.unix_ms());
        let (who, why) = (Who::Person(Arc::clone(who)), Why::Said(Arc::clone(why)));
        match (command, self.state) {
            (_, State::Released | State::RolledBack)
            | (Command::Pause, State::Paused)
            | (Command::Resume, State::Running) => Err(Refused { command, state: self.state }),
            (Command::Promote, _) => Ok(self.go_on(who, why)),
            (Command::Abort, _) => Ok(vec![self.turn(State::RolledBack, What::RolledBack, who, why)]),
            (Command::Pause, _) => Ok(vec![self.turn(State::Paused, What::Paused, who, why)]),
            (Command::Resume, _) => Ok(vec![self.begin(self.stage.wave, What::Resumed, who, why)]),
        }
    }

    /// The law itself asks for a shorter interval than there was before: nothing is left to release.
    pub fn withdraw(&mut self, now: WallTime) -> Vec<Event> {
        self.now_ms = self.now_ms.max(now.unix_ms());
        if self.is_over_already() {
            return Vec::new();
        }
        vec![self.turn(State::RolledBack, What::RolledBack, Who::Law, Why::Shorter)]
    }

    /// A person wants no waves any more: all devices have the new interval.
    pub fn release(&mut self, who: &Arc<str>, why: &Arc<str>, now: WallTime) -> Vec<Event> {
        self.now_ms = self.now_ms.max(now.unix_ms());
        if self.is_over_already() {
            return Vec::new();
        }
        let (who, why) = (Who::Person(Arc::clone(who)), Why::Said(Arc::clone(why)));
        vec![self.turn(State::Released, What::Released, who, why)]
    }

    /// When the first wave began, and this one.
    pub fn began(&self) -> [WallTime; 2] {
        [self.started_ms, self.stage.began_ms].map(WallTime::from_unix_ms)
    }

    /// Where it is.
    pub fn state(&self) -> State {
        self.state
    }

    /// The wave, counted from 1, and how many there are.
    pub fn wave(&self) -> (usize, usize) {
        (self.stage.wave + 1, self.cuts.waves())
    }

    /// What is released.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The verdict on the wave as it stands.
    pub fn verdict(&self) -> Verdict {
        self.stage.verdict().0
    }

    /// What each gate shows.
    pub fn evidence(&self) -> Vec<GateReport> {
        self.stage.reports()
    }

    /// How long a round is: a device with the new interval beats at least once in it.
    pub fn round(&self) -> Duration {
        longest_wait(self.spec.to, self.spec.jitter)
    }

    /// What a device is in this wave, and what a simulation may tell of many devices at once.
    pub(super) fn role(&self, device: DeviceId) -> Role {
        self.cuts.role(self.stage.wave, self.hashing.bucket(device))
    }

    /// So many devices of an arm told that nothing failed.
    pub(super) fn succeed(&mut self, is_treated: bool, devices: u32, gap_ratio: f32, now: WallTime) {
        if self.judged_round(now).is_some() {
            self.stage.succeed(is_treated, devices, gap_ratio);
        }
    }

    /// The round that it is now, where outcomes count, and the part of it that has passed; ends those before.
    fn judged_round(&mut self, now: WallTime) -> Option<(u64, f64)> {
        self.now_ms = self.now_ms.max(now.unix_ms());
        if !matches!(self.state, State::Running | State::Held) {
            return None;
        }
        self.stage.round_at(self.now_ms, self.round())
    }

    fn judge_failure(&mut self) -> Vec<Event> {
        if self.state == State::Running && self.stage.control.is_failing() {
            return vec![self.turn(State::Paused, What::Paused, Who::Law, Why::ControlFails)];
        }
        if !self.stage.is_failed() {
            return Vec::new();
        }
        let (_, why) = self.stage.verdict();
        vec![self.turn(State::RolledBack, What::RolledBack, Who::Law, why)]
    }

    fn go_on(&mut self, who: Who, why: Why) -> Vec<Event> {
        let next = self.stage.wave + 1;
        if next < self.cuts.waves() {
            vec![self.begin(next, What::WaveBegan, who, why)]
        } else {
            vec![self.turn(State::Released, What::Released, who, why)]
        }
    }

    /// Begins a wave, or the same one anew. The event's evidence is what it was decided on.
    fn begin(&mut self, wave: usize, what: What, who: Who, why: Why) -> Event {
        let event = self.turn(State::Running, what, who, why);
        let beginning = beginning(&self.spec, &self.cuts, &self.occupied, (wave, self.now_ms));
        self.stage = Stage::new(&self.spec.gates, beginning, Some(&self.stage));
        Event { wave: wave + 1, ..event }
    }

    fn turn(&mut self, state: State, what: What, who: Who, why: Why) -> Event {
        self.state = state;
        Event {
            at_ms: self.now_ms,
            rollout: Arc::clone(&self.spec.id),
            cohort: Arc::clone(&self.spec.cohort),
            from: self.spec.from,
            to: self.spec.to,
            wave: self.stage.wave + 1,
            who,
            what,
            why,
            evidence: self.stage.reports(),
        }
    }

    fn is_over_already(&self) -> bool {
        matches!(self.state, State::Released | State::RolledBack)
    }

    fn is_over(&self) -> bool {
        u128::from(self.stage.held_ms(self.now_ms)) >= self.spec.policy.max_hold.as_millis()
    }
}

fn beginning(spec: &Spec, cuts: &Cuts, occupied: &Buckets, (wave, at_ms): (usize, i64)) -> Beginning {
    let (from, to) = cuts.slice(wave);
    let population = [occupied.count(from, to), occupied.count(to, BUCKETS)];
    Beginning { wave, waves: cuts.waves(), at_ms, population, usual: spec.usual_failures, odds: 1.0 }
}
