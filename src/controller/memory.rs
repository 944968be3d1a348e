//! What the controller hands to a later process.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::sampling::memory::Memory;
use crate::sampling::traffic::Name;

/// The last generation and what each policy learnt.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Memories {
    /// The newest generation that clients may have seen.
    pub generation: u64,
    /// By policy.
    pub policies: BTreeMap<Name, Memory>,
}
