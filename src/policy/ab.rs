//! The key `ab_tests` of a fleet file: two plans beside each other.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::waves;
use super::waves_raw::RawWaveQuery;
use crate::document::check::Check;
use crate::document::values::{DurationText, format_duration};
use crate::keepalive::interval;
use crate::keepalive::policy::{AbPlans, IntervalBounds, WaveGates};
use crate::keepalive::wave::ab::{BASELINE_ROUNDS, Plan};

const TESTS_MAX: usize = 8;
const GROUPS_MAX: usize = 64;
/// Longest name, in bytes; it is part of ids and of file names.
const NAME_MAX: usize = 64;
const HOLD_INTERVALS: RangeInclusive<u32> = 1..=10_000;
const HOLD_INTERVALS_DEFAULT: u32 = 3;
const MAX_HOLD: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(365 * 86_400);
const MAX_HOLD_DEFAULT: Duration = Duration::from_secs(24 * 3_600);
/// Rounds of a wave in which nothing counts yet.
const SETTLE_ROUNDS: u32 = 2;

/// Two plans beside each other, each over its own groups of cohorts. First both have A's interval, for ten rounds or
/// `hold_intervals`; then B's groups have B's, and the two are compared as two arms of a rollout are. A plan that is worse
/// ends the test; where neither is, a person promotes B's or aborts. While it lasts the plans take the place of what was
/// learnt, as pins do; a cohort that is pinned is in no test.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawAbTest {
    /// The test's name, unique in the file: 1 to 64 characters of `A-Z a-z 0-9 _ . -`. Another name is another test. Required.
    pub name: Option<String>,
    /// The label whose values are the groups: one of `cohort_by`. Required.
    pub by: Option<String>,
    /// The plan that B is compared with. Required.
    pub a: Option<RawPlan>,
    /// The other plan. Required.
    pub b: Option<RawPlan>,
    /// Each of the two waves is held for so many of the longer interval at least, 1 to 10000. Default 3.
    pub hold_intervals: Option<u32>,
    /// And so long at most, 1s to 365d: then a person is asked. Default 24h.
    pub max_hold: Option<DurationText>,
    /// What the policies' Prometheus is asked in each round, at most 16, as in `waves`: `treated` of B's groups, `control` of
    /// A's, or one `query` with a limit. Beyond a limit the test ends, whichever plan it is.
    pub queries: Option<Vec<RawWaveQuery>>,
}

/// One of the two plans.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawPlan {
    /// Values of the label `by`, 1 to 64: those cohorts have this plan. Required.
    pub groups: Option<Vec<String>>,
    /// Their interval, without jitter, within `interval.min` and what `interval.max` leaves for jitter. Required.
    pub interval: Option<DurationText>,
}

pub(super) fn tests(
    raw: Vec<RawAbTest>,
    by: &[Arc<str>],
    bounds: &IntervalBounds,
    check: &mut Check<'_>,
) -> Vec<AbPlans> {
    if raw.len() > TESTS_MAX {
        check.fail("ab_tests", format_args!("at most {TESTS_MAX} tests"));
        return Vec::new();
    }
    let each = raw.into_iter().enumerate();
    let tests: Vec<AbPlans> =
        each.filter_map(|(i, raw)| test(&format!("ab_tests[{i}]"), raw, by, bounds, check)).collect();
    for (i, one) in tests.iter().enumerate() {
        if tests[..i].iter().any(|other| other.name == one.name) {
            check.fail(&format!("ab_tests[{i}].name"), "another test of this file has this name");
        }
    }
    tests
}

fn test(key: &str, raw: RawAbTest, by: &[Arc<str>], bounds: &IntervalBounds, check: &mut Check<'_>) -> Option<AbPlans> {
    let at = |name: &str| format!("{key}.{name}");
    check.require(&at("name"), "needs a name, such as winter");
    check.require(&at("by"), "needs the label whose values are the groups, such as region");
    check.require(&at("a"), "needs a plan, such as {groups: [north], interval: 60s}");
    check.require(&at("b"), "needs a plan, such as {groups: [south], interval: 90s}");
    let (label, name) = (raw.by?, raw.name?);
    let is_usable = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(is_usable) {
        check.fail(&at("name"), format_args!("allowed are 1 to {NAME_MAX} characters of A-Z a-z 0-9 _ . -"));
    }
    if !by.iter().any(|known| **known == *label) {
        let known: Vec<&str> = by.iter().map(AsRef::as_ref).collect();
        check.fail(&at("by"), format_args!("no label of `cohort_by` ({})", known.join(", ")));
    }
    let (a, b) = (raw.a?, raw.b?);
    let plans = [plan(&at("a"), a, bounds, check)?, plan(&at("b"), b, bounds, check)?];
    refuse_alike(key, &plans, check);
    let hold_intervals = check.count(&at("hold_intervals"), raw.hold_intervals, HOLD_INTERVALS_DEFAULT, HOLD_INTERVALS);
    let max_hold = check.duration(&at("max_hold"), raw.max_hold, MAX_HOLD_DEFAULT, MAX_HOLD);
    let longest = plans.iter().map(|plan| interval::longest(bounds, plan.interval)).max().unwrap_or_default();
    let least = longest.saturating_mul(hold_intervals.max(BASELINE_ROUNDS) + SETTLE_ROUNDS);
    if max_hold <= least {
        let least = format_duration(least);
        check.fail(&at("max_hold"), format_args!("the first wave alone takes {least}: it would never be decided"));
    }
    let queries = waves::queries(&at("queries"), raw.queries.unwrap_or_default(), check);
    let gates = WaveGates::default();
    Some(AbPlans { name: name.into(), by: label.into(), plans, hold_intervals, max_hold, gates, queries })
}

fn plan(key: &str, raw: RawPlan, bounds: &IntervalBounds, check: &mut Check<'_>) -> Option<Plan> {
    let [groups, written] = ["groups", "interval"].map(|name| format!("{key}.{name}"));
    check.require(&groups, "needs values of the label, such as [north]");
    check.require(&written, "needs an interval, such as 60s");
    let (least, most) = (interval::floor(bounds), interval::ceiling(bounds));
    let interval = check.duration(&written, Some(raw.interval?), least, least..=most.max(least));
    let names = raw.groups?;
    if names.is_empty() || names.len() > GROUPS_MAX {
        check.fail(&groups, format_args!("allowed are 1 to {GROUPS_MAX} groups"));
    }
    Some(Plan { groups: names.into_iter().map(Into::into).collect(), interval })
}

fn refuse_alike(key: &str, [a, b]: &[Plan; 2], check: &mut Check<'_>) {
    if a.interval == b.interval {
        check.fail(&format!("{key}.b.interval"), "the same as of a: there is nothing to compare");
    }
    if let Some(both) = b.groups.iter().find(|group| a.groups.contains(group)) {
        check.fail(&format!("{key}.b.groups"), format_args!("{both:?} is of a, too"));
    }
}
