//! The raw shape of one policy to the one that core and source use: every default filled in, every relation checked.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::raw::{RawAdaptive, RawBounds, RawBudget, RawLaw, RawMode, RawPolicy, RawThreshold};
use super::{LoadedPolicy, SourceKinds, services, signals};
use crate::document::check::Check;
use crate::document::values::AutoOr;
use crate::sampling::pattern::Pattern;
use crate::sampling::policy::{AdaptiveConstants, Bounds, Budget, Law, Mode, Policy, ServiceRule, ThresholdConstants};
use crate::sampling::probability::Probability;
use crate::sampling::traffic::Name;
use crate::source::Unit;
use crate::time::WallTime;

const MAX_AGE_MIN: Duration = Duration::from_secs(1);
const MAX_AGE_MAX: Duration = Duration::from_secs(7 * 86_400);
const LOSS_TARGET: RangeInclusive<f64> = 0.0001..=0.5;
const BUDGET: RangeInclusive<f64> = 0.001..=1e12;
const SPANS_PER_TRACE: RangeInclusive<f64> = 1.0..=100_000.0;
const NAME_MAX: usize = 64;

/// The validated policy; `None` only where `check` holds an error.
pub(super) fn validate(
    mut raw: RawPolicy,
    sources: SourceKinds,
    now: WallTime,
    check: &mut Check<'_>,
) -> Option<LoadedPolicy> {
    let name = name("policy", raw.policy.take(), check);
    check.require("signals", "needs demand, received and dropped");
    let signals = raw.signals.take().and_then(|raw| signals::signals(raw, sources, check));
    let unit = signals.as_ref().map(|signals| signals.unit);
    let sampling = sampling(name.unwrap_or_default(), raw, unit, now, check);
    if sampling.name.is_empty() {
        return None;
    }
    Some(LoadedPolicy { sampling: Arc::new(sampling), signals: Arc::new(signals?) })
}

/// What the core is given: all but the signals, which a policy without a source does not have. Wherever `check` holds
/// an error, a default.
pub(crate) fn sampling(name: Name, raw: RawPolicy, unit: Option<Unit>, now: WallTime, check: &mut Check<'_>) -> Policy {
    let defaults = Policy::with_defaults("");
    let law = law(raw.law.unwrap_or(RawLaw::Adaptive), raw.adaptive, raw.threshold, check);
    let mode = match raw.mode {
        None | Some(RawMode::Active) => Mode::Active,
        Some(RawMode::DryRun) => Mode::DryRun,
    };
    let probability = bounds(&raw.probability.unwrap_or_default(), check);
    let max_age = check.duration("max_age", raw.max_age, defaults.max_age, MAX_AGE_MIN..=MAX_AGE_MAX);
    let loss_target = check.number("loss_target", raw.loss_target, defaults.loss_target, LOSS_TARGET);
    let budget = budget(&raw.budget.unwrap_or_default(), check);
    let spans_per_trace = spans_per_trace(raw.spans_per_trace, unit, check);
    let claims_services = raw.services.is_some();
    let services = match raw.services {
        None => vec![ServiceRule::for_pattern(Pattern::everything())],
        Some(rules) => services::services(rules, now, check),
    };
    warn_of_floors(&services, &budget, spans_per_trace, check);
    Policy { name, law, mode, probability, max_age, loss_target, budget, spans_per_trace, services, claims_services }
}

/// The name that a file gives what it holds, under `key`.
pub(super) fn name(key: &str, written: Option<String>, check: &mut Check<'_>) -> Option<Arc<str>> {
    check.require(key, format_args!("needs the {key}'s name"));
    let name = written?;
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(is_allowed) {
        check.fail(key, format_args!("allowed are 1 to {NAME_MAX} characters of A-Z a-z 0-9 _ . -"));
        return None;
    }
    Some(name.into())
}

fn law(law: RawLaw, adaptive: Option<RawAdaptive>, threshold: Option<RawThreshold>, check: &mut Check<'_>) -> Law {
    for (key, of) in [("adaptive", RawLaw::Adaptive), ("threshold", RawLaw::Threshold)] {
        if law != of && check.is_written(key) {
            check.warn(key, format_args!("has no effect: the law in force is another; `law: {key}` would use it"));
        }
    }
    // Constants of the other law are checked as well: a change of `law` must not be the moment when they fail.
    let adaptive = adaptive_constants(&adaptive.unwrap_or_default(), check);
    let threshold = threshold_constants(&threshold.unwrap_or_default(), check);
    match law {
        RawLaw::Adaptive => Law::Adaptive(adaptive),
        RawLaw::Threshold => Law::Threshold(threshold),
        RawLaw::Fixed => Law::Fixed,
    }
}

fn adaptive_constants(raw: &RawAdaptive, check: &mut Check<'_>) -> AdaptiveConstants {
    let default = AdaptiveConstants::default();
    AdaptiveConstants {
        headroom: check.number("adaptive.headroom", raw.headroom, default.headroom, 0.0..=0.5),
        dead_band: check.number("adaptive.dead_band", raw.dead_band, default.dead_band, 0.0..=1.0),
    }
}

fn threshold_constants(raw: &RawThreshold, check: &mut Check<'_>) -> ThresholdConstants {
    let default = ThresholdConstants::default();
    let demand = ("threshold.demand_per_second", raw.demand_per_second);
    ThresholdConstants {
        loss: check.number("threshold.loss", raw.loss, default.loss, 0.0..=1.0),
        gain: check.number("threshold.gain", raw.gain, default.gain, 0.0..=1000.0),
        demand_per_second: check.number(demand.0, demand.1, default.demand_per_second, BUDGET),
        floor: check.number("threshold.floor", raw.floor, default.floor, 0.0..=1.0),
    }
}

/// `min <= initial <= max` and `min <= fallback <= max`; a default gives way to what is written.
fn bounds(raw: &RawBounds, check: &mut Check<'_>) -> Bounds {
    let default = Bounds::default();
    let mut number = |name: &str, value: Option<f64>, default: Probability| {
        check.number(&format!("probability.{name}"), value, default.get(), 0.0..=1.0)
    };
    let max = number("max", raw.max, default.max);
    let min = number("min", raw.min, default.min);
    let min = if raw.min.is_none() { min.min(max) } else { min };
    let initial = number("initial", raw.initial, default.initial);
    let fallback = number("fallback", raw.fallback, default.fallback);
    if min > max {
        check.fail("probability.min", format_args!("above probability.max ({max})"));
        return default;
    }
    for (name, written, value) in [("initial", raw.initial, initial), ("fallback", raw.fallback, fallback)] {
        if written.is_some() && !(min..=max).contains(&value) {
            check.fail(&format!("probability.{name}"), format_args!("outside [min, max] = [{min}, {max}]"));
        }
    }
    let within = |value: f64| Probability::saturating(value.clamp(min, max));
    Bounds {
        min: Probability::saturating(min),
        max: Probability::saturating(max),
        initial: within(initial),
        fallback: within(fallback),
    }
}

/// `min <= spans_per_second <= max`; a default gives way to what is written.
fn budget(raw: &RawBudget, check: &mut Check<'_>) -> Budget {
    const KEY: &str = "budget.spans_per_second";
    let default = Budget::default();
    let fixed = raw.spans_per_second.and_then(AutoOr::number);
    let fixed = fixed.map(|value| check.number(KEY, Some(value), default.max, BUDGET));
    let (mut min, mut max) = (default.min, default.max);
    if let Some(value) = raw.max {
        max = check.number("budget.max", Some(value), default.max, BUDGET);
        min = min.min(max);
    }
    if let Some(value) = raw.min {
        min = check.number("budget.min", Some(value), default.min, BUDGET);
        max = if raw.max.is_none() { max.max(min) } else { max };
    }
    if min > max {
        check.fail("budget.min", format_args!("above budget.max ({max})"));
    }
    if let Some(fixed) = fixed {
        min = if raw.min.is_none() { min.min(fixed) } else { min };
        max = if raw.max.is_none() { max.max(fixed) } else { max };
        if !(min..=max).contains(&fixed) && min <= max {
            check.fail(KEY, format_args!("outside [min, max] = [{min}, {max}]"));
        }
    }
    Budget { spans_per_second: fixed, min, max }
}

fn spans_per_trace(written: Option<AutoOr>, unit: Option<Unit>, check: &mut Check<'_>) -> Option<f64> {
    const KEY: &str = "spans_per_trace";
    match written.and_then(AutoOr::number) {
        Some(number) => Some(check.number(KEY, Some(number), 1.0, SPANS_PER_TRACE)),
        None if unit == Some(Unit::Traces) => {
            check.warn(KEY, "cannot be measured from traces: 1 is used, and the budget counts traces; set a number");
            Some(1.0)
        }
        None => None,
    }
}

/// Floors are kept even where they exceed the budget, so that is said beforehand. One service a rule is the least.
fn warn_of_floors(rules: &[ServiceRule], budget: &Budget, spans_per_trace: Option<f64>, check: &mut Check<'_>) {
    let traces: f64 = rules.iter().filter(|rule| rule.is_root).map(|rule| rule.floor_traces_per_second).sum();
    let spans = traces * spans_per_trace.unwrap_or(1.0);
    let (limit, key) = match budget.spans_per_second {
        Some(fixed) => (fixed, "budget.spans_per_second"),
        None => (budget.max, "budget.max"),
    };
    if spans > limit {
        check.warn("services", format_args!("the floors alone need {spans} spans/s, more than {key} ({limit})"));
    }
}
