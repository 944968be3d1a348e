//! Policy files and fleet files: YAML in, a validated set out, all errors at once; watched and reloaded as a whole, and
//! the last good set stays.

mod ab;
pub(crate) mod fleet;
pub mod fleet_raw;
pub mod folder;
pub mod load;
mod overlap;
pub mod raw;
mod services;
mod signals;
pub(crate) mod validate;
pub mod watch;
mod waves;
pub mod waves_raw;

use std::sync::Arc;

use crate::config::{SourceConfig, Sources};
use crate::keepalive::policy::{Fleet, Fleets};
use crate::sampling::policy::Policy;
use crate::source::Signals;

/// The name of the fleet that is there where no file names one.
pub const DEFAULT_FLEET: &str = "default";

/// All policies of a folder, sorted by name; their claims on services do not overlap. And all fleets.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PolicySet {
    /// Unique by name.
    pub policies: Vec<LoadedPolicy>,
    /// As written, sorted by name and unique by it.
    pub fleets: Vec<Arc<Fleet>>,
}

impl PolicySet {
    /// The fleets in force: those written, or one of all devices with every default.
    pub fn fleets(&self) -> Arc<Fleets> {
        let default = || vec![Arc::new(Fleet::named(DEFAULT_FLEET))];
        Arc::new(Fleets { fleets: if self.fleets.is_empty() { default() } else { self.fleets.clone() } })
    }
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
