//! When a connection has to give its slot back: at a drain, or when nobody uses it.
//!
//! One timer a connection, not one a request: at each check it looks whether a request came since the last one. A head
//! that trickles in for ever is no request, so it needs no timer of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Counts a connection's requests; each open one holds a clone, so that the number of clones tells how many are open.
#[derive(Debug, Clone, Default)]
pub(crate) struct Requests(Arc<AtomicU64>);

/// How long a connection may be without use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Until its first request is complete.
    pub(crate) first: Duration,
    /// After that, between two checks: an unused connection ends within twice this.
    pub(crate) check: Duration,
}

impl Requests {
    /// One more; it is open while the clone lives.
    pub(crate) fn open(&self) -> Self {
        self.count();
        self.clone()
    }

    /// One more, answered at once.
    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns when the connection is to end: the server drains, or nobody uses it.
    pub(crate) async fn leave(&self, drain: &CancellationToken, patience: Patience) {
        tokio::select! {
            () = drain.cancelled() => {}
            () = self.unused(patience) => {}
        }
    }

    async fn unused(&self, patience: Patience) {
        let mut before = 0;
        sleep(patience.first).await;
        loop {
            let now = self.0.load(Ordering::Relaxed);
            if now == before && Arc::strong_count(&self.0) == 1 {
                return;
            }
            before = now;
            sleep(patience.check).await;
        }
    }
}
