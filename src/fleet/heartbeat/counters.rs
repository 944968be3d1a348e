//! What the heartbeat server counts: each worker for itself, on cache lines of its own; summed when somebody asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::keepalive::alarm::ratios::Ratios;
use crate::keepalive::cohort::CohortIndex;

/// Everything that is counted. Bounded: the labels of one metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Count {
    /// Heartbeats that were taken.
    Accepted,
    /// Heartbeats that came again, because their ack was lost.
    Duplicate,
    /// First acks, those that ask a new address to answer included.
    Acked,
    /// Second acks.
    SecondAcked,
    /// Second acks for which there was no room.
    SecondAckDropped,
    /// Orders that were sent just before a beat was due, to see whether they pass.
    Sounded,
    /// Orders that were sent unasked, because a release was taken back.
    Pushed,
    /// Acks that asked a new address to answer.
    AddressAsked,
    /// Addresses that answered, of devices that had another one before.
    AddressMoved,
    /// Devices that registered.
    Registered,
    /// Devices that had to repeat with a nonce, their counters being lower than before.
    Challenged,
    /// Devices whose lower counters were taken, after that.
    Restarted,
    /// Hellos.
    Hello,
    /// Datagrams of side flows.
    SideFlow,
    /// Results of tests.
    Report,
    /// Passive gaps that the registry confirmed.
    PassiveConfirmed,
    /// Passive gaps that it did not.
    PassiveRefused,
    /// Observations that the loop had no room for.
    ObservationDropped,
    /// Commands for devices that are not here, or that a worker had no room for.
    CommandDropped,
    /// Answers that the system did not take.
    SendFailed,
    /// Refused: no shape of ours.
    Malformed,
    /// Refused: a version that this one does not know.
    Version,
    /// Refused: a key id that is not in force.
    UnknownKey,
    /// Refused: its MAC is not the device's.
    Forged,
    /// Refused: a sequence number that came before.
    Replayed,
    /// Refused: a copy of what came before, from an address that is not the device's.
    Copied,
    /// Refused: a nonce that is not ours, or is no longer.
    StaleNonce,
    /// Refused: as many devices as are allowed.
    TooManyDevices,
    /// Refused: as many side flows as there is room for.
    TooManySideFlows,
    /// Refused: about a test that was not ordered, or no longer known.
    UnknownTest,
    /// Refused: labels that are too many, too long or hold what they must not.
    BadLabels,
    /// Refused: of a device that is not here, and that needs to register first.
    Unregistered,
    /// Refused: steered to the wrong worker; only while the sockets come up.
    Misrouted,
}

/// All of [`Count`], in order.
pub const COUNTS: [Count; 33] = [
    Count::Accepted,
    Count::Duplicate,
    Count::Acked,
    Count::SecondAcked,
    Count::SecondAckDropped,
    Count::Sounded,
    Count::Pushed,
    Count::AddressAsked,
    Count::AddressMoved,
    Count::Registered,
    Count::Challenged,
    Count::Restarted,
    Count::Hello,
    Count::SideFlow,
    Count::Report,
    Count::PassiveConfirmed,
    Count::PassiveRefused,
    Count::ObservationDropped,
    Count::CommandDropped,
    Count::SendFailed,
    Count::Malformed,
    Count::Version,
    Count::UnknownKey,
    Count::Forged,
    Count::Replayed,
    Count::Copied,
    Count::StaleNonce,
    Count::TooManyDevices,
    Count::TooManySideFlows,
    Count::UnknownTest,
    Count::BadLabels,
    Count::Unregistered,
    Count::Misrouted,
];

impl Count {
    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Acked => "acked",
            Self::SecondAcked => "second_acked",
            Self::SecondAckDropped => "second_ack_dropped",
            Self::Sounded => "sounded",
            Self::Pushed => "pushed",
            Self::AddressAsked => "address_asked",
            Self::AddressMoved => "address_moved",
            Self::Registered => "registered",
            Self::Challenged => "challenged",
            Self::Restarted => "restarted",
            Self::Hello => "hello",
            Self::SideFlow => "side_flow",
            Self::Report => "report",
            Self::PassiveConfirmed => "passive_confirmed",
            Self::PassiveRefused => "passive_refused",
            Self::ObservationDropped => "observation_dropped",
            Self::CommandDropped => "command_dropped",
            Self::SendFailed => "send_failed",
            Self::Malformed => "malformed",
            Self::Version => "version",
            Self::UnknownKey => "unknown_key",
            Self::Forged => "forged",
            Self::Replayed => "replayed",
            Self::Copied => "copied",
            Self::StaleNonce => "stale_nonce",
            Self::TooManyDevices => "too_many_devices",
            Self::TooManySideFlows => "too_many_side_flows",
            Self::UnknownTest => "unknown_test",
            Self::BadLabels => "bad_labels",
            Self::Unregistered => "unregistered",
            Self::Misrouted => "misrouted",
        }
    }

    /// Whether it counts datagrams that were refused.
    pub const fn is_refusal(self) -> bool {
        self as u8 >= Self::Malformed as u8
    }
}

/// One worker's counts. One writer, any readers.
#[derive(Debug)]
#[repr(align(128))]
pub struct WorkerCounts {
    counts: [AtomicU64; COUNTS.len()],
    /// Devices by cohort, as of the last second.
    by_cohort: arc_swap::ArcSwap<Vec<u32>>,
    /// Where the devices of each cohort stand, as of the last sweep.
    census: arc_swap::ArcSwap<Vec<Ratios>>,
}

impl Default for WorkerCounts {
    fn default() -> Self {
        let counts = std::array::from_fn(|_| AtomicU64::new(0));
        let (by_cohort, census) = Default::default();
        Self { counts, by_cohort, census }
    }
}

impl WorkerCounts {
    /// One more. There is one writer: a load and a store are enough, and cost no locked instruction.
    pub(super) fn add(&self, count: Count, n: u64) {
        let counter = &self.counts[count as usize];
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    pub(super) fn set_census(&self, census: Vec<Ratios>) {
        self.census.store(Arc::new(census));
    }

    pub(super) fn set_by_cohort(&self, devices: Vec<u32>) {
        self.by_cohort.store(Arc::new(devices));
    }
}

/// All workers' counts, and behind them those of everybody else.
#[derive(Debug, Clone)]
pub struct Counters(Arc<[WorkerCounts]>);

impl Counters {
    pub(super) fn new(workers: usize) -> Self {
        Self((0..=workers).map(|_| WorkerCounts::default()).collect())
    }

    pub(super) fn worker(&self, index: usize) -> &WorkerCounts {
        &self.0[index]
    }

    /// Counts what no worker did.
    pub(super) fn elsewhere(&self, count: Count, n: u64) {
        let last = self.0.last().expect("there is one for everybody else");
        last.counts[count as usize].fetch_add(n, Ordering::Relaxed);
    }

    /// One of them, of all workers.
    pub fn get(&self, count: Count) -> u64 {
        self.0.iter().map(|worker| worker.counts[count as usize].load(Ordering::Relaxed)).sum()
    }

    /// All of them, with their names.
    pub fn all(&self) -> impl Iterator<Item = (Count, u64)> {
        COUNTS.into_iter().map(|count| (count, self.get(count)))
    }

    /// Where the devices of each cohort stand, by its index, as of the last look at all of them.
    pub fn census(&self) -> Vec<Ratios> {
        let mut sums: Vec<Ratios> = Vec::new();
        for worker in self.0.iter() {
            let counted = worker.census.load();
            sums.resize(sums.len().max(counted.len()), Ratios::default());
            sums.iter_mut().zip(counted.iter()).for_each(|(sum, ratios)| sum.merge(ratios));
        }
        sums
    }

    /// Devices that are here, by cohort, as of about a second ago.
    pub fn devices(&self) -> Vec<(CohortIndex, u64)> {
        let mut sums: Vec<u64> = Vec::new();
        for worker in self.0.iter() {
            let devices = worker.by_cohort.load();
            sums.resize(sums.len().max(devices.len()), 0);
            sums.iter_mut().zip(devices.iter()).for_each(|(sum, n)| *sum += u64::from(*n));
        }
        sums.into_iter().enumerate().map(|(i, n)| (CohortIndex(i as u32), n)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_count_is_listed_once_and_has_its_own_name() {
        for (i, count) in COUNTS.into_iter().enumerate() {
            assert_eq!(count as usize, i);
        }
        let names: std::collections::HashSet<&str> = COUNTS.iter().map(|count| count.as_str()).collect();
        assert_eq!(names.len(), COUNTS.len());
    }

    #[test]
    fn workers_are_summed() {
        let counters = Counters::new(2);
        counters.worker(0).add(Count::Forged, 2);
        counters.worker(1).add(Count::Forged, 1);
        counters.worker(0).set_by_cohort(vec![1, 2]);
        counters.worker(1).set_by_cohort(vec![3]);
        assert_eq!((counters.get(Count::Forged), counters.get(Count::Replayed)), (3, 0));
        assert_eq!(counters.devices(), [(CohortIndex(0), 4), (CohortIndex(1), 2)]);
    }
}
