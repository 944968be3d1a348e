//! What every connection shares: the snapshot to read, the counters to add to, the signal to leave.

use std::sync::Arc;

use bytes::Bytes;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::counts::Counts;
use crate::controller::answer::Answer;
use crate::controller::snapshot::Published;
use crate::controller::usage::UsageReport;
use crate::telemetry::metrics::{Metrics, Protocol};

/// Shared by all connections; holds no state of any client.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) published: Arc<Published>,
    pub(super) usage: mpsc::Sender<UsageReport>,
    pub(super) http: Counts,
    pub(super) grpc: Counts,
    /// Open push streams.
    pub(super) streams: Gauge,
    /// One permit a connection, over all addresses.
    pub(super) slots: Arc<Semaphore>,
    pub(super) streams_per_connection_max: u32,
    /// Cancelled once: finish what is in flight and leave.
    pub(super) drain: CancellationToken,
}

impl Desk {
    pub(super) fn new(
        published: Arc<Published>,
        metrics: &Metrics,
        usage: mpsc::Sender<UsageReport>,
        slots: Arc<Semaphore>,
        streams_per_connection_max: u32,
    ) -> Self {
        Self {
            published,
            usage,
            http: Counts::new(metrics, Protocol::http),
            grpc: Counts::new(metrics, Protocol::grpc),
            streams: metrics.serve_streams.clone(),
            slots,
            streams_per_connection_max,
            drain: CancellationToken::new(),
        }
    }

    /// The bytes that `pick` takes from the answer to `service`, counted.
    pub(super) fn answer(&self, counts: &Counts, service: &str, pick: impl Fn(&Answer) -> &Bytes) -> Bytes {
        let snapshot = self.published.load();
        if let Some(answer) = snapshot.known(service) {
            counts.known.inc();
            return pick(answer).clone();
        }
        counts.stranger.inc();
        pick(snapshot.answer(service)).clone()
    }

    /// Every connection is taken and others may be waiting.
    pub(super) fn is_full(&self) -> bool {
        self.slots.available_permits() == 0
    }

    /// Nothing published, nobody connected.
    #[cfg(test)]
    pub(super) fn for_test() -> Arc<Self> {
        use crate::controller::snapshot::Snapshot;
        use crate::time::WallTime;
        let published = Arc::new(Published::new(Snapshot::empty(1, WallTime::from_unix_ms(1))));
        let (usage, _) = mpsc::channel(1);
        Arc::new(Self::new(published, &Metrics::default(), usage, Arc::new(Semaphore::new(2)), 10))
    }
}
