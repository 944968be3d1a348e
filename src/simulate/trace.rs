//! What a run leaves behind: the plant's truth, second by second.

use super::score::Score;

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// What it was worth.
    pub score: Score,
    /// From the start of the run, the warm-up included.
    pub seconds: Vec<Second>,
}

/// One second of the plant.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Second {
    /// Root requests.
    pub requests: f64,
    /// Spans/s if all of it were sampled.
    pub demand: f64,
    /// Spans/s that the backend bears.
    pub capacity: f64,
    /// Spans/s offered to it.
    pub offered: f64,
    /// Spans/s that it lost.
    pub lost: f64,
    /// Spans/s that left its queue, worked off: never more than the capacity.
    pub served: f64,
    /// Spans/s that the law allows; `None` while it knows none.
    pub budget: Option<f64>,
    /// What the law serves, over all roots, weighted by their demand.
    pub probability: f64,
    /// Commands published in this second.
    pub commands: u32,
}
