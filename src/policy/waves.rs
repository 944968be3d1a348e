//! The key `waves` of a fleet file.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::waves_raw::{RawGate, RawWaveQuery, RawWaves};
use crate::document::check::Check;
use crate::document::values::format_duration;
use crate::keepalive::policy::{IntervalBounds, WaveGates, WaveQuery, Waves};
use crate::keepalive::wave::gate::Gate;
use crate::keepalive::wave::metric::{Bad, METRICS_MAX, MetricSpec};
use crate::keepalive::wave::plan::WavePolicy;

const WAVES_MAX: usize = 10;
const HOLD_INTERVALS: RangeInclusive<u32> = 1..=1_000;
const MAX_HOLD: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(365 * 86_400);
/// Rounds of a wave in which nothing counts yet.
const SETTLE_ROUNDS: u32 = 2;
const NAME_MAX: usize = 64;
const QUERY_MAX: usize = 4_096;
const RATIO: RangeInclusive<f64> = 0.001..=1_000.0;

/// How longer intervals are released.
pub(super) fn waves(raw: RawWaves, interval: &IntervalBounds, check: &mut Check<'_>) -> Waves {
    let default = WavePolicy::default();
    let policy = WavePolicy {
        percent: raw.percent.map_or(default.percent, |percent| self::percent(&percent, check)),
        hold_intervals: check.count("waves.hold_intervals", raw.hold_intervals, default.hold_intervals, HOLD_INTERVALS),
        max_hold: check.duration("waves.max_hold", raw.max_hold, default.max_hold, MAX_HOLD),
    };
    hold(&policy, interval, check);
    let gates = raw.gates.map_or_else(WaveGates::default, |gates| self::gates(&gates, check));
    Waves { policy, gates, queries: queries("waves.queries", raw.queries.unwrap_or_default(), check) }
}

fn percent(percent: &[u32], check: &mut Check<'_>) -> Vec<u8> {
    let is_rising = percent.is_sorted_by(|a, b| a < b) && percent.first().is_some_and(|first| *first > 0);
    if !is_rising || percent.last() != Some(&100) || percent.len() > WAVES_MAX {
        check.fail(
            "waves.percent",
            format_args!("1 to {WAVES_MAX} shares from 1 to 100, each above the one before, the last 100"),
        );
    }
    percent.iter().filter_map(|part| u8::try_from(*part).ok()).collect()
}

/// A wave that cannot pass before its time is over would ask a person each time.
fn hold(policy: &WavePolicy, interval: &IntervalBounds, check: &mut Check<'_>) {
    let rounds = policy.hold_intervals.saturating_add(SETTLE_ROUNDS);
    let [least, most] = [interval.min, interval.max].map(|longest| longest.saturating_mul(rounds));
    if policy.max_hold <= least {
        let least = format_duration(least);
        check.fail(
            "waves.max_hold",
            format_args!("no wave could pass: {rounds} intervals of `interval.min` are {least}; make it longer"),
        );
    } else if policy.max_hold <= most {
        let most = format_duration(most);
        check.warn(
            "waves.max_hold",
            format_args!("a wave at `interval.max` needs more than {most}, and would ask a person each time"),
        );
    }
}

fn gates(raw: &[RawGate], check: &mut Check<'_>) -> WaveGates {
    let gates: Vec<Gate> = raw.iter().map(|gate| Gate::from(*gate)).collect();
    let is_twice = gates.iter().enumerate().any(|(i, gate)| gates[..i].contains(gate));
    if gates.is_empty() || is_twice {
        let known: Vec<&str> = Gate::ALL.iter().map(|gate| gate.as_str()).collect();
        check.fail("waves.gates", format_args!("at least one of {}, each once", known.join(", ")));
    }
    WaveGates(gates)
}

/// What the operator asks for, under this key of the file.
pub(super) fn queries(key: &str, raw: Vec<RawWaveQuery>, check: &mut Check<'_>) -> Vec<WaveQuery> {
    if raw.len() > METRICS_MAX {
        check.fail(key, format_args!("at most {METRICS_MAX} queries"));
        return Vec::new();
    }
    let names: Vec<Option<String>> = raw.iter().map(|query| query.name.clone()).collect();
    let each = raw.into_iter().enumerate();
    each.filter_map(|(i, raw)| {
        let key = format!("{key}[{i}]");
        if raw.name.is_some() && names[..i].contains(&raw.name) {
            check.fail(&format!("{key}.name"), "this name is there twice");
        }
        query(&key, raw, check)
    })
    .collect()
}

fn query(key: &str, raw: RawWaveQuery, check: &mut Check<'_>) -> Option<WaveQuery> {
    let name = name(key, raw.name.as_deref(), check);
    let limits = [("max", raw.max), ("min", raw.min), ("max_ratio", raw.max_ratio), ("min_ratio", raw.min_ratio)];
    let written: Vec<(&str, f64)> = limits.into_iter().filter_map(|(limit, value)| Some((limit, value?))).collect();
    let [(limit, value)] = written[..] else {
        check.fail(key, "needs exactly one of max, min (of `query`), max_ratio, min_ratio (of `treated` to `control`)");
        return None;
    };
    let is_compared = limit.ends_with("_ratio");
    let at = format!("{key}.{limit}");
    let value = if is_compared { check.number(&at, Some(value), 1.0, RATIO) } else { finite(&at, value, check) };
    let bad = match limit {
        "max" => Bad::Above(value),
        "min" => Bad::Below(value),
        "max_ratio" => Bad::AboveControl(value),
        _ => Bad::BelowControl(value),
    };
    let (treated, control) = match (is_compared, raw.query, raw.treated, raw.control) {
        (false, Some(query), None, None) => (query, None),
        (true, None, Some(treated), Some(control)) => (treated, Some(control)),
        (false, ..) => {
            check.fail(key, "a limit (max, min) is one of a `query`, without `treated` and `control`");
            return None;
        }
        (true, ..) => {
            check.fail(key, "a ratio (max_ratio, min_ratio) needs `treated` and `control`, without `query`");
            return None;
        }
    };
    for text in [Some(&treated), control.as_ref()].into_iter().flatten() {
        if text.trim().is_empty() || text.len() > QUERY_MAX {
            check.fail(key, format_args!("a query has 1 to {QUERY_MAX} bytes"));
        }
    }
    let spec = MetricSpec { name: name?, bad };
    Some(WaveQuery { spec, treated: treated.into(), control: control.map(Into::into) })
}

fn name(key: &str, name: Option<&str>, check: &mut Check<'_>) -> Option<Arc<str>> {
    let at = format!("{key}.name");
    let Some(name) = name else {
        check.fail(key, "needs a `name`, which reports and the audit call it by");
        return None;
    };
    let is_gate = Gate::ALL.iter().any(|gate| gate.as_str() == name);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(is_plain) || is_gate {
        check.fail(&at, format_args!("1 to {NAME_MAX} characters of A-Z a-z 0-9 _ . -, and not the name of a gate"));
    }
    Some(name.into())
}

fn finite(key: &str, value: f64, check: &mut Check<'_>) -> f64 {
    if !value.is_finite() {
        check.fail(key, "needs a number");
    }
    value
}

impl From<RawGate> for Gate {
    fn from(raw: RawGate) -> Self {
        match raw {
            RawGate::OnlineStatusConsistencyRate => Self::Consistency,
            RawGate::P99HeartbeatGapMs => Self::Gap,
            RawGate::Coverage => Self::Coverage,
        }
    }
}
