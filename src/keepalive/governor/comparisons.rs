//! AB tests of fleet files: which cohorts have which plan, and what became of it.
//!
//! A test begins when both of its groups have a device, and is the only say in their interval while it lasts: as with a
//! pin, a person asked for it. A cohort with a pin of its own keeps that, and is in no test. A test that ended stays as
//! it ended for as long as the file asks for it, over restarts too; another name, other groups, or other intervals are
//! another test.

use std::sync::Arc;
use std::time::Duration;

use flyball_sdk::device::id::DeviceId;
use serde::{Deserialize, Serialize};

use super::Governor;
use super::cohort::Cohort;
use super::devices::{Devices, Is};
use crate::keepalive::cohort::Transport;
use crate::keepalive::policy::{AbPlans, Fleets, WaveQuery};
use crate::keepalive::report::{GroupsReport, RolloutReport};
use crate::keepalive::wave::ab::{AbSpec, AbTest, Plan, Side};
use crate::keepalive::wave::audit::Event;
use crate::keepalive::wave::gate::Gate;
use crate::keepalive::wave::metric::Sample;
use crate::keepalive::wave::plan::WavePolicy;
use crate::keepalive::wave::spec::{Command, Evidence, Refused, Spec, State};
use crate::keepalive::wave::stake::Gates;
use crate::time::{Tick, WallTime};

/// A test that a fleet file asks for, and how far it has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    fleet: Arc<str>,
    plans: AbPlans,
    /// `None` until both groups have a device.
    test: Option<Box<AbTest>>,
}

/// What a test has a cohort do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Planned {
    /// Which test.
    at: usize,
    /// Which plan.
    side: Side,
    /// In place of what the law would choose; `None` where the test is over.
    pub(super) interval: Option<Duration>,
    /// Its devices' beats are judged: the longest wait.
    pub(super) round: Option<Duration>,
}

impl Comparison {
    /// Whether its test has this id.
    fn is(&self, id: &str) -> bool {
        self.test.as_ref().is_some_and(|test| *test.spec().id == *id)
    }

    /// Which plan the cohort has, if any.
    fn side(&self, cohort: &Cohort, now: WallTime) -> Option<Side> {
        let is_ours = cohort.entry.fleet.as_ref() == Some(&self.fleet) && cohort.pin(now).is_none();
        let group = cohort.entry.labels.get(&self.plans.by).filter(|_| is_ours)?;
        [Side::A, Side::B].into_iter().zip(&self.plans.plans).find_map(|(side, plan)| plan.has(group).then_some(side))
    }

    fn start(&mut self, sides: &[Option<Side>], cohorts: &[Cohort], devices: &Devices, now: Tick) -> Vec<Event> {
        let of = |wanted: Side| -> Vec<DeviceId> {
            let cohorts = cohorts.iter().zip(sides).filter(|(_, side)| **side == Some(wanted));
            let members = cohorts.flat_map(|(cohort, _)| cohort.members.iter().map(|slot| devices.get(*slot)));
            members.filter(|device| device.is.all(Is::PRESENT)).map(|device| device.id).collect()
        };
        let [a, b] = [of(Side::A), of(Side::B)];
        if a.is_empty() || b.is_empty() {
            return Vec::new();
        }
        let compared = || cohorts.iter().zip(sides).filter(|(_, side)| side.is_some()).map(|(cohort, _)| cohort);
        let jitter = compared().next().map_or(0.0, |cohort| cohort.fleet.interval.jitter);
        let mut spec = self.spec(jitter, now.wall);
        // A connection says by itself that it is there: nothing is sent over it that could fail to pass unseen.
        if compared().any(|cohort| cohort.entry.key.transport == Transport::Tcp) {
            spec.gates.devices.retain(|gate| *gate != Gate::Coverage);
        }
        let (test, events) = AbTest::start(spec, [&a, &b], now.wall);
        self.test = Some(Box::new(test));
        events
    }

    fn spec(&self, jitter: f64, now: WallTime) -> AbSpec {
        let AbPlans { name, by, plans, hold_intervals, max_hold, gates, queries } = self.plans.clone();
        let id = format!("{}-{name}-{:x}", self.fleet, now.unix_ms()).into();
        let gates = Gates { devices: gates.0, queries: queries.into_iter().map(|query| query.spec).collect() };
        AbSpec { id, by, plans, jitter, hold_intervals, max_hold, gates, usual_failures: 0.0 }
    }

    fn planned(&self, at: usize, side: Side) -> Planned {
        let is_judged = |test: &&AbTest| matches!(test.state(), State::Running | State::Held);
        let test = self.test.as_deref();
        let interval = test.and_then(|test| test.interval(side));
        Planned { at, side, interval, round: test.filter(is_judged).map(|test| test.round()) }
    }

    fn report(&self, cohorts: &[Cohort], at: usize) -> Option<RolloutReport> {
        let test = self.test.as_ref()?;
        let (spec, is_b_on) = (test.spec(), test.interval(Side::B) == Some(test.spec().plans[1].interval));
        let ours =
            cohorts.iter().filter_map(|cohort| Some((cohort.planned.filter(|planned| planned.at == at)?, cohort)));
        let mut devices = [0; 3];
        for (planned, cohort) in ours {
            devices[0] += cohort.counts.present;
            if is_b_on && (planned.side == Side::B || test.state() == State::Released) {
                devices[1] += cohort.counts.present;
                devices[2] += cohort.counts.adopted;
            }
        }
        let [a, b] = &spec.plans;
        let policy = WavePolicy { percent: Vec::new(), hold_intervals: spec.hold_intervals, max_hold: spec.max_hold };
        Some(RolloutReport {
            spec: Spec {
                id: Arc::clone(&spec.id),
                cohort: spec.compared(),
                from: a.interval,
                to: b.interval,
                jitter: spec.jitter,
                policy,
                gates: spec.gates.clone(),
                usual_failures: spec.usual_failures,
            },
            groups: Some(GroupsReport { by: Arc::clone(&spec.by), a: a.groups.clone(), b: b.groups.clone() }),
            fleet: Some(Arc::clone(&self.fleet)),
            transport: None,
            state: test.state(),
            verdict: test.verdict(),
            wave: test.wave(),
            began: test.began(),
            round: test.round(),
            devices,
            gates: test.evidence(),
        })
    }
}

impl Governor {
    /// The fleet files ask for these tests from now on. Those that they asked for before go on.
    pub(super) fn set_comparisons(&mut self, fleets: &Fleets) {
        let mut before = std::mem::take(&mut self.comparisons);
        let asked = fleets.fleets.iter().flat_map(|fleet| fleet.ab_tests.iter().map(|plans| (&fleet.name, plans)));
        for (fleet, plans) in asked {
            let is_same = |known: &Comparison| known.fleet == *fleet && known.plans == *plans;
            let known = before.iter().position(is_same).map(|at| before.swap_remove(at));
            let fresh = || Comparison { fleet: Arc::clone(fleet), plans: plans.clone(), test: None };
            self.comparisons.push(known.unwrap_or_else(fresh));
        }
        let wall = self.now.wall;
        for mut test in before.into_iter().filter_map(|gone| gone.test) {
            let said = ("fleet file".into(), "the test is not in it any more".into());
            self.events.extend(test.command(Command::Abort, &said.0, &said.1, wall));
        }
    }

    /// Time has passed: tests begin and go on, and cohorts are told what is planned for them.
    pub(super) fn step_comparisons(&mut self, now: Tick) {
        let mut planned: Vec<Option<Planned>> = vec![None; self.cohorts.len()];
        for (at, comparison) in self.comparisons.iter_mut().enumerate() {
            let free = self.cohorts.iter().zip(&planned);
            let side = |(cohort, taken): (&Cohort, &Option<Planned>)| {
                if taken.is_some() { None } else { comparison.side(cohort, now.wall) }
            };
            let sides: Vec<Option<Side>> = free.map(side).collect();
            let events = match &mut comparison.test {
                Some(test) => test.tick(now.wall),
                None => comparison.start(&sides, &self.cohorts, &self.devices, now),
            };
            self.events.extend(events);
            for (plan, side) in planned.iter_mut().zip(sides) {
                *plan = side.map(|side| comparison.planned(at, side)).or(*plan);
            }
        }
        for (cohort, planned) in self.cohorts.iter_mut().zip(planned) {
            if cohort.planned != planned {
                cohort.planned = planned;
                cohort.is_dirty = true;
                cohort.look_at_all();
            }
        }
    }

    /// Takes up what an earlier process knew of the tests that are asked for.
    pub(super) fn remember_comparisons(&mut self, memory: Vec<Comparison>) {
        for known in memory {
            let is_same = |one: &&mut Comparison| one.fleet == known.fleet && one.plans == known.plans;
            if let Some(asked) = self.comparisons.iter_mut().find(is_same) {
                *asked = known;
            }
        }
    }

    /// A beat of a device whose cohort has a plan; whether a test took it. One that is over takes none: they are a
    /// rollout's again.
    pub(super) fn take_compared(&mut self, cohort: usize, evidence: &Evidence, now: WallTime) -> bool {
        let planned = self.cohorts[cohort].planned.filter(|planned| planned.round.is_some());
        let Some(planned) = planned else { return false };
        let Some(test) = self.comparisons.get_mut(planned.at).and_then(|one| one.test.as_mut()) else { return false };
        self.events.extend(test.take(planned.side, evidence, now));
        true
    }

    /// A value of a test's query; whether a test has this id.
    pub(super) fn sample_comparison(&mut self, id: &str, query: usize, sample: Sample, now: WallTime) -> bool {
        let Some(one) = self.comparisons.iter_mut().find(|one| one.is(id)) else { return false };
        let Some(test) = &mut one.test else { return false };
        self.events.extend(test.sample(query, sample, now));
        true
    }

    /// What a test's file asks for; `None` where no test has this id.
    pub(super) fn queries_compared(&self, id: &str) -> Option<&[WaveQuery]> {
        self.comparisons.iter().find(|one| one.is(id)).map(|one| &one.plans.queries[..])
    }

    /// What a person says of a test; `None` where no test has this id.
    pub(super) fn command_comparison(
        &mut self,
        id: &str,
        command: Command,
        (who, why): (&Arc<str>, &Arc<str>),
        now: WallTime,
    ) -> Option<Result<(), Refused>> {
        let said = self.comparisons.iter_mut().find(|one| one.is(id))?.test.as_mut()?.command(command, who, why, now);
        Some(said.map(|event| self.events.push(event)))
    }

    /// All that have begun; those that ended too, for as long as their file asks for them.
    pub(super) fn comparison_reports(&self) -> impl Iterator<Item = RolloutReport> {
        self.comparisons.iter().enumerate().filter_map(|(at, one)| one.report(&self.cohorts, at))
    }
}

impl Plan {
    /// Whether a group of this name has it.
    pub(super) fn has(&self, group: &str) -> bool {
        self.groups.iter().any(|name| **name == *group)
    }
}
