//! What to watch, validated.

use std::time::Duration;

use super::key::Key;
use super::prefixes::Prefixes;

/// What to watch.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Names of the interfaces that devices' packets come in by.
    pub interfaces: Vec<String>,
    /// Where a payload names its device.
    pub key: Key,
    /// Watched ports: of UDP for devices, of TCP for connections.
    pub ports: Vec<u16>,
    /// A gap from here on is told.
    pub gap: Duration,
    /// Devices that are kept; about 1.5 times the fleet, because eviction is approximate.
    pub devices: u32,
    /// Which cohort an address belongs to.
    pub prefixes: Prefixes,
}
