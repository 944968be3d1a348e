//! What the second loop hands to a later process: what was learnt of each cohort, and the last generation.

use serde::{Deserialize, Serialize};

/// What a later process needs to know.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// The newest generation that devices may have seen.
    pub generation: u64,
}
