//! What the monitor saw. Its times are the kernel's and better than ours, but it reads ids that anybody can write: a gap
//! counts only where the device's own authentic heartbeats had the same one, and came from where the gap says.

use std::collections::VecDeque;
use std::time::Duration;

use super::counters::Count;
use super::orders::fingerprint;
use super::shard::Shard;
use crate::fleet::registry::entry::{Entry, Stamp};
use crate::keepalive::observation::{BindingClass, ObservationKind, Silence};
use crate::monitor::event::{Gap, Outcome};

/// How far the monitor's gap and ours may differ: ours ends when a worker comes to it.
const APART_MAX: Duration = Duration::from_millis(250);
/// The kernel is ahead of the device's answer from its new address: how long a gap waits for that.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Gaps that wait, of one worker.
const WAITING_MAX: usize = 4_096;

/// Gaps that nothing confirmed yet.
#[derive(Debug, Default)]
pub(super) struct Waiting(VecDeque<(Stamp, Gap)>);

impl Shard {
    /// The monitor offers a gap.
    pub(super) fn offered(&mut self, gap: Gap) {
        if self.confirm(&gap) {
            return;
        }
        if self.waiting.0.len() >= WAITING_MAX {
            self.counts().add(Count::PassiveRefused, 1);
        } else {
            self.waiting.0.push_back((self.now, gap));
        }
    }

    /// Looks at those that wait again.
    pub(super) fn confirm_waiting(&mut self) {
        for _ in 0..self.waiting.0.len() {
            let Some((since, gap)) = self.waiting.0.pop_front() else { return };
            if self.confirm(&gap) {
                continue;
            }
            if self.now.since(since) > WAIT_MAX {
                self.counts().add(Count::PassiveRefused, 1);
            } else {
                self.waiting.0.push_back((since, gap));
            }
        }
    }

    /// Tells the gap if the registry agrees; whether it did.
    fn confirm(&mut self, gap: &Gap) -> bool {
        let Ok(device) = gap.device.as_bytes().try_into().map(flyball_sdk::device::id::DeviceId) else { return false };
        let Some(slot) = self.registry.find(&device) else { return false };
        let entry = self.registry.get(slot);
        if !is_confirmed(entry, gap) {
            return false;
        }
        let cohort = entry.cohort;
        self.counts().add(Count::PassiveConfirmed, 1);
        let from = self.order(cohort).map(|order| order.tell_silences_from);
        if gap.outcome != Outcome::Migrated && from.is_some_and(|from| gap.silence >= from) {
            let class = if gap.is_stream { BindingClass::Stream } else { BindingClass::Unreplied };
            let silence = Silence {
                device,
                class,
                silence: gap.silence,
                gap: gap.gap,
                has_moved: gap.outcome == Outcome::Rebound,
                is_same_address: gap.path.from.ip() == gap.path.to.ip(),
                is_doubtful: gap.missed > 0 || gap.is_rebooted,
            };
            self.tell(cohort, ObservationKind::Silence(silence));
        }
        true
    }
}

fn is_confirmed(entry: &Entry, gap: &Gap) -> bool {
    let ours = Duration::from_millis(entry.gap_ms.into());
    let is_here = entry.is_at(&gap.path.to.into());
    let is_from_there = match gap.outcome {
        Outcome::Survived => gap.path.from == gap.path.to,
        Outcome::Rebound | Outcome::Migrated => entry.came_from == fingerprint(&gap.path.from.into()),
    };
    is_here && is_from_there && ours.abs_diff(gap.gap) <= APART_MAX
}
