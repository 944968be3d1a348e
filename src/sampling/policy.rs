//! A sampling policy as the core uses it: validated, complete, every default filled in. The file's own shape and its
//! errors live in the room `policy`.

use std::sync::Arc;
use std::time::Duration;

use super::pattern::Pattern;
use super::probability::Probability;
use super::traffic::Name;
use crate::time::WallTime;

/// One tracing pipeline: its budget, its law, its services.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Unique among the loaded policies; 1 to 64 characters of `[A-Za-z0-9_.-]`.
    pub name: Name,
    /// Which law decides.
    pub law: Law,
    /// Whether decisions are served.
    pub mode: Mode,
    /// Bounds and starting points of every probability.
    pub probability: Bounds,
    /// Input older than this is no ground to stand on: from here `min(held, fallback)` is served.
    pub max_age: Duration,
    /// Share of received spans that may be lost before the budget is cut; in (0, 1).
    pub loss_target: f64,
    /// What the services share.
    pub budget: Budget,
    /// Spans that one sampled root causes; `None` = measured.
    pub spans_per_trace: Option<f64>,
    /// First match wins. Never empty: without `services` in the file, one rule for everything.
    pub services: Vec<ServiceRule>,
    /// Whether `services` stood in the file. Only then are the patterns a claim that other policies must respect.
    pub claims_services: bool,
}

/// How a policy's decisions take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Decide, explain, serve.
    Active,
    /// Decide and explain; serve what was served before.
    DryRun,
}

/// Which law decides, with its constants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Law {
    /// Budget over demand, shared fairly; loss measures the capacity.
    Adaptive(AdaptiveConstants),
    /// The paper's law: the baseline.
    Threshold(ThresholdConstants),
    /// `probability.initial` for all.
    Fixed,
}

/// Constants of the adaptive law.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdaptiveConstants {
    /// Share of a measured capacity that the budget stays below it; in [0, 0.5].
    pub headroom: f64,
    /// Smallest relative rise of a probability that is worth a command; in [0, 1]. Falls are never held back.
    pub dead_band: f64,
}

impl Default for AdaptiveConstants {
    fn default() -> Self {
        Self { headroom: 0.03, dead_band: 0.08 }
    }
}

/// Constants of the threshold law.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ThresholdConstants {
    /// Loss ratio above which everything is cut.
    pub loss: f64,
    /// How hard: the factor is `1 - gain * loss`.
    pub gain: f64,
    /// Requests/s of a service above which it is cut by `demand_per_second / demand`.
    pub demand_per_second: f64,
    /// Lowest value of either factor.
    pub floor: f64,
}

impl Default for ThresholdConstants {
    fn default() -> Self {
        Self { loss: 0.01, gain: 50.0, demand_per_second: 500.0, floor: 0.1 }
    }
}

/// Bounds and starting points of a probability: `min <= initial <= max`, `min <= fallback <= max`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// No decision is lower, except an operation's fixed one or a pin.
    pub min: Probability,
    /// No decision is higher, except an operation's fixed one or a pin.
    pub max: Probability,
    /// Served until the first decision.
    pub initial: Probability,
    /// Served at most, once input is older than `max_age`.
    pub fallback: Probability,
}

/// Spans/s that the roots share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// A fixed budget; `None` = learn the backend's capacity from loss.
    pub spans_per_second: Option<f64>,
    /// The budget never goes lower.
    pub min: f64,
    /// The budget never goes higher.
    pub max: f64,
}

/// What applies to the services whose name matches.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceRule {
    /// Which services.
    pub pattern: Pattern,
    /// Share of the budget relative to other roots; above 0.
    pub weight: f64,
    /// Whether traces begin here. Others get an answer and no share.
    pub is_root: bool,
    /// Traces/s that the service keeps, however small its share, while its demand allows.
    pub floor_traces_per_second: f64,
    /// A probability set by a person, until a date.
    pub pin: Option<Pin>,
    /// First match wins.
    pub operations: Vec<OperationRule>,
}

/// A probability set by a person.
#[derive(Debug, Clone, PartialEq)]
pub struct Pin {
    /// Served as it is, outside the policy's bounds too.
    pub probability: Probability,
    /// The pin ends here; `None` = stays until it is removed.
    pub until: Option<WallTime>,
    /// Why, in the words of who set it.
    pub reason: Arc<str>,
}

impl Pin {
    /// Whether the pin holds at `now`.
    pub fn is_active(&self, now: WallTime) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// What applies to the operations whose name matches.
#[derive(Debug, Clone, PartialEq)]
pub struct OperationRule {
    /// Which operations.
    pub pattern: Pattern,
    /// A fixed probability, outside the policy's bounds too; `None` = the law decides.
    pub probability: Option<Probability>,
    /// Share of the service's budget relative to its other operations; above 0.
    pub weight: f64,
}

impl Policy {
    /// A policy with every default, that governs all services that its demand names.
    pub fn with_defaults(name: &str) -> Self {
        Self {
            name: name.into(),
            law: Law::Adaptive(AdaptiveConstants::default()),
            mode: Mode::Active,
            probability: Bounds::default(),
            max_age: Duration::from_secs(300),
            loss_target: 0.01,
            budget: Budget::default(),
            spans_per_trace: None,
            services: vec![ServiceRule::for_pattern(Pattern::everything())],
            claims_services: false,
        }
    }

    /// The first rule whose pattern matches `service`.
    pub fn rule_for(&self, service: &str) -> Option<&ServiceRule> {
        self.services.iter().find(|rule| rule.pattern.matches(service))
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            min: Probability::saturating(0.001),
            max: Probability::ONE,
            initial: Probability::saturating(0.1),
            fallback: Probability::saturating(0.01),
        }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self { spans_per_second: None, min: 50.0, max: 1_000_000.0 }
    }
}

impl ServiceRule {
    /// A root of weight 1 without floor, pin or operations of its own.
    pub fn for_pattern(pattern: Pattern) -> Self {
        Self { pattern, weight: 1.0, is_root: true, floor_traces_per_second: 0.0, pin: None, operations: Vec::new() }
    }

    /// The pin that holds at `now`.
    pub fn active_pin(&self, now: WallTime) -> Option<&Pin> {
        self.pin.as_ref().filter(|pin| pin.is_active(now))
    }

    /// The first operation rule whose pattern matches `operation`.
    pub fn operation_rule(&self, operation: &str) -> Option<&OperationRule> {
        self.operations.iter().find(|rule| rule.pattern.matches(operation))
    }
}
