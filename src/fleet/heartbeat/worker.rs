//! One worker: a thread that blocks on its own socket, and owns everything that it touches.
//!
//! ```text
//!  receive up to 64 ─▶ take each ─▶ send all answers ─▶ second acks, what was told, the sweep, the copy for the disk
//! ```

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use arc_swap::{ArcSwap, Cache};
use flyball_sdk::device::wire::{ANSWER_BYTES, DATAGRAM_MAX_BYTES};
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

use super::handle::Told;
use super::shard::Shard;
use super::tend::Sweep;
use crate::fleet::registry::entry::Stamp;
use crate::fleet::registry::save::{Copying, Parcel};
use crate::fleet::sys::Batch;
use crate::keepalive::observation::Observation;
use crate::keepalive::order::Orders;
use crate::time::Clock;

/// Datagrams that are received, and answers that are sent, in one system call. Beyond 64 the calls are no longer what
/// costs.
pub const BATCH: usize = 64;
/// The most that one batch causes: two answers a datagram.
const OUT_MAX: usize = 2 * BATCH;
/// How often devices are looked at that may be gone.
const SWEEP_EVERY: Duration = Duration::from_millis(200);
/// How often the registry is written.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// Batches of second acks that are sent between two of heartbeats.
const SECONDS_MAX: usize = 4;
/// Things told that are taken between two batches.
const TOLD_MAX: usize = 64;

/// A received datagram that is longer than any of ours is one byte longer, and malformed.
type Incoming = Batch<{ DATAGRAM_MAX_BYTES + 1 }>;

/// Everything that a worker has of its own.
pub(super) struct Worker {
    pub(super) socket: UdpSocket,
    pub(super) is_v6: bool,
    pub(super) shard: Shard,
    pub(super) told: Receiver<Told>,
    pub(super) orders: Arc<ArcSwap<Orders>>,
    pub(super) observations: Sender<Vec<Observation>>,
    /// Where copies of the registry go; none without a state folder.
    pub(super) parcels: Option<SyncSender<Parcel>>,
    pub(super) clock: Clock,
    pub(super) shutdown: CancellationToken,
}

/// When a worker did what last.
struct Chores {
    sweep: Sweep,
    swept_at: Stamp,
    saved_at: Stamp,
    copying: Option<Copying>,
}

/// Why a worker ends before the shutdown.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Its socket fails again and again.
    #[error("cannot receive heartbeats")]
    Receive(#[source] io::Error),
}

/// Failures in a row that are taken for accidents: an ICMP error of one device comes as one of the socket.
const FAILURES_MAX: u32 = 1_000;

impl Worker {
    /// Until the shutdown; then the registry is copied once more.
    ///
    /// # Errors
    /// The socket cannot be received from.
    pub(super) fn run(mut self) -> Result<(), WorkerError> {
        let (mut incoming, mut outgoing) = (Incoming::new(BATCH), Batch::<ANSWER_BYTES>::new(OUT_MAX));
        let mut orders = Cache::new(Arc::clone(&self.orders));
        let now = Stamp::of(self.clock.now().mono);
        let mut chores = Chores { sweep: Sweep::default(), swept_at: now, saved_at: now, copying: None };
        let mut failures = 0;
        while !self.shutdown.is_cancelled() {
            match incoming.receive(&self.socket) {
                Ok(()) => failures = 0,
                Err(error) if is_empty(&error) => failures = 0,
                Err(_) if failures < FAILURES_MAX => failures += 1,
                Err(error) => return Err(WorkerError::Receive(error)),
            }
            self.shard.begin(orders.load(), self.clock.mono());
            for index in 0..incoming.len() {
                let (bytes, from) = incoming.received(index);
                self.shard.datagram(bytes, from);
            }
            self.send(&mut outgoing);
            self.tend(&mut chores, &mut outgoing);
        }
        self.end(chores);
        Ok(())
    }

    fn send(&mut self, outgoing: &mut Batch<ANSWER_BYTES>) {
        let mut failed = 0;
        for (to, bytes) in self.shard.out.drain(..) {
            if outgoing.len() == OUT_MAX {
                failed += outgoing.send(&self.socket);
            }
            outgoing.push(&bytes, &to, self.is_v6);
        }
        failed += outgoing.send(&self.socket);
        self.shard.count_failed(failed);
    }

    fn tend(&mut self, chores: &mut Chores, outgoing: &mut Batch<ANSWER_BYTES>) {
        for _ in 0..SECONDS_MAX {
            let has_more = self.shard.send_seconds(OUT_MAX);
            if !self.shard.out.is_empty() {
                self.send(outgoing);
            }
            if !has_more {
                break;
            }
        }
        for told in self.told.try_iter().take(TOLD_MAX) {
            self.shard.told(told);
        }
        let now = self.shard.now();
        if now.since(chores.swept_at) >= SWEEP_EVERY {
            chores.swept_at = now;
            self.shard.sweep(&mut chores.sweep);
            self.shard.confirm_waiting();
            self.shard.tend_scan(OUT_MAX);
            if !self.shard.out.is_empty() {
                self.send(outgoing);
            }
        }
        if self.shard.notices.is_due(now) {
            self.notice();
        }
        self.save(chores, now);
    }

    fn notice(&mut self) {
        let Shard { notices, shared, index, mono, now, .. } = &mut self.shard;
        notices.send(&self.observations, *mono, *now, shared.counters.worker(*index));
    }

    /// A slice of the copy that is under way, or the first of the next.
    fn save(&mut self, chores: &mut Chores, now: Stamp) {
        let Some(parcels) = &self.parcels else { return };
        if chores.copying.is_none() && now.since(chores.saved_at) >= SAVE_EVERY {
            chores.saved_at = now;
            chores.copying = Some(Copying::begin(self.shard.index, parcels.clone()));
        }
        if chores.copying.as_mut().is_some_and(|copying| copying.step(&self.shard.registry)) {
            chores.copying = None;
        }
    }

    fn end(mut self, chores: Chores) {
        self.notice();
        let Some(parcels) = self.parcels else { return };
        // Of a copy under way the records would come twice: it is brought to its end, and the whole one follows.
        if let Some(copying) = chores.copying {
            copying.finish(&self.shard.registry);
        }
        Copying::begin(self.shard.index, parcels).finish(&self.shard.registry);
    }
}

fn is_empty(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
