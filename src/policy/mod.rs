//! Policy files: YAML in, a validated set out, all errors at once; watched and reloaded as a whole, and the last good
//! set stays.

pub mod folder;
pub mod load;
mod overlap;
pub mod raw;
mod services;
mod signals;
pub(crate) mod validate;
pub mod watch;

use std::sync::Arc;

use crate::config::SourceConfig;
use crate::sampling::policy::Policy;
use crate::source::Signals;

/// All policies of a folder, sorted by name; their claims on services do not overlap.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PolicySet {
    /// Unique by name.
    pub policies: Vec<LoadedPolicy>,
}

/// One policy: what the core needs and what the source needs.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedPolicy {
    /// For the core.
    pub sampling: Arc<Policy>,
    /// For the source.
    pub signals: Arc<Signals>,
}

/// What can answer the policies' queries: a policy that is valid on one may not be on the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// Evaluates any PromQL.
    Prometheus,
    /// Sums rates of counters and nothing else.
    Scrape,
}

impl SourceKind {
    /// The kind of a configured source.
    pub fn of(source: &SourceConfig) -> Self {
        match source {
            SourceConfig::Prometheus(_) => Self::Prometheus,
            SourceConfig::Scrape(_) => Self::Scrape,
        }
    }
}
