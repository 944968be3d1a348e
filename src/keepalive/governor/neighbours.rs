//! Cohorts of one carrier learn from each other: a region that joins a known carrier begins with what the carrier's other
//! regions have, and one of several prefixes of a region with what the others have there.
//!
//! What is shared is where lifetimes are, as a part of the prior and never as evidence: a wrong neighbour costs two or
//! three tests, and nothing is told to devices by a neighbour's word. The nearest have half of that part, by the number of
//! labels that are the same, the next a quarter, and so on; within one nearness all cohorts count alike. The order in
//! which cohorts appeared plays no part.
//!
//! Limits: cohorts that begin at the same time search side by side, and share only what one of them finds first.

use std::collections::BTreeMap;

use super::cohort::{Cohort, place};
use crate::keepalive::lifetime::prior::{Known, Prior};
use crate::keepalive::observation::BindingClass;

/// The label without which cohorts have nothing in common.
const CARRIER: &str = "carrier";
/// Cohorts that one learns from at most.
const NEIGHBOURS_MAX: usize = 256;

/// What the cohort at `at` may believe of this class by its neighbours; `None` where they know nothing.
pub(super) fn prior(cohorts: &[Cohort], at: usize, class: BindingClass) -> Option<Prior> {
    let cohort = &cohorts[at];
    let ground = cohort.boxes[place(class)].ground();
    let mut levels: BTreeMap<usize, Vec<(&str, Vec<Known>)>> = BTreeMap::new();
    let others = cohorts.iter().filter(|other| other.index != cohort.index);
    for (nearness, other) in others.filter_map(|other| Some((nearness(cohort, other)?, other))).take(NEIGHBOURS_MAX) {
        let theirs = &other.boxes[place(class)];
        if theirs.ground().is_like(ground) {
            levels.entry(nearness).or_default().push((&other.entry.key.name, theirs.lowest().known()));
        }
    }
    let level = |mut known: Vec<(&str, Vec<Known>)>| {
        known.sort_unstable_by_key(|(name, _)| *name);
        known.into_iter().flat_map(|(_, known)| known).collect()
    };
    let levels: Vec<Vec<Known>> = levels.into_values().rev().map(level).collect();
    ground.shared(&levels)
}

/// Labels that both have alike; `None` for cohorts of other carriers, or another transport.
fn nearness(one: &Cohort, other: &Cohort) -> Option<usize> {
    let (labels, others) = (&one.entry.labels, &other.entry.labels);
    let is_same_carrier = labels.get(CARRIER).is_some_and(|carrier| others.get(CARRIER) == Some(carrier));
    let is_near = is_same_carrier && one.entry.key.transport == other.entry.key.transport;
    is_near.then(|| labels.iter().filter(|(key, value)| others.get(*key) == Some(value)).count())
}
