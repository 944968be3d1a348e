//! What a worker saw, put together for the loop: observations by the batch, and what the way loses as sums by cohort. A
//! loop that is behind is not waited for: what it has no room for is dropped, and counted.

use std::time::Duration;

use tokio::sync::mpsc::Sender;

use super::counters::{Count, WorkerCounts};
use crate::fleet::registry::entry::Stamp;
use crate::keepalive::cohort::CohortIndex;
use crate::keepalive::observation::{Observation, ObservationKind};
use crate::time::MonoTime;

/// Sent on at least this often.
pub(super) const SENT_EVERY: Duration = Duration::from_millis(200);
/// Sent on as soon as there are as many.
const BATCH: usize = 512;
/// Kept, where the loop is behind; a second's worth of a worker that is busy with nothing else.
const KEPT_MAX: usize = 16_384;

/// One worker's.
#[derive(Debug)]
pub(super) struct Notices {
    observations: Vec<Observation>,
    /// Sent and unanswered, by cohort.
    losses: Vec<(u32, u32)>,
    sent_at: Stamp,
}

impl Notices {
    pub(super) fn new(now: Stamp) -> Self {
        Self { observations: Vec::with_capacity(BATCH), losses: Vec::new(), sent_at: now }
    }

    /// Adds one.
    pub(super) fn add(&mut self, observation: Observation, counts: &WorkerCounts) {
        if self.observations.len() < KEPT_MAX {
            self.observations.push(observation);
        } else {
            counts.add(Count::ObservationDropped, 1);
        }
    }

    /// Adds to what a cohort sent, and what nothing answered.
    pub(super) fn add_loss(&mut self, cohort: CohortIndex, sent: u32, unanswered: u32) {
        let index = cohort.0 as usize;
        if self.losses.len() <= index {
            self.losses.resize(index + 1, (0, 0));
        }
        let sum = &mut self.losses[index];
        *sum = (sum.0.saturating_add(sent), sum.1.saturating_add(unanswered));
    }

    /// Whether it is time to send.
    pub(super) fn is_due(&self, now: Stamp) -> bool {
        self.observations.len() >= BATCH || now.since(self.sent_at) >= SENT_EVERY
    }

    /// Sends all of it on, with the losses as of `at`.
    pub(super) fn send(&mut self, to: &Sender<Vec<Observation>>, at: MonoTime, now: Stamp, counts: &WorkerCounts) {
        self.sent_at = now;
        for (index, loss) in self.losses.iter_mut().enumerate().filter(|(_, loss)| loss.0 > 0) {
            let (sent, unanswered) = std::mem::take(loss);
            let kind = ObservationKind::Loss { sent, unanswered };
            self.observations.push(Observation { at, cohort: CohortIndex(index as u32), kind });
        }
        if self.observations.is_empty() {
            return;
        }
        let batch = std::mem::replace(&mut self.observations, Vec::with_capacity(BATCH));
        if let Err(refused) = to.try_send(batch) {
            counts.add(Count::ObservationDropped, refused.into_inner().len() as u64);
        }
    }
}
