//! What the core decided, complete: the code that serves it has no choice left to make.

use std::time::Duration;

use serde::Serialize;

use super::local::LocalShare;
use super::policy::{Mode, Policy, ServiceRule};
use super::probability::Probability;
use super::traffic::Name;
use crate::time::WallTime;

/// Operations told to a client at most: Go clients drop what comes after.
pub const OPERATIONS_MAX: usize = 256;

/// Why a probability is what it is: the log field, the metric label and the test's assertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No decision yet: what a stranger is told, at first `probability.initial`.
    Initial,
    /// Restored from the state folder; no fresh input yet.
    Restored,
    /// `law: fixed`.
    Fixed,
    /// The threshold law, nothing above its thresholds.
    WithinThresholds,
    /// The threshold law cut for the service's demand.
    AboveDemand,
    /// The threshold law cut for loss (and for demand too, where both are high).
    AboveLoss,
    /// The service's fair share of the budget over its demand.
    Share,
    /// The share allows `probability.max`.
    AtMax,
    /// The share would need less than `probability.min`.
    AtMin,
    /// `floor_traces_per_second` holds it up.
    Floor,
    /// The rise was smaller than the dead band.
    DeadBand,
    /// No rise before the last command shows in the data.
    AwaitingEffect,
    /// Spans a trace are not measured yet: stays where it is.
    LearningSpansPerTrace,
    /// The series is younger than its window: it may fall, not rise.
    Warming,
    /// No traffic: it may fall, not rise, because the next burst would arrive at the higher rate.
    Idle,
    /// A person set it.
    Pinned,
    /// The policy fixes this operation.
    FixedOperation,
    /// Traces do not begin here: an answer and no share.
    NotRoot,
    /// Another policy, earlier by name, has this service.
    Conflict,
    /// The demand series named no such service lately: held.
    Vanished,
    /// No fresh input: held.
    Stale,
    /// The source did not name any demand while the pipeline's series exist: held.
    DemandAbsent,
    /// Neither demand nor the pipeline's series exist: held.
    Outage,
    /// The source's answer covers only a part: it may fall, not rise.
    Partial,
    /// The pipeline's `received` is absent: it may fall, not rise.
    PipelineAbsent,
    /// Input came back after a hold: rises at most double in one tick.
    Recovering,
    /// Input is older than `max_age`: `min(held, fallback)`.
    Fallback,
}

impl Reason {
    /// Whether the decision stands on demand and a budget as they are now: only then may clients limit themselves by it.
    pub const fn is_measured(self) -> bool {
        match self {
            Self::Share | Self::AtMax | Self::AtMin | Self::Floor | Self::DeadBand | Self::AwaitingEffect => true,
            Self::Initial
            | Self::Restored
            | Self::Fixed
            | Self::WithinThresholds
            | Self::AboveDemand
            | Self::AboveLoss
            | Self::LearningSpansPerTrace
            | Self::Warming
            | Self::Idle
            | Self::Pinned
            | Self::FixedOperation
            | Self::NotRoot
            | Self::Conflict
            | Self::Vanished
            | Self::Stale
            | Self::DemandAbsent
            | Self::Outage
            | Self::Partial
            | Self::PipelineAbsent
            | Self::Recovering
            | Self::Fallback => false,
        }
    }

    /// The name in logs, metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Restored => "restored",
            Self::Fixed => "fixed",
            Self::WithinThresholds => "within_thresholds",
            Self::AboveDemand => "above_demand",
            Self::AboveLoss => "above_loss",
            Self::Share => "share",
            Self::AtMax => "at_max",
            Self::AtMin => "at_min",
            Self::Floor => "floor",
            Self::DeadBand => "dead_band",
            Self::AwaitingEffect => "awaiting_effect",
            Self::LearningSpansPerTrace => "learning_spans_per_trace",
            Self::Warming => "warming",
            Self::Idle => "idle",
            Self::Pinned => "pinned",
            Self::FixedOperation => "fixed_operation",
            Self::NotRoot => "not_root",
            Self::Conflict => "conflict",
            Self::Vanished => "vanished",
            Self::Stale => "stale",
            Self::DemandAbsent => "demand_absent",
            Self::Outage => "outage",
            Self::Partial => "partial",
            Self::PipelineAbsent => "pipeline_absent",
            Self::Recovering => "recovering",
            Self::Fallback => "fallback",
        }
    }
}

/// Why the budget is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetReason {
    /// No budget: the law in force uses none, or nothing was measured yet.
    #[default]
    None,
    /// As configured.
    Configured,
    /// No loss was ever seen: the offered load doubles with each adopted command.
    SlowStart,
    /// Just under what the backend accepted while it lost spans.
    Cut,
    /// Resting just under the last known capacity.
    Holding,
    /// Rising slowly to or beyond the last known capacity.
    Probing,
    /// Loss does not fall when load does: cutting was stopped.
    LossNotLoad,
}

impl BudgetReason {
    /// The name in logs and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Configured => "configured",
            Self::SlowStart => "slow_start",
            Self::Cut => "cut",
            Self::Holding => "holding",
            Self::Probing => "probing",
            Self::LossNotLoad => "loss_not_load",
        }
    }
}

/// Everything one policy decided at one tick.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyDecision {
    /// The policy's name.
    pub policy: Name,
    /// When.
    pub decided_at: WallTime,
    /// What it was decided from.
    pub inputs: PolicyInputs,
    /// Sorted by service.
    pub services: Vec<ServiceDecision>,
    /// For a service that the policy's patterns match and its demand never named.
    pub stranger: Probability,
    /// Whether the policy decides on less than it should: the reason, `None` when all is well.
    pub degraded: Option<Reason>,
}

impl PolicyDecision {
    /// What a service is told that `rule` of `policy` is the first to match and that its demand never named. A pin
    /// holds before its service is first seen.
    pub fn told_to_stranger(&self, policy: &Policy, rule: &ServiceRule) -> Probability {
        let pin = rule.active_pin(self.decided_at).filter(|_| policy.mode == Mode::Active);
        pin.map_or(self.stranger, |pin| pin.probability)
    }
}

/// What one policy's tick saw.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PolicyInputs {
    /// Root demand of all its services, requests/s. `None` when absent.
    pub demand_per_second: Option<f64>,
    /// Spans/s (or traces/s) offered to the backend.
    pub received_per_second: Option<f64>,
    /// Lost share of what was received.
    pub loss_ratio: Option<f64>,
    /// What the roots share, spans/s. `None` where the law has none yet.
    pub budget_spans_per_second: Option<f64>,
    /// Why the budget is that.
    pub budget_reason: BudgetReason,
    /// Spans that one sampled root causes; `None` until known.
    pub spans_per_trace: Option<f64>,
    /// How old the newest demand is; `None` where the source cannot tell, or before the first.
    pub age: Option<Duration>,
}

/// One service's decision and those of its operations.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceDecision {
    /// The service.
    pub service: Name,
    /// For operations that are not listed.
    pub rate: Decided,
    /// Sum over its operations, requests/s. `None` when its demand is not known.
    pub demand_per_second: Option<f64>,
    /// Its part of the budget, spans/s; `None` where the law shares none.
    pub share_spans_per_second: Option<f64>,
    /// What its clients limit themselves by until the next decision; `None` where nothing measured stands behind it.
    pub local: Option<LocalShare>,
    /// Sorted by falling demand, at most 256.
    pub operations: Vec<OperationDecision>,
}

/// One operation's decision.
#[derive(Debug, Clone, PartialEq)]
pub struct OperationDecision {
    /// The operation.
    pub operation: Name,
    /// Its probability.
    pub rate: Decided,
    /// Requests/s. `None` when its demand is not known.
    pub demand_per_second: Option<f64>,
}

/// A probability and why.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decided {
    /// What the law wants.
    pub probability: Probability,
    /// What goes out: the same, except in a dry run.
    pub served: Probability,
    /// Why.
    pub reason: Reason,
}
