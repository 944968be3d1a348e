//! The keys under `services`: which names a policy governs, and the rules for each.

use super::raw::{RawOperation, RawPin, RawService};
use crate::document::check::Check;
use crate::sampling::pattern::Pattern;
use crate::sampling::policy::{OperationRule, Pin, ServiceRule};
use crate::sampling::probability::Probability;
use crate::time::WallTime;

/// Most rules in one list; matching a name walks through them.
const RULES_MAX: usize = 1000;
const WEIGHT_MIN: f64 = 1e-6;
const WEIGHT_MAX: f64 = 1e6;
const FLOOR_MAX: f64 = 1e9;
/// Longest reason of a pin, in characters.
const REASON_MAX: usize = 256;

/// The rules in the file's order.
pub(super) fn services(raw: Vec<RawService>, now: WallTime, check: &mut Check<'_>) -> Vec<ServiceRule> {
    if raw.is_empty() {
        check.fail("services", "an empty list governs nothing; leave `services` out to govern all that demand names");
    }
    if raw.len() > RULES_MAX {
        check.fail("services", format_args!("at most {RULES_MAX} rules"));
        return Vec::new();
    }
    let mut rules: Vec<ServiceRule> = Vec::with_capacity(raw.len());
    let mut keys = Vec::with_capacity(raw.len());
    for (i, raw) in raw.into_iter().enumerate() {
        let key = format!("services[{i}]");
        if let Some(rule) = service(&key, raw, now, check) {
            warn_if_shadowed(&key, &rule.pattern, keys.iter().zip(rules.iter().map(|rule| &rule.pattern)), check);
            rules.push(rule);
            keys.push(key);
        }
    }
    rules
}

fn service(key: &str, raw: RawService, now: WallTime, check: &mut Check<'_>) -> Option<ServiceRule> {
    let pattern = pattern(key, raw.pattern, check);
    let weight = check.number(&format!("{key}.weight"), raw.weight, 1.0, WEIGHT_MIN..=WEIGHT_MAX);
    let floor = format!("{key}.floor_traces_per_second");
    let floor_traces_per_second = check.number(&floor, raw.floor_traces_per_second, 0.0, 0.0..=FLOOR_MAX);
    let is_root = raw.root.unwrap_or(true);
    if !is_root {
        for ignored in ["weight", "floor_traces_per_second"] {
            let ignored = format!("{key}.{ignored}");
            if check.is_written(&ignored) {
                check.warn(&ignored, "has no effect with `root: false`: only roots share the budget");
            }
        }
    }
    let pin = raw.pin.and_then(|raw| pin(&format!("{key}.pin"), raw, now, check));
    let operations = operations(key, raw.operations.unwrap_or_default(), check);
    Some(ServiceRule { pattern: pattern?, weight, is_root, floor_traces_per_second, pin, operations })
}

fn operations(service: &str, raw: Vec<RawOperation>, check: &mut Check<'_>) -> Vec<OperationRule> {
    if raw.len() > RULES_MAX {
        check.fail(&format!("{service}.operations"), format_args!("at most {RULES_MAX} rules"));
        return Vec::new();
    }
    let mut rules: Vec<OperationRule> = Vec::with_capacity(raw.len());
    let mut keys = Vec::with_capacity(raw.len());
    for (i, raw) in raw.into_iter().enumerate() {
        let key = format!("{service}.operations[{i}]");
        if let Some(rule) = operation(&key, raw, check) {
            warn_if_shadowed(&key, &rule.pattern, keys.iter().zip(rules.iter().map(|rule| &rule.pattern)), check);
            rules.push(rule);
            keys.push(key);
        }
    }
    rules
}

fn operation(key: &str, raw: RawOperation, check: &mut Check<'_>) -> Option<OperationRule> {
    let pattern = pattern(key, raw.pattern, check);
    let probability = raw.probability.map(|value| {
        let value = check.number(&format!("{key}.probability"), Some(value), 0.0, 0.0..=1.0);
        Probability::saturating(value)
    });
    let weight_key = format!("{key}.weight");
    let weight = check.number(&weight_key, raw.weight, 1.0, WEIGHT_MIN..=WEIGHT_MAX);
    if probability.is_some() && check.is_written(&weight_key) {
        check.warn(&weight_key, "has no effect beside a fixed probability");
    }
    Some(OperationRule { pattern: pattern?, probability, weight })
}

fn pattern(key: &str, written: Option<String>, check: &mut Check<'_>) -> Option<Pattern> {
    let key = format!("{key}.match");
    check.require(&key, "needs a name or a glob such as \"checkout*\"");
    let pattern = Pattern::new(&written?);
    if pattern.is_none() {
        check.fail(&key, format_args!("allowed are 1 to {} bytes", Pattern::LENGTH_MAX));
    }
    pattern
}

fn pin(key: &str, raw: RawPin, now: WallTime, check: &mut Check<'_>) -> Option<Pin> {
    let (probability, until, reason) = (format!("{key}.probability"), format!("{key}.until"), format!("{key}.reason"));
    check.require(&probability, "needs the probability to serve, 0 to 1");
    check.require(&reason, "needs a reason: whoever finds the pin will ask");
    let value = check.number(&probability, raw.probability, 0.0, 0.0..=1.0);
    let end = raw.until.and_then(|text| date(&until, &text, now, check));
    let why = raw.reason?;
    if why.trim().is_empty() || why.chars().count() > REASON_MAX {
        check.fail(&reason, format_args!("allowed are 1 to {REASON_MAX} characters"));
    }
    Some(Pin { probability: Probability::saturating(value), until: end, reason: why.into() })
}

/// When something ends; a date that has passed is a warning.
pub(super) fn date(key: &str, text: &str, now: WallTime, check: &mut Check<'_>) -> Option<WallTime> {
    let Ok(date) = text.parse::<jiff::Timestamp>() else {
        check.fail(key, "expected a date of RFC 3339 with its zone, such as 2026-12-01T00:00:00Z");
        return None;
    };
    let until = WallTime::from_unix_ms(date.as_millisecond());
    if until <= now {
        check.warn(key, "this pin has expired and has no effect");
    }
    Some(until)
}

/// A rule behind one that matches all its names never acts. Seen where the earlier one is the same text or a lone `*`.
fn warn_if_shadowed<'a>(
    key: &str,
    pattern: &Pattern,
    mut earlier: impl Iterator<Item = (&'a String, &'a Pattern)>,
    check: &mut Check<'_>,
) {
    let text = pattern.to_string();
    let is_plain = !text.contains(['*', '?']);
    let covers = |other: &Pattern| *other == *pattern || other.to_string() == "*" || is_plain && other.matches(&text);
    if let Some((first, other)) = earlier.find(|(_, other)| covers(other)) {
        check.warn(
            &format!("{key}.match"),
            format_args!("never matches: {first} (\"{other}\") has all its names already"),
        );
    }
}
