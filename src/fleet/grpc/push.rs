//! Changes go out: to every session whose pace is another now, at a bounded rate.

use std::num::NonZeroU32;
use std::sync::Arc;

use flyball_sdk::device::jitter::Pace;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{mpsc, watch};

use super::desk::Desk;
use super::post::Post;
use crate::keepalive::order::DeviceCommand;

/// Part of a second's pushes that may go out at once.
const BURST_PART: u32 = 20;

/// Pushes between two chances for the streams to send what they were given.
const TURN: usize = 64;

/// Takes over changes and commands until the loop is gone.
pub(super) async fn run(
    desk: Arc<Desk>,
    mut changed: watch::Receiver<u64>,
    mut commands: mpsc::Receiver<Vec<DeviceCommand>>,
) {
    let pace = limiter(desk.settings.pushes_per_second);
    loop {
        tokio::select! {
            change = changed.changed() => if change.is_err() { return },
            Some(batch) = commands.recv() => take(&desk, &batch),
        }
        while let Ok(batch) = commands.try_recv() {
            take(&desk, &batch);
        }
        changed.mark_unchanged();
        let news = desk.registry.news(&desk.orders.load());
        push(&desk, &pace, news, &changed).await;
    }
}

fn take(desk: &Desk, batch: &[DeviceCommand]) {
    let now = desk.now();
    desk.note(batch.iter().filter_map(|command| desk.registry.command(command, now)));
}

/// Pushes until a newer change makes the rest old; what was pushed is not news then.
async fn push(
    desk: &Desk,
    pace: &DefaultDirectRateLimiter,
    news: Vec<(Arc<Post>, Pace)>,
    changed: &watch::Receiver<u64>,
) {
    for (nth, (post, order)) in news.into_iter().enumerate() {
        while let Err(too_early) = pace.check() {
            tokio::time::sleep(too_early.wait_time_from(DefaultClock::default().now())).await;
        }
        if changed.has_changed().unwrap_or(false) {
            return;
        }
        post.order(order);
        desk.counts.pushes.inc();
        if nth % TURN == TURN - 1 {
            tokio::task::yield_now().await;
        }
    }
}

fn limiter(per_second: NonZeroU32) -> DefaultDirectRateLimiter {
    let burst = NonZeroU32::new(per_second.get() / BURST_PART).unwrap_or(NonZeroU32::MIN);
    RateLimiter::direct(Quota::per_second(per_second).allow_burst(burst))
}
