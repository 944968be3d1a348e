//! The clocks of the processes that push. Between two points of one process its own times are the best there are; against
//! our time they are worth something only while its clock is right.
//!
//! A time within [`TRUSTED_MS`] of its arrival is taken as it is: batching and the network explain the rest. A process
//! whose first points are further off has a clock that is wrong, and all its times are moved by the same offset, so that
//! its newest point is new. From then on an older point is late, and stays old: a collector that empties its queue after
//! an outage must not look like a surge. A point from the future is impossible, so the offset is found anew and the
//! process's series start anew with it.
//!
//! Limits: a clock that steps back makes a process's points look repeated until they pass the old ones, or until it is
//! forgotten; a backlog that comes before the first live point looks new until that one comes.

use std::collections::HashMap;

/// Further off than this, a clock is wrong.
const TRUSTED_MS: i64 = 30_000;
/// Processes that are kept apart; the clocks of more are taken as they are.
const PEERS_MAX: usize = 200_000;
/// A process that was silent for this long is forgotten.
const FORGET_AFTER_MS: i64 = 600_000;

/// What is known of every process's clock.
#[derive(Debug, Default)]
pub(super) struct Peers {
    clocks: HashMap<u64, Clock>,
}

#[derive(Debug)]
struct Clock {
    offset: Offset,
    heard_ms: i64,
}

/// From a process's clock to ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Offset {
    ms: i64,
    /// Counts how often it was found anew: times of two offsets are not to be compared.
    pub(super) epoch: u32,
}

impl Offset {
    /// A process's time on our clock, in milliseconds.
    pub(super) fn place(self, at_ns: u64) -> i64 {
        ms(at_ns).saturating_add(self.ms)
    }
}

impl Peers {
    /// The offset of a process whose newest point, of `newest_ns`, came at `received_ms`.
    pub(super) fn meet(&mut self, resource: u64, newest_ns: u64, received_ms: i64) -> Offset {
        let ahead_ms = ms(newest_ns).saturating_sub(received_ms);
        let Some(clock) = self.clocks.get_mut(&resource) else {
            let is_trusted = ahead_ms.abs() <= TRUSTED_MS;
            let offset = Offset { ms: if is_trusted { 0 } else { -ahead_ms }, epoch: 0 };
            if self.clocks.len() >= PEERS_MAX {
                return Offset::default();
            }
            self.clocks.insert(resource, Clock { offset, heard_ms: received_ms });
            return offset;
        };
        clock.heard_ms = received_ms;
        if clock.offset.place(newest_ns).saturating_sub(received_ms) > TRUSTED_MS {
            clock.offset = Offset { ms: -ahead_ms, epoch: clock.offset.epoch.wrapping_add(1) };
        }
        clock.offset
    }

    /// Forgets who was silent.
    pub(super) fn settle(&mut self, now_ms: i64) {
        self.clocks.retain(|_, clock| now_ms.saturating_sub(clock.heard_ms) <= FORGET_AFTER_MS);
    }
}

fn ms(ns: u64) -> i64 {
    i64::try_from(ns / 1_000_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn a_wrong_clock_is_moved_and_a_late_point_stays_late() {
        // (name, [(own time in ms, received in ms)], placed in ms, epoch)
        let table: [(&str, &[(i64, i64)], i64, u32); 6] = [
            ("a right clock", &[(5_000, 6_000)], 5_000, 0),
            ("a wrong clock", &[(5_000, HOUR_MS)], HOUR_MS, 0),
            ("a wrong clock goes on", &[(5_000, HOUR_MS), (10_000, HOUR_MS + 5_100)], HOUR_MS + 5_000, 0),
            ("a backlog", &[(HOUR_MS, HOUR_MS), (HOUR_MS + 5_000, HOUR_MS + 300_000)], HOUR_MS + 5_000, 0),
            ("the future", &[(5_000, 5_000), (HOUR_MS, 10_000)], 10_000, 1),
            ("a backlog first", &[(5_000, 300_000), (305_000, 305_000)], 305_000, 1),
        ];
        for (name, heard, expected, epoch) in table {
            let mut peers = Peers::default();
            let mut placed = (0, 0);
            for (own_ms, received_ms) in heard {
                let own_ns = own_ms.unsigned_abs() * 1_000_000;
                let offset = peers.meet(7, own_ns, *received_ms);
                placed = (offset.place(own_ns), offset.epoch);
            }
            assert_eq!(placed, (expected, epoch), "{name}");
        }
    }

    #[test]
    fn who_is_silent_is_forgotten() {
        let mut peers = Peers::default();
        peers.meet(7, 5_000_000_000, 5_000);
        peers.settle(5_001 + FORGET_AFTER_MS);
        assert!(peers.clocks.is_empty());
    }
}
