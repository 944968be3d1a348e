//! The kernel's time by name. A record says when in nanoseconds of CLOCK_MONOTONIC, which is also what [`Instant`] is
//! on Linux; the process counts from its own start. One reading of both, at the same moment, joins them for good.
//!
//! *Wall time* is not joined once, because it jumps: it is the wall's now, less the age of the event. So a record and
//! a log line of the same moment agree, before and after a jump.
//!
//! *Suspended time* is in neither clock: a machine that slept an hour finds its devices' gaps an hour too short, and
//! those which the sleep made too long by nothing. [`slept`] tells that it happened; the monitor then counts what was
//! last seen before as unknown. An event read after a sleep that came before it is dated later by as long: it waited
//! milliseconds in the ring, so there are none but by accident.
//!
//! [`Instant`]: std::time::Instant

use std::time::Duration;

use nix::time::{ClockId, clock_getres, clock_gettime};

use crate::time::{Clock, MonoTime, Tick, WallTime};

/// A moment on the kernel's CLOCK_MONOTONIC, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelTime(pub u64);

impl KernelTime {
    /// Now.
    pub fn now() -> Self {
        Self(u64::try_from(read(ClockId::CLOCK_MONOTONIC).as_nanos()).unwrap_or(u64::MAX))
    }
}

/// Where the kernel's clock and the process's own one meet.
#[derive(Debug, Clone, Copy)]
pub struct KernelClock {
    kernel: KernelTime,
    own: MonoTime,
}

impl KernelClock {
    /// Reads both clocks.
    pub fn start(clock: &Clock) -> Self {
        Self::joined(KernelTime::now(), clock.now().mono)
    }

    /// Both at one moment, as read by somebody else: a capture has its own.
    pub const fn joined(kernel: KernelTime, own: MonoTime) -> Self {
        Self { kernel, own }
    }

    /// On the process's clock. What was before the process began is at its beginning.
    pub fn mono(&self, at: KernelTime) -> MonoTime {
        match at.0.checked_sub(self.kernel.0) {
            Some(after) => self.own.plus(Duration::from_nanos(after)),
            None => self.own.minus(Duration::from_nanos(self.kernel.0 - at.0)),
        }
    }

    /// On the wall, given what both clocks show now.
    pub fn wall(&self, at: KernelTime, now: Tick) -> WallTime {
        let mono = self.mono(at);
        // Of two CPUs' readings one may be ahead by a little.
        now.wall.minus(now.mono.since(mono)).plus(mono.since(now.mono))
    }
}

/// From one timer interrupt to the next, in nanoseconds: what the coarse clocks resolve.
pub(super) fn tick() -> u64 {
    let resolution = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).expect("every Linux has these clocks");
    u64::try_from(Duration::from(resolution).as_nanos()).unwrap_or(u64::MAX)
}

/// How long the machine was suspended since it was started.
pub(super) fn slept() -> Duration {
    read(ClockId::CLOCK_BOOTTIME).saturating_sub(read(ClockId::CLOCK_MONOTONIC))
}

fn read(clock: ClockId) -> Duration {
    clock_gettime(clock).expect("every Linux has these clocks").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> MonoTime {
        MonoTime::from_start(Duration::from_millis(ms))
    }

    #[test]
    fn both_clocks_run_side_by_side() {
        let clock = KernelClock::joined(KernelTime(5_000_000_000), at(100));
        assert_eq!(clock.mono(KernelTime(5_000_000_000)), at(100));
        assert_eq!(clock.mono(KernelTime(5_250_000_000)), at(350));
        assert_eq!(clock.mono(KernelTime(4_950_000_000)), at(50));
        assert_eq!(clock.mono(KernelTime(0)), at(0), "before the process began");
    }

    #[test]
    fn the_kernels_now_is_the_processs_now() {
        let own = Clock::start();
        let joined = KernelClock::start(&own);
        let (kernel, tick) = (KernelTime::now(), own.now());
        assert!(tick.mono.since(joined.mono(kernel)) < Duration::from_secs(5));
        assert!(joined.mono(kernel).since(tick.mono) < Duration::from_millis(1));
    }

    #[test]
    fn the_wall_time_of_an_event_follows_a_jump_of_the_wall() {
        let clock = KernelClock::joined(KernelTime(0), at(0));
        let event = KernelTime(2_000_000_000);
        let now = |wall| Tick { mono: at(5_000), wall: WallTime::from_unix_ms(wall) };
        assert_eq!(clock.wall(event, now(100_000)), WallTime::from_unix_ms(97_000));
        assert_eq!(clock.wall(event, now(9_000_000)), WallTime::from_unix_ms(8_997_000));
        assert_eq!(clock.wall(KernelTime(5_001_000_000), now(100_000)), WallTime::from_unix_ms(100_001), "ahead");
    }
}
