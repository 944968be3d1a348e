//! The rule: a device whose longest wait is above the lifetime's lower bound would lose its binding.
//!
//! | what is known | the device offends | it is warned of |
//! |---|---|---|
//! | pinned, learnt, hostile | longest wait > lower bound | what Flyball itself would not order: `interval > safety x lower bound`, or with its jitter more than `safety x (1 + jitter) x lower bound` |
//! | learning | longest wait > upper bound | longest wait > lower bound: not proven yet |
//! | nothing | never, unless asked for | always |
//!
//! Beyond that, an interval outside the fleet's own `min` and `max` is warned of.

use std::time::Duration;

use super::known::{Certainty, Knowledge, Known};
use super::rows::{Group, Row, Rows};
use crate::keepalive::policy::IntervalBounds;

/// What a device's interval comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Finding {
    /// It would lose its binding.
    Loses,
    /// It would, if the lifetime turns out to be what has not been excluded yet.
    Unproven,
    /// It would not, with less room than the fleet wants.
    Tight,
    /// Outside the fleet's bounds.
    OutOfBounds,
    /// Nothing is known of its NAT.
    Unknown,
    /// Fine.
    Fine,
}

/// A group of devices, and what its devices have to live with.
#[derive(Debug)]
pub(super) struct Judgement<'a> {
    pub(super) group: &'a Group,
    pub(super) known: Option<&'a Known>,
    pub(super) bounds: IntervalBounds,
    /// Whether the bounds are a fleet file's.
    pub(super) is_bounded: bool,
    pub(super) devices: usize,
    pub(super) loses: usize,
    pub(super) warned: usize,
    /// Longest wait of any of them.
    pub(super) longest: Duration,
}

/// All devices.
#[derive(Debug)]
pub(super) struct Judged<'a> {
    /// By group.
    pub(super) groups: Vec<Judgement<'a>>,
    /// By row.
    pub(super) findings: Vec<Finding>,
    pub(super) loses: usize,
    pub(super) warned: usize,
    pub(super) unknown: usize,
}

/// Judges every row.
pub(super) fn judge<'a>(rows: &'a Rows, knowledge: &'a Knowledge) -> Judged<'a> {
    let mut groups: Vec<Judgement<'_>> = rows.groups.iter().map(|group| Judgement::of(group, knowledge)).collect();
    let mut findings = Vec::with_capacity(rows.rows.len());
    for row in &rows.rows {
        let group = &mut groups[row.group];
        let finding = group.finding(row);
        group.count(row, finding);
        findings.push(finding);
    }
    let count = |wanted: Finding| findings.iter().filter(|finding| **finding == wanted).count();
    let (loses, unknown) = (count(Finding::Loses), count(Finding::Unknown));
    let warned = findings.len() - loses - unknown - count(Finding::Fine);
    Judged { groups, findings, loses, warned, unknown }
}

impl Finding {
    /// The name in JSON.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Loses => "loses",
            Self::Unproven => "unproven",
            Self::Tight => "tight",
            Self::OutOfBounds => "out_of_bounds",
            Self::Unknown => "unknown",
            Self::Fine => "fine",
        }
    }
}

impl<'a> Judgement<'a> {
    fn of(group: &'a Group, knowledge: &'a Knowledge) -> Self {
        let bounds = knowledge.bounds(group);
        Self {
            group,
            known: knowledge.of(group),
            bounds: bounds.unwrap_or_default(),
            is_bounded: bounds.is_some(),
            devices: 0,
            loses: 0,
            warned: 0,
            longest: Duration::ZERO,
        }
    }

    /// The longest interval that leaves the room that the fleet wants; a hostile NAT may ask for less than its floor.
    pub(super) fn advice(&self) -> Option<Duration> {
        let known = self.known?;
        let tenths = (known.lower.as_secs_f64() * self.bounds.safety * 10.0 + 1e-6).floor() as u64;
        Some(Duration::from_millis(tenths * 100).min(self.bounds.max))
    }

    fn finding(&self, row: &Row) -> Finding {
        let is_outside = row.interval < self.bounds.min || row.longest > self.bounds.max;
        let Some(known) = self.known else { return Finding::Unknown };
        if row.longest > known.limit() {
            return Finding::Loses;
        }
        if known.certainty == Certainty::Learning && row.longest > known.lower {
            return Finding::Unproven;
        }
        let room = self.bounds.safety * (1.0 + self.bounds.jitter);
        if row.interval > known.lower.mul_f64(self.bounds.safety) || row.longest > known.lower.mul_f64(room) {
            return Finding::Tight;
        }
        if self.is_bounded && is_outside { Finding::OutOfBounds } else { Finding::Fine }
    }

    fn count(&mut self, row: &Row, finding: Finding) {
        self.devices += 1;
        self.longest = self.longest.max(row.longest);
        match finding {
            Finding::Loses => self.loses += 1,
            Finding::Fine | Finding::Unknown => {}
            _ => self.warned += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::known::tests::{group, knowledge, known};
    use super::*;

    const A: &[(&str, &str)] = &[("carrier", "a")];

    fn finding(certainty: Certainty, bounds: [u64; 2], [interval, longest]: [f64; 2]) -> Finding {
        let knowledge = knowledge(vec![known(A, certainty, bounds)]);
        let [interval, longest] = [interval, longest].map(Duration::from_secs_f64);
        let row = Row { device: "g".to_owned(), line: 2, interval, longest, group: 0 };
        let rows = Rows { rows: vec![row], groups: vec![group(A)] };
        judge(&rows, &knowledge).findings[0]
    }

    #[test]
    fn the_field_case_offends_and_what_flyball_orders_does_not() {
        let of = |waits| finding(Certainty::Learnt, [112, 113], waits);
        assert_eq!(of([180.0, 180.0]), Finding::Loses);
        assert_eq!(of([112.5, 112.5]), Finding::Loses, "not every device lives up to the upper bound");
        assert_eq!(of([112.0, 112.0]), Finding::Tight);
        assert_eq!(of([84.0, 105.0]), Finding::Fine);
        assert_eq!(of([84.1, 84.1]), Finding::Tight);
        assert_eq!(of([80.0, 105.1]), Finding::Tight, "its jitter takes more than the fleet's would");
        assert_eq!(of([84.0, 120.0]), Finding::Loses, "the jitter alone can lose it");
    }

    #[test]
    fn a_lifetime_that_is_looked_for_is_held_against_nobody_before_it_is_excluded() {
        let of = |waits| finding(Certainty::Learning, [60, 300], waits);
        assert_eq!(of([301.0, 301.0]), Finding::Loses);
        assert_eq!(of([180.0, 180.0]), Finding::Unproven);
        assert_eq!(of([45.0, 56.25]), Finding::Fine);
    }

    #[test]
    fn what_to_set_leaves_the_room_that_the_fleet_wants() {
        let knowledge = knowledge(vec![known(A, Certainty::Hostile, [10, 11])]);
        let rows = Rows { rows: Vec::new(), groups: vec![group(A), group(&[("carrier", "b")])] };
        let judged = judge(&rows, &knowledge);
        assert_eq!(judged.groups[0].advice(), Some(Duration::from_millis(7_500)), "under the fleet's floor");
        assert_eq!(judged.groups[1].advice(), None);
    }

    proptest::proptest! {
        #[test]
        fn a_longer_wait_is_never_judged_milder(
            lower in 1_u64..1_000, more in 0_u64..1_000, interval in 0.1_f64..2_000.0, add in 0.0_f64..500.0,
            certainty in 0_usize..4,
        ) {
            let all = [Certainty::Pinned, Certainty::Learnt, Certainty::Hostile, Certainty::Learning];
            let of = |interval: f64| finding(all[certainty], [lower, lower + more], [interval, interval]);
            let rank = |finding| if finding == Finding::Fine { 9 } else { finding as u8 };
            proptest::prop_assert!(rank(of(interval + add)) <= rank(of(interval)));
        }
    }
}
