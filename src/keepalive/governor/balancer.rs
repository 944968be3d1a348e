//! Whether all cohorts show one value. Carriers differ; where they do not, what is measured is most likely something
//! that all of them pass: the load balancer in front of the server, or its own NAT.

use std::collections::HashSet;

use flyball_sdk::device::probe::Cell;

use super::cohort::Cohort;
use crate::keepalive::report::Verdict;

/// Cohorts of different carriers that must agree.
const COHORTS_MIN: usize = 3;
/// Bounds wider than this, in cells, agree with anything: 5 %.
const WIDTH_MAX: u16 = 10;

/// Whether one lifetime lies within the bounds of all cohorts that are learnt, and they are of different carriers.
pub(super) fn is_suspect(cohorts: &[Cohort]) -> bool {
    let learnt = cohorts.iter().filter(|cohort| cohort.told.verdict == Verdict::Learnt);
    let bounds: Vec<(Cell, Cell)> = learnt.clone().map(|cohort| cohort.paced().lowest().bounds()).collect();
    let carriers: HashSet<&str> = learnt.map(carrier).collect();
    let lower = bounds.iter().map(|(lower, _)| *lower).max();
    let upper = bounds.iter().map(|(_, upper)| *upper).min();
    let are_narrow = bounds.iter().all(|(lower, upper)| upper.number().saturating_sub(lower.number()) <= WIDTH_MAX);
    carriers.len() >= COHORTS_MIN && are_narrow && lower < upper
}

fn carrier(cohort: &Cohort) -> &str {
    cohort.entry.labels.get("carrier").map_or(&*cohort.entry.key.name, AsRef::as_ref)
}
