//! What one policy's governor hands to a later process.

use serde::{Deserialize, Serialize};

use super::budget::BudgetMemory;
use super::traffic::Name;

/// Everything worth keeping over a restart.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// The budget and the capacity behind it.
    pub budget: BudgetMemory,
    /// Spans a trace, measured.
    pub spans_per_trace: Option<f64>,
    /// What each service was served.
    pub services: Vec<ServiceMemory>,
}

/// What one service was served.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceMemory {
    /// The service.
    pub name: Name,
    /// For operations that are not listed.
    pub probability: f64,
    /// Listed operations.
    #[serde(default)]
    pub operations: Vec<(Name, f64)>,
}
