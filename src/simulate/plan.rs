//! A scenario of either loop: what is the same of both.

use std::time::Duration;

use super::fleet::metrics::FLEET_METRICS;
use super::fleet::scenario::{FleetLaw, FleetScenario};
use super::fleet::trace::FleetRun;
use super::metrics::{METRICS, Measured};
use super::scenario::{Check, LawKind, Scenario};
use super::trace::Run;
use super::{fleet, plot, trajectory};

/// A scenario of either loop.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// Services, their SDKs, and a tracing backend.
    Sampling(Box<Scenario>),
    /// Devices, their carriers, and a server.
    Fleet(Box<FleetScenario>),
}

/// A run of either.
#[derive(Debug, Clone, PartialEq)]
pub enum Ran {
    /// Of [`Plan::Sampling`].
    Sampling(Run),
    /// Of [`Plan::Fleet`].
    Fleet(FleetRun),
}

impl Plan {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Sampling(scenario) => &scenario.name,
            Self::Fleet(scenario) => &scenario.name,
        }
    }

    /// What it shows, in a sentence; empty where nobody said.
    pub fn about(&self) -> &str {
        match self {
            Self::Sampling(scenario) => &scenario.about,
            Self::Fleet(scenario) => &scenario.about,
        }
    }

    /// The name of the law that decides.
    pub fn law(&self) -> String {
        match self {
            Self::Sampling(scenario) => scenario.law.as_str().to_owned(),
            Self::Fleet(scenario) => scenario.law.name(),
        }
    }

    /// Runs of which the medians are judged.
    pub fn seeds(&self) -> u32 {
        match self {
            Self::Sampling(scenario) => scenario.seeds,
            Self::Fleet(scenario) => scenario.seeds,
        }
    }

    /// So many of them instead.
    pub fn set_seeds(&mut self, seeds: u32) {
        match self {
            Self::Sampling(scenario) => scenario.seeds = seeds,
            Self::Fleet(scenario) => scenario.seeds = seeds,
        }
    }

    /// Simulated time of a run.
    pub fn duration(&self) -> Duration {
        match self {
            Self::Sampling(scenario) => scenario.duration,
            Self::Fleet(scenario) => scenario.duration,
        }
    }

    /// What must hold.
    pub fn checks(&self) -> &[Check] {
        match self {
            Self::Sampling(scenario) => &scenario.checks,
            Self::Fleet(scenario) => &scenario.checks,
        }
    }

    /// The names of its metrics, in their order.
    pub fn metrics(&self) -> &'static [&'static str] {
        match self {
            Self::Sampling(_) => &METRICS,
            Self::Fleet(_) => &FLEET_METRICS,
        }
    }

    /// Whether there is anything in it that the metric measures: what cannot be but 0 is no news to a person.
    pub fn has(&self, metric: &str) -> bool {
        match self {
            Self::Sampling(_) => true,
            Self::Fleet(scenario) => scenario.has(metric),
        }
    }

    /// Runs it under its law with one seed.
    pub fn run(&self, seed: u64) -> Ran {
        match self {
            Self::Sampling(scenario) => Ran::Sampling(super::run(scenario, scenario.law, seed)),
            Self::Fleet(scenario) => Ran::Fleet(fleet::run(scenario, scenario.law, seed)),
        }
    }

    /// What a run was worth, beside the oracle's on the same seed.
    pub fn measured(&self, seed: u64, ran: &Ran) -> Measured {
        match (self, ran) {
            (Self::Sampling(scenario), Ran::Sampling(run)) if scenario.law == LawKind::Oracle => {
                Measured::of(&run.score, &run.score)
            }
            (Self::Sampling(scenario), Ran::Sampling(run)) => {
                Measured::of(&run.score, &super::run(scenario, LawKind::Oracle, seed).score)
            }
            (Self::Fleet(scenario), Ran::Fleet(run)) => {
                let own = run.score.values();
                let oracle = match scenario.law {
                    FleetLaw::Oracle => own,
                    _ => fleet::run(scenario, FleetLaw::Oracle, seed).score.values(),
                };
                Measured::of_values(&FLEET_METRICS, own.to_vec(), &oracle)
            }
            _ => Measured::median(self.metrics(), &[]),
        }
    }

    /// A run of it as a picture; empty where the run is of the other loop.
    pub fn svg(&self, seed: u64, ran: &Ran) -> String {
        match (self, ran) {
            (Self::Sampling(scenario), Ran::Sampling(run)) => plot::svg(scenario, seed, run),
            (Self::Fleet(scenario), Ran::Fleet(run)) => plot::fleet::svg(scenario, seed, run),
            _ => String::new(),
        }
    }

    /// A run of it as lines of text; empty where the run is of the other loop.
    pub fn trajectory(&self, seed: u64, ran: &Ran) -> String {
        match (self, ran) {
            (Self::Sampling(scenario), Ran::Sampling(run)) => trajectory::text(scenario, seed, run),
            (Self::Fleet(scenario), Ran::Fleet(run)) => fleet::trajectory::text(scenario, seed, run),
            _ => String::new(),
        }
    }
}
