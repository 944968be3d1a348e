//! Reads what the program saw, and hands it on as frames.
//!
//! Records wait in the kernel's ring until they are handed on, one by one, as the queue has room. A slow reader above
//! thus fills the queue, then the ring, and then the program counts what it could not tell: loss is in one place, and
//! has a number. Counts are sums since the start, so one that comes late says all that the ones left out would have.
//!
//! The ring is not read at the first sign of life. A wake-up costs more than a record, and while records wait the kernel
//! wakes nobody: to sleep a little first makes one wake-up of what would be a hundred.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{MapData, MapError, RingBuf};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::census::Devices;
use super::counts::Counts;
use super::error::AttachError;
use super::frame::{Census, Frame};
use super::mirror::Record;
use super::steering::Steering;
use super::sys;

/// From the first record to the reading of all that came by then. Longer saves wake-ups (at most 100 a second now) and
/// needs more ring: this one holds what a burst of a million records a second brings meanwhile.
const BATCH: Duration = Duration::from_millis(10);
/// From one reading of the counts to the next.
const COUNTS_EVERY: Duration = Duration::from_secs(1);
/// The reading of a thousand cohorts on a hundred CPUs is long: it takes at most one part in this many.
const COUNTS_SHARE: u32 = 50;
/// From one census to the next, at least: a small fleet is counted in microseconds.
const CENSUS_EVERY_MIN: Duration = Duration::from_secs(5);
/// And at most.
const CENSUS_EVERY_MAX: Duration = Duration::from_secs(60);
/// A million devices take some 200 ms: a census takes at most one part in this many, but for the rule above.
const CENSUS_SHARE: u32 = 500;
/// What is left when the monitor ends is handed on for at most this long.
const FINISH_MAX: Duration = Duration::from_secs(2);

/// Why reading ended.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The ring cannot be waited on.
    #[error("the ring of records cannot be waited on")]
    Ring(#[source] io::Error),
    /// A map of counts cannot be read.
    #[error("the counts cannot be read")]
    Counts(#[source] MapError),
    /// The device map cannot be read.
    #[error("the devices cannot be counted")]
    Census(#[source] io::Error),
}

/// Why one round of reading ended early.
#[derive(Debug)]
pub(super) enum Stop {
    /// Nobody reads above us.
    Closed,
    Failed(ReadError),
}

pub(super) type Frames = mpsc::Sender<Frame>;

/// The maps that the program writes.
pub(super) struct Reader {
    ring: RingBuf<MapData>,
    counts: Counts,
    census: Counting,
    steering: Steering,
}

impl Reader {
    /// Takes the maps out of the loaded object.
    pub(super) fn new(ebpf: &mut Ebpf, steering: Steering) -> Result<Self, AttachError> {
        let mut take = |name| ebpf.take_map(name).expect("it is in the object");
        let ring = RingBuf::try_from(take("records")).map_err(AttachError::Mismatch)?;
        let counts = Counts::new(take("cohorts"), take("troubles")).map_err(AttachError::Mismatch)?;
        let devices = Devices::new(take("devices")).map_err(AttachError::Mismatch)?;
        Ok(Self { ring, counts, census: Counting { devices: Arc::new(devices), evicted: 0 }, steering })
    }

    /// Inside a runtime.
    pub(super) fn start(self) -> Result<Rounds, ReadError> {
        let ring = sys::readable(self.ring).map_err(ReadError::Ring)?;
        Ok(Rounds { ring, counts: self.counts, census: self.census, steering: self.steering })
    }
}

/// A reader at work.
pub(super) struct Rounds {
    ring: AsyncFd<RingBuf<MapData>>,
    counts: Counts,
    census: Counting,
    steering: Steering,
}

impl Rounds {
    /// Reads until nobody listens. May be dropped at any await: what was taken was handed on.
    pub(super) async fn go_on(&mut self, frames: &Frames) -> Result<Infallible, Stop> {
        let mut census_due = Instant::now() + CENSUS_EVERY_MIN;
        let mut counts_due = Instant::now() + COUNTS_EVERY;
        let steering = self.steering.clone();
        loop {
            tokio::select! {
                () = frames.closed() => return Err(Stop::Closed),
                woken = wake(&self.ring) => {
                    woken?;
                    tokio::time::sleep(BATCH).await;
                    drain(self.ring.get_mut(), frames).await?;
                }
                () = tokio::time::sleep_until(counts_due) => {
                    let took = self.counts.tell(self.steering.cohorts(), frames).await?;
                    counts_due = Instant::now() + COUNTS_EVERY.max(took * COUNTS_SHARE);
                }
                () = tokio::time::sleep_until(census_due) => {
                    let took = self.census.tell(&self.counts, self.steering.cohorts(), frames).await?;
                    census_due = Instant::now() + (took * CENSUS_SHARE).clamp(CENSUS_EVERY_MIN, CENSUS_EVERY_MAX);
                }
                () = steering.census_requested() => {
                    self.census.tell(&self.counts, self.steering.cohorts(), frames).await?;
                }
            }
        }
    }

    /// Hands on what is left, if somebody still listens.
    pub(super) async fn finish(mut self, ended: Result<(), Stop>, frames: &Frames) -> Result<(), ReadError> {
        let ended = match ended {
            Ok(()) => tokio::time::timeout(FINISH_MAX, self.all(frames)).await.unwrap_or(Ok(())),
            ended => ended,
        };
        match ended {
            Ok(()) | Err(Stop::Closed) => Ok(()),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    async fn all(&mut self, frames: &Frames) -> Result<(), Stop> {
        drain(self.ring.get_mut(), frames).await?;
        self.counts.tell(self.steering.cohorts(), frames).await?;
        self.census.tell(&self.counts, self.steering.cohorts(), frames).await.map(drop)
    }
}

async fn wake(ring: &AsyncFd<RingBuf<MapData>>) -> Result<(), Stop> {
    let mut ready = ring.readable().await.map_err(|error| Stop::Failed(ReadError::Ring(error)))?;
    // Whatever comes from here on wakes us again, or is there when the ring is drained.
    ready.clear_ready();
    Ok(())
}

/// Hands on what is in the ring; a record is taken only when there is a place for it.
async fn drain(ring: &mut RingBuf<MapData>, frames: &Frames) -> Result<(), Stop> {
    loop {
        let place = room(frames).await?;
        let Some(item) = ring.next() else { return Ok(()) };
        // Longer records, of a later program, begin alike.
        if let Some(bytes) = item.get(..size_of::<Record>()) {
            place.send(Frame::Record(bytemuck::pod_read_unaligned(bytes)));
        }
    }
}

pub(super) async fn room(frames: &Frames) -> Result<mpsc::Permit<'_, Frame>, Stop> {
    frames.reserve().await.map_err(|_| Stop::Closed)
}

/// Censuses: how many were evicted never falls.
struct Counting {
    devices: Arc<Devices>,
    evicted: u64,
}

impl Counting {
    /// Returns how long the counting took.
    async fn tell(&mut self, counts: &Counts, cohorts: usize, frames: &Frames) -> Result<Duration, Stop> {
        let inserted = counts.inserted(cohorts)?;
        let (devices, started) = (Arc::clone(&self.devices), Instant::now());
        let counting = tokio::task::spawn_blocking(move || devices.count(inserted, cohorts));
        let census = counting.await.map_err(io::Error::other).flatten();
        let census: Census = census.map_err(|error| Stop::Failed(ReadError::Census(error)))?;
        let took = started.elapsed();
        self.evicted = self.evicted.max(census.evicted);
        room(frames).await?.send(Frame::Census(Census { evicted: self.evicted, ..census }));
        Ok(took)
    }
}
