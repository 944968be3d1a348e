//! What a run is worth, from the plant's own truth. Coverage is exact: it is summed from the moments at which bindings
//! begin and end, never sampled.

use crate::time::MonoTime;

const DAY_SECONDS: f64 = 86_400.0;

/// Sums over the devices of one carrier.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Sums {
    /// Seconds in which devices were powered and in coverage.
    pub(super) present: f64,
    /// Of these, seconds in which a packet to the address seen last would have passed.
    pub(super) covered: f64,
    /// Packets that devices sent, all of them.
    pub(super) sent: u64,
    /// Of these, packets for probes.
    pub(super) sent_for_probes: u64,
    /// Second acks.
    pub(super) second_acks: u64,
    /// Side flows tested to an end.
    pub(super) tests: u64,
    /// Seconds uncovered while a device followed a pace that tests had earned it and its NAT did not bear.
    pub(super) overpaced: f64,
}

/// Since when a device's time is not accounted for yet, and what it is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Account {
    settled: MonoTime,
}

/// What holds from the last settlement on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    /// Powered and in coverage.
    pub(super) is_present: bool,
    /// Until when the address that the server knows is good.
    pub(super) good_until: MonoTime,
    /// Whether tests earned it a pace that its NAT did not bear.
    pub(super) is_overpaced: bool,
}

impl Account {
    /// Accounts for the time up to `now`.
    pub(super) fn settle(&mut self, now: MonoTime, standing: Standing, sums: &mut Sums) {
        if standing.is_present && now > self.settled {
            let present = now.since(self.settled).as_secs_f64();
            let covered = standing.good_until.min(now).since(self.settled).as_secs_f64();
            sums.present += present;
            sums.covered += covered;
            if standing.is_overpaced {
                sums.overpaced += present - covered;
            }
        }
        self.settled = self.settled.max(now);
    }
}

impl Sums {
    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            present: self.present + other.present,
            covered: self.covered + other.covered,
            sent: self.sent + other.sent,
            sent_for_probes: self.sent_for_probes + other.sent_for_probes,
            second_acks: self.second_acks + other.second_acks,
            tests: self.tests + other.tests,
            overpaced: self.overpaced + other.overpaced,
        }
    }

    /// What came since `earlier`.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            present: self.present - earlier.present,
            covered: self.covered - earlier.covered,
            sent: self.sent - earlier.sent,
            sent_for_probes: self.sent_for_probes - earlier.sent_for_probes,
            second_acks: self.second_acks - earlier.second_acks,
            tests: self.tests - earlier.tests,
            overpaced: self.overpaced - earlier.overpaced,
        }
    }

    /// Share of the time; 1 where nobody was there.
    pub(super) fn coverage(&self) -> f64 {
        if self.present > 0.0 { self.covered / self.present } else { 1.0 }
    }

    /// So many of something a device and day of presence.
    pub(super) fn a_day(&self, count: u64) -> f64 {
        self.seconds_a_day(count as f64)
    }

    /// The same of seconds.
    pub(super) fn seconds_a_day(&self, seconds: f64) -> f64 {
        if self.present > 0.0 { seconds * DAY_SECONDS / self.present } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> MonoTime {
        MonoTime::from_start(Duration::from_secs(seconds))
    }

    #[test]
    fn time_counts_up_to_the_end_of_the_binding_and_only_while_the_device_is_there() {
        let (mut account, mut sums) = (Account::default(), Sums::default());
        let standing = Standing { is_present: true, good_until: at(30), is_overpaced: false };
        account.settle(at(20), standing, &mut sums);
        account.settle(at(50), standing, &mut sums);
        account.settle(at(90), Standing { is_present: false, ..standing }, &mut sums);
        assert_eq!((sums.present, sums.covered), (50.0, 30.0));
        assert_eq!(sums.coverage(), 0.6);
    }
}
