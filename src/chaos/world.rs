//! A scenario of either loop that can be run for real: what is the same of both.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::plan::LabPlan;
use super::sampling::{self, SamplingPlan};
use super::{ChaosError, Progress, Ran, Settings, prometheus};
use crate::simulate::plan::Plan;
use crate::simulate::scenario::Check;

/// A scenario of either loop.
#[derive(Debug, Clone)]
pub enum World {
    /// Devices behind the kernel's own NAT.
    Fleet(LabPlan),
    /// Services whose counters a real Prometheus server scrapes.
    Sampling(SamplingPlan),
}

impl World {
    /// The plan of a scenario.
    ///
    /// # Errors
    /// What of it only the simulator can do, each in a sentence.
    pub fn of(plan: &Plan) -> Result<Self, Vec<String>> {
        match plan {
            Plan::Fleet(scenario) => LabPlan::of(scenario).map(Self::Fleet),
            Plan::Sampling(scenario) => SamplingPlan::of(scenario).map(Self::Sampling),
        }
    }

    /// The scenario's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Fleet(plan) => &plan.scenario.name,
            Self::Sampling(plan) => &plan.scenario.name,
        }
    }

    /// The name of the law that decides.
    pub fn law(&self) -> String {
        match self {
            Self::Fleet(plan) => plan.scenario.law.name(),
            Self::Sampling(plan) => plan.scenario.law.as_str().to_owned(),
        }
    }

    /// How long it lasts.
    pub fn duration(&self) -> Duration {
        match self {
            Self::Fleet(plan) => plan.scenario.duration,
            Self::Sampling(plan) => plan.scenario.duration,
        }
    }

    /// What must hold.
    pub fn checks(&self) -> &[Check] {
        match self {
            Self::Fleet(plan) => &plan.scenario.checks,
            Self::Sampling(plan) => &plan.scenario.checks,
        }
    }

    /// Whether there is anything in it that the metric measures: what cannot be but 0 is no news to a person.
    pub fn has(&self, metric: &str) -> bool {
        match self {
            Self::Fleet(plan) => plan.scenario.has(metric),
            Self::Sampling(_) => true,
        }
    }

    /// What this machine lacks for it, and what to do about it.
    pub fn missing(&self, settings: &Settings) -> Option<String> {
        match self {
            Self::Fleet(plan) => super::missing(plan, settings),
            Self::Sampling(_) => prometheus::missing(),
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// Something failed on the way, or `stop` was set: there is no verdict. Everything is taken down.
    pub fn run(
        &self,
        settings: &Settings,
        stop: &AtomicBool,
        tell: &mut dyn FnMut(&Progress<'_>),
    ) -> Result<Ran, ChaosError> {
        match self {
            Self::Fleet(plan) => super::run(plan, settings, stop, tell),
            Self::Sampling(plan) => sampling::run(plan, settings, stop, tell),
        }
    }
}
