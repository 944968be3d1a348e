//! Reads ready answers instead of asking a server: for benches and tests of what reading costs.

use std::sync::Arc;

use bytes::Bytes;

use super::policy::PolicyState;
use crate::sampling::traffic::Traffic;
use crate::source::error::QueryError;
use crate::source::signals::Signals;
use crate::source::timeline::SourceClock;
use crate::telemetry::metrics::Metrics;
use crate::time::Tick;

/// One policy's signals, fed with the bodies that a server would send.
pub struct Replay {
    state: PolicyState,
    metrics: Metrics,
}

/// The bodies of one poll: range vectors for signals that are counters, else instant vectors.
#[derive(Debug, Clone)]
pub struct ReplayedPoll {
    /// Of the demand query.
    pub demand: Bytes,
    /// Of the query for what the backend received.
    pub received: Bytes,
    /// Of the query for what it dropped.
    pub dropped: Bytes,
}

impl Replay {
    /// Has read nothing yet.
    pub fn new(signals: &Arc<Signals>, raw_series_max: usize) -> Self {
        Self { state: PolicyState::new(signals, raw_series_max), metrics: Metrics::default() }
    }

    /// Decodes one poll, answered at `now` of the server's clock, which is ours.
    pub fn read(&mut self, poll: &ReplayedPoll, now: Tick) -> Result<Traffic, QueryError> {
        let ReplayedPoll { demand, received, dropped } = poll;
        let answers = self.state.replayed(now.mono, demand, received, dropped);
        self.state.take_in(&answers, &SourceClock::default().at(now), &self.metrics)
    }
}
