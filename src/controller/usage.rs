//! What SDKs tell about the operations that they were answered: which names they met, and which of theirs had no
//! entry. It shows why a probability for an operation has no effect: SDKs see a span's name at its start ("GET"), and
//! a metric's label ("/cart/{id}") seldom equals it.

use std::collections::BTreeSet;

use crate::sampling::traffic::Name;

/// Names kept for each service and list; more are dropped.
pub const NAMES_MAX: usize = 256;

/// One SDK instance's report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageReport {
    /// The reporting service. A name that no policy decided on is dropped: strangers create no state.
    pub service: Name,
    /// Listed operations that root spans had.
    pub matched: Vec<Name>,
    /// Names of root spans that were not listed.
    pub unlisted: Vec<Name>,
}

/// All reports on one service together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Listed operations that root spans had.
    pub matched: BTreeSet<Name>,
    /// Names of root spans that were not listed.
    pub unlisted: BTreeSet<Name>,
}

impl Usage {
    /// Adds a report, up to [`NAMES_MAX`] names a list.
    pub fn add(&mut self, report: &UsageReport) {
        add_bounded(&mut self.matched, &report.matched);
        add_bounded(&mut self.unlisted, &report.unlisted);
    }
}

fn add_bounded(set: &mut BTreeSet<Name>, names: &[Name]) {
    for name in names {
        if set.len() < NAMES_MAX {
            set.insert(name.clone());
        }
    }
}
