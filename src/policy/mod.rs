//! Policy files: YAML in, a validated set out, all errors at once; watched and reloaded as a whole, and the last good
//! set stays.

use std::sync::Arc;

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
