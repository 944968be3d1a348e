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

use crate::config::{SourceConfig, Sources};
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

/// The sources that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceKinds {
    /// What is asked at each tick.
    pub asked: Option<SourceKind>,
    /// Whether counts are pushed: what a signal with `from: otlp` needs.
    pub has_otlp: bool,
}

impl SourceKinds {
    /// The kinds of the configured sources.
    pub fn of(sources: &Sources) -> Self {
        let kind = |source: &SourceConfig| match source {
            SourceConfig::Prometheus(_) => SourceKind::Prometheus,
            SourceConfig::Scrape(_) => SourceKind::Scrape,
        };
        Self { asked: sources.asked.as_ref().map(kind), has_otlp: sources.otlp.is_some() }
    }
}

impl From<SourceKind> for SourceKinds {
    fn from(asked: SourceKind) -> Self {
        Self { asked: Some(asked), has_otlp: false }
    }
}
