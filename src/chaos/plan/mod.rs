//! A scenario of a fleet as steps in time on the kernel: which boxes, which households of devices, and what is done when.
//! Pure, and all of what a kernel cannot do is named at once, before anything is started.

#[cfg(test)]
mod fixtures;
mod households;
mod maker;
pub mod nat;
mod unfit;

use std::sync::Arc;
use std::time::Duration;

use self::maker::{Made, Maker};
use crate::keepalive::interval;
use crate::keepalive::policy::IntervalBounds;
use crate::keepalive::wave::spec::Command;
use crate::simulate::fleet::scenario::{CarrierPlan, FleetScenario, Nat};

/// What is done on the kernel.
#[derive(Debug, Clone, PartialEq)]
pub struct LabPlan {
    /// What it is made of.
    pub scenario: Arc<FleetScenario>,
    /// Every NAT.
    pub boxes: Vec<BoxOf>,
    /// Every process of devices.
    pub households: Vec<HouseholdPlan>,
    /// What is done, in the order of its time.
    pub steps: Vec<TimedStep>,
    /// Whether its links do what only netem can: else what is lost is dropped by rules.
    pub needs_netem: bool,
    /// What is true, from its moment on, in the order of time; the first holds from the start.
    pub truths: Vec<Truth>,
}

/// A NAT of a carrier.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoxOf {
    /// The carrier's place.
    pub carrier: usize,
    /// What it does at the start.
    pub nat: Nat,
}

/// Devices in one process.
#[derive(Debug, Clone, PartialEq)]
pub struct HouseholdPlan {
    /// Its carrier's place.
    pub carrier: usize,
    /// Its box's place.
    pub at_box: usize,
    /// The devices' ids begin so; numbers follow.
    pub id: String,
    /// How many.
    pub devices: u32,
    /// When they begin to start.
    pub joins_at: Duration,
}

/// A step and its time.
#[derive(Debug, Clone, PartialEq)]
pub struct TimedStep {
    /// Since the start of the run.
    pub at: Duration,
    /// What is done.
    pub step: Step,
    /// In words, for who watches; empty where it follows from one before.
    pub words: String,
}

/// Something that is done.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// This box's NAT is another.
    Change(usize, Nat),
    /// These boxes forget.
    Reboot(Vec<usize>),
    /// The server stops, by SIGTERM or SIGKILL.
    ServerDown {
        /// By SIGKILL.
        is_killed: bool,
    },
    /// The server starts.
    ServerUp,
    /// The ways between devices and boxes lose this part.
    Loss(f64),
    /// Links do what the scenario says of this time.
    Netem(Duration),
    /// This fleet file is in force.
    Policy(Arc<str>),
    /// These households move to this box.
    Move(Vec<usize>, usize),
    /// These households end.
    PowerOff(Vec<usize>),
    /// And start again.
    PowerOn(Vec<usize>),
    /// An operator says this of the rollouts of these cohorts.
    Rollout(Vec<Arc<str>>, Command),
    /// The wall clock of the machine is set forward.
    ClockStep(f64),
}

/// What metrics are judged by.
#[derive(Debug, Clone, PartialEq)]
pub struct Truth {
    /// From when on.
    pub since: Duration,
    /// The policy's.
    pub bounds: IntervalBounds,
    /// Whether a new binding is lifted out of the unreplied timeout by the server.
    pub has_second_acks: bool,
    /// Each box's NAT.
    pub nats: Vec<Nat>,
    /// Carriers whose NATs changed at this moment.
    pub changed: Vec<usize>,
    /// Households that came to another box at this moment.
    pub moved: Vec<usize>,
    /// Whether learning begins anew: a policy came.
    pub is_policy_new: bool,
    /// Each household's box.
    pub at_box: Vec<usize>,
}

impl LabPlan {
    /// The plan of a scenario.
    ///
    /// # Errors
    /// Everything in it that a kernel cannot do, or this world cannot measure: a key and why.
    pub fn of(scenario: &FleetScenario) -> Result<Self, Vec<String>> {
        let (mut unfit, boxes) = (unfit::of(scenario), boxes(scenario));
        let made = Maker::make(scenario, &boxes, households::of(scenario, &boxes), &mut unfit);
        let Made { households, steps, truths, needs_netem } = made;
        let plan = Self { scenario: Arc::new(scenario.clone()), boxes, households, steps, needs_netem, truths };
        if unfit.is_empty() { Ok(plan) } else { Err(unfit) }
    }

    /// The carriers, by their place.
    pub fn carriers(&self) -> &[CarrierPlan] {
        &self.scenario.carriers.named
    }

    /// What is true at a time.
    pub fn truth(&self, at: Duration) -> &Truth {
        let after = self.truths.partition_point(|truth| truth.since <= at);
        &self.truths[after.saturating_sub(1)]
    }

    /// Whether the clock of the machine is set, which befalls everything on it.
    pub fn sets_clock(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.step, Step::ClockStep(_)))
    }

    /// How many devices there are.
    pub fn devices(&self) -> u32 {
        self.households.iter().map(|household| household.devices).sum()
    }
}

impl Truth {
    /// The interval that a carrier's shortest NAT bears.
    pub fn bearable(&self, boxes: &[BoxOf], carrier: usize) -> Duration {
        let theirs = boxes.iter().zip(&self.nats).filter(|(at, _)| at.carrier == carrier);
        let shortest = theirs.map(|(_, nat)| nat.stream).min().unwrap_or_default();
        interval::paced(&self.bounds, shortest).interval
    }
}

fn boxes(scenario: &FleetScenario) -> Vec<BoxOf> {
    let of = |(carrier, plan): (usize, &CarrierPlan)| {
        plan.boxes.iter().map(|of| BoxOf { carrier, nat: of.nat }).collect::<Vec<_>>()
    };
    scenario.carriers.named.iter().enumerate().flat_map(of).collect()
}
