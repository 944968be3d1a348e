//! When a cohort's devices beat later than they were told to, somebody must hear of it: what is watched, when that opens
//! an alarm and when it is over, and what a scan of the devices makes of it.
//!
//! Counting finished gaps would miss the worst of it: a device that stopped beating makes none, and the others' would
//! outnumber it ever more. So each device counts once, by where it stands now: its last gap or the one that is open,
//! whichever is longer, as a ratio to the longest wait that it was told ([`ratios`]). The cohort's p99 over that is
//! watched ([`watch`]); what is found is a [`health`] of each device, and a [`diagnosis`] of all.
//!
//! Limits: one device in a hundred may be late for ever, and is not heard of. A device that is gone for
//! [`GONE_AFTER`] no longer counts. In a cohort of less than two hundred devices two late ones are needed, so that
//! one that is switched off is no alarm of its cohort.

pub mod diagnosis;
pub mod health;
pub mod ratios;
pub mod watch;

use std::time::Duration;

/// A device that was not heard for this long does not count any more: it is not late but gone.
pub const GONE_AFTER: Duration = Duration::from_secs(24 * 3_600);
/// Devices of a cohort that a scan looks at: the worst.
pub const SCAN_MAX: usize = 1_000;

/// When a cohort's alarm opens and when it is over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AlarmPolicy {
    /// The p99 of gap over intended wait at which it opens.
    pub p99_gap: f64,
    /// At which it is over.
    pub recover: f64,
    /// How long either must last, without a break.
    pub lasting: Duration,
}

impl Default for AlarmPolicy {
    fn default() -> Self {
        Self { p99_gap: 1.5, recover: 1.2, lasting: Duration::from_secs(5 * 60) }
    }
}
