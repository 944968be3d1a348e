//! What to watch, validated.

use std::time::Duration;

use super::key::Key;
use super::prefixes::Prefixes;

/// Default of [`Settings::ports`]: the port of Flyball's own heartbeats.
pub const PORT: u16 = 5783;
/// Default of [`Settings::gap`]: the time for which most NATs keep a binding that nothing answered.
pub const GAP: Duration = Duration::from_secs(30);
/// Smallest [`Settings::gap`]: below it, each packet of a busy device would be an event.
pub const GAP_MIN: Duration = Duration::from_millis(100);
/// Largest [`Settings::gap`].
pub const GAP_MAX: Duration = Duration::from_secs(86_400);
/// Default of [`Settings::devices`]; the kernel takes some 250 bytes each at once.
pub const DEVICES: u32 = 1_000_000;
/// Most devices: 4 GB of kernel memory.
pub const DEVICES_MAX: u32 = 16_000_000;
/// Most interfaces.
pub const INTERFACES_MAX: usize = 64;
/// Longest name of an interface, in bytes (Linux: IFNAMSIZ, less the zero).
pub const INTERFACE_NAME_MAX: usize = 15;
/// Most ports in a configuration.
pub const PORTS_MAX: usize = 1_024;

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
