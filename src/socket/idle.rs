//! When a connection has to give its slot back: at a drain, or when nobody uses it.
//!
//! One timer a connection, not one a request: at each check it looks whether a request came since the last one. A head
//! that trickles in for ever is no request, so it needs no timer of its own. Neither the timer nor the drain is looked at
//! when a request wakes the connection, which is nearly always.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use hyper_util::server::graceful::GracefulConnection;
use tokio::time::{sleep, timeout};
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
    /// Once it is to end, for what is under way; then it is cut.
    pub(crate) drain: Duration,
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

    /// Answers a connection until it closes, idles too long, or the server drains.
    ///
    /// # Errors
    /// The connection's own, where it ended by one.
    pub(crate) async fn answer<C: GracefulConnection>(
        &self,
        mut connection: Pin<&mut C>,
        drain: &CancellationToken,
        patience: Patience,
    ) -> Result<(), C::Error> {
        tokio::select! {
            biased;
            ended = connection.as_mut() => ended,
            () = self.leave(drain, patience) => {
                connection.as_mut().graceful_shutdown();
                timeout(patience.drain, connection).await.unwrap_or(Ok(()))
            }
        }
    }

    /// Returns when the connection is to end: the server drains, or nobody uses it.
    fn leave(&self, drain: &CancellationToken, patience: Patience) -> impl Future<Output = ()> {
        Rarely::new(async move {
            tokio::select! {
                () = drain.cancelled() => {}
                () = self.unused(patience) => {}
            }
        })
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

/// A future that is polled when it was woken itself, and not whenever its task was: it shares the task with another one
/// that is woken thousands of times as often.
struct Rarely<F> {
    future: Pin<Box<F>>,
    alarm: Arc<Alarm>,
    waker: Waker,
}

/// What wakes the future of a [`Rarely`].
struct Alarm {
    has_rung: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_rung.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl<F> Rarely<F> {
    fn new(future: F) -> Self {
        let alarm = Arc::new(Alarm { has_rung: AtomicBool::new(true), task: AtomicWaker::new() });
        let waker = Waker::from(Arc::clone(&alarm));
        Self { future: Box::pin(future), alarm, waker }
    }
}

impl<F: Future> Future for Rarely<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // Before the look: what rings after it wakes the task.
        self.alarm.task.register(cx.waker());
        if !self.alarm.has_rung.swap(false, Ordering::Acquire) {
            return Poll::Pending;
        }
        let Self { future, waker, .. } = &mut *self;
        future.as_mut().poll(&mut Context::from_waker(waker))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicU32;

    use tokio::sync::Notify;
    use tokio::time::Instant;

    use super::*;

    const PATIENCE: Patience =
        Patience { first: Duration::from_secs(10), check: Duration::from_secs(20), drain: Duration::from_secs(5) };

    #[tokio::test(start_paused = true)]
    async fn a_connection_leaves_when_nobody_uses_it_and_at_a_drain() {
        let (requests, drain, start) = (Requests::default(), CancellationToken::new(), Instant::now());
        requests.count();
        requests.leave(&drain, PATIENCE).await;
        assert_eq!(start.elapsed(), PATIENCE.first + PATIENCE.check);
        let open = requests.open();
        assert!(timeout(PATIENCE.check * 9, requests.leave(&drain, PATIENCE)).await.is_err(), "an open request is use");
        drop(open);
        drain.cancel();
        assert!(timeout(Duration::ZERO, requests.leave(&drain, PATIENCE)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_rare_future_misses_no_wake_and_is_spared_the_others() {
        let (polls, bell) = (AtomicU32::new(0), Notify::new());
        let mut rarely = Rarely::new(async {
            let mut rung = Box::pin(async {
                bell.notified().await;
                bell.notified().await;
            });
            poll_fn(|cx| {
                polls.fetch_add(1, Ordering::Relaxed);
                rung.as_mut().poll(cx)
            })
            .await;
        });
        let mut once = async || poll_fn(|cx| Poll::Ready(Pin::new(&mut rarely).poll(cx).is_ready())).await;
        for ring in [false, false, true, false] {
            if ring {
                bell.notify_one();
            }
            assert!(!once().await);
        }
        assert_eq!(polls.load(Ordering::Relaxed), 2);
        bell.notify_one();
        assert!(once().await);
    }
}
