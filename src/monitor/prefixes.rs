//! Which cohort an address belongs to: `prefix,carrier,region`, and the names by number that the kernel knows.

use std::sync::Arc;

/// The cohort of addresses that no prefix covers: number 0.
pub const UNKNOWN: &str = "carrier=unknown,region=unknown";
/// Most cohorts: one per-CPU value each in the kernel.
pub const COHORTS_MAX: usize = 1_024;

/// Addresses that begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// IPv6, or IPv4 mapped into it; zeros behind `bits`.
    pub address: [u8; 16],
    /// Of `address`: 96 more than an IPv4 prefix has.
    pub bits: u8,
    /// By number.
    pub cohort: u16,
}

/// All prefixes, and the cohorts by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefixes {
    /// Cohort names as everywhere (`carrier=a,region=eu`); the first is [`UNKNOWN`].
    pub names: Vec<Arc<str>>,
    /// In the order of the file.
    pub rows: Vec<Prefix>,
}

impl Default for Prefixes {
    fn default() -> Self {
        Self { names: vec![UNKNOWN.into()], rows: Vec::new() }
    }
}
