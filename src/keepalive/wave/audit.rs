//! What happened to a rollout, for the append-only log: who, what, why, and on which evidence. Plain values; the edge
//! writes them.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ab::Side;
use super::gate::{ArmFigures, Gate, Verdict};
use super::metric::{MetricSpec, Sample};

/// One entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Unix milliseconds.
    pub at_ms: i64,
    /// The rollout's id.
    pub rollout: Arc<str>,
    /// Its cohort's name.
    pub cohort: Arc<str>,
    /// The interval before, and after; of two plans, A's and B's.
    pub from: Duration,
    /// See `from`.
    pub to: Duration,
    /// The wave, counted from 1.
    pub wave: usize,
    /// Who caused it.
    pub who: Who,
    /// What happened.
    pub what: What,
    /// Why.
    pub why: Why,
    /// What was known.
    pub evidence: Vec<GateReport>,
}

/// Who caused it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// The law of this room.
    Law,
    /// A person, by the name of their token.
    Person(Arc<str>),
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A wave began: its devices have the new interval.
    WaveBegan,
    /// It is not decided, and a person is asked.
    Held,
    /// Nothing is judged until a person says so.
    Paused,
    /// The wave is judged anew.
    Resumed,
    /// All devices have the new interval.
    Released,
    /// All devices have the old one again.
    RolledBack,
}

/// Why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It was due.
    Begin,
    /// The interval is shorter: a repair, not a release.
    Shorter,
    /// All gates passed.
    Passed,
    /// This gate or query is worse than the control, or beyond its limit.
    Failed(Arc<str>),
    /// `max_hold` is over, and this gate or query has not passed.
    Undecided(Arc<str>),
    /// `max_hold` is over, and this query has no values.
    NoValue(Arc<str>),
    /// Too few of the treated devices confirmed the new interval: what passed is the old one.
    NotAdopted,
    /// The control fails as it did not before: something else is wrong, and no arm can tell.
    ControlFails,
    /// There are too few devices for a control.
    TooFewDevices,
    /// Both groups of an AB test had one interval for long enough: how they differ without the plans is known.
    Compared,
    /// Neither plan of an AB test is worse: a person says which one stays.
    NeitherWorse,
    /// By this gate or query, this plan of an AB test is worse than the other one.
    Worse {
        /// Which.
        plan: Side,
        /// By which.
        gate: Arc<str>,
    },
    /// What the person said.
    Said(Arc<str>),
}

/// What one gate or query shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum GateReport {
    /// Of devices.
    Devices {
        /// Which.
        gate: Gate,
        /// By itself.
        verdict: Verdict,
        /// With the new interval, new in this wave.
        treated: ArmFigures,
        /// With the old one.
        control: ArmFigures,
        /// Evidence that it is worse: the stake, multiplied. All gates' together stop the rollout at 1,000.
        evidence: f64,
        /// For gaps: the 99th of 100 as a ratio to the interval intended, treated and control.
        gap_ratio_p99: Option<[f32; 2]>,
    },
    /// Of a query.
    Query {
        /// Which.
        spec: MetricSpec,
        /// By itself.
        verdict: Verdict,
        /// Samples that had a value.
        samples: u32,
        /// Of these, bad ones.
        bad: u32,
        /// The latest.
        last: Option<Sample>,
        /// As above; 0 for a limit.
        evidence: f64,
    },
}

impl GateReport {
    /// What it is called.
    pub fn name(&self) -> Arc<str> {
        match self {
            Self::Devices { gate, .. } => gate.as_str().into(),
            Self::Query { spec, .. } => Arc::clone(&spec.name),
        }
    }

    /// By itself.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Devices { verdict, .. } | Self::Query { verdict, .. } => *verdict,
        }
    }

    /// Evidence that it is worse.
    pub fn evidence(&self) -> f64 {
        match self {
            Self::Devices { evidence, .. } | Self::Query { evidence, .. } => *evidence,
        }
    }
}
