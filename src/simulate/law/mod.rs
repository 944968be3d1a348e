//! The laws that can be run on a plant: Flyball's own through its real governor, the limit, and the neighbours from
//! their published behaviour. Each is given what it would see in the world, and says what every root samples with.

mod aimd;
mod datadog;
mod governed;
mod jaeger;
mod oracle;
mod roots;

use super::scenario::{LawKind, Scenario};
use crate::sampling::local::LocalShare;
use crate::sampling::traffic::Traffic;
use crate::time::Tick;

pub(super) use governed::operation_name;
use roots::Roots;

/// What a law may look at in one tick.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    /// Now.
    pub now: Tick,
    /// What the source answered; `None` = it did not.
    pub traffic: Option<&'a Traffic>,
    /// Whether a scrape came since the last tick.
    pub is_new: bool,
    /// What is true, for those who may know.
    pub truth: &'a Truth,
}

/// The plant's truth at the last scrape.
#[derive(Debug, Clone, Default)]
pub(super) struct Truth {
    /// Root requests/s by service and operation.
    pub demand: Vec<Vec<f64>>,
    /// Spans/s that the backend bears.
    pub capacity: f64,
    /// Root traces ever sampled, by service and operation.
    pub sampled: Vec<Vec<f64>>,
}

/// What a law says, by service and operation. Kept between ticks.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    /// Probabilities.
    pub probabilities: Vec<Vec<f64>>,
    /// What the stream tells of each service's share; `None` = no limit of its own.
    pub shares: Vec<Option<LocalShare>>,
    /// Spans/s that the law allows; `None` while it has no such number.
    pub budget: Option<f64>,
}

/// A law under test.
pub(super) trait Law {
    /// One tick: changes `told` where it decides anew.
    fn tick(&mut self, seen: &Seen<'_>, told: &mut Told);
}

/// The law of a kind for a scenario; the neighbours are tuned to the true capacity at the start.
pub(super) fn new(kind: LawKind, scenario: &Scenario, start: Tick, capacity: f64) -> Box<dyn Law> {
    let roots = Roots::of(scenario);
    match kind {
        LawKind::Adaptive | LawKind::Fixed | LawKind::Threshold => {
            Box::new(governed::Governed::new(kind, scenario, start, capacity))
        }
        LawKind::Jaeger => Box::new(jaeger::Jaeger::new(scenario, roots, capacity)),
        LawKind::Datadog => Box::new(datadog::Datadog::new(roots, capacity)),
        LawKind::Aimd => Box::new(aimd::Aimd::new(roots, capacity)),
        LawKind::Oracle => Box::new(oracle::Oracle::new(roots)),
    }
}
