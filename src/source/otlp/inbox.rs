//! Between the door and the tick: requests are left here as they come, the next poll takes them all. One lock, held for
//! a push or a swap; bounded in points, and a request that finds no room is refused whole, so that its sender keeps it
//! and comes again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use super::parcel::{Parcel, Wanted};

/// Points that wait for the next poll, some 500 bytes each.
const POINTS_MAX: usize = 200_000;
/// Bytes of the requests that they came in, so that attributes without end are bounded too.
const BYTES_MAX: usize = 128 << 20;

/// What waits, and what is let in.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    wanted: ArcSwap<Wanted>,
}

#[derive(Debug, Default)]
struct Waiting {
    parcels: Vec<Parcel>,
    points: usize,
    bytes: usize,
}

/// There is no room until the next poll.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Inbox {
    /// Leaves all parcels of a request of so many bytes, or none.
    pub(super) fn leave(&self, parcels: Vec<Parcel>, bytes: usize) -> Result<(), Full> {
        if parcels.is_empty() {
            return Ok(());
        }
        // A parcel without points says that something came, and takes room as well.
        let points: usize = parcels.iter().map(|parcel| parcel.points.len().max(1)).sum();
        let mut waiting = self.lock();
        let has_room = waiting.points.saturating_add(points) <= POINTS_MAX;
        if !has_room || waiting.bytes.saturating_add(bytes) > BYTES_MAX {
            return Err(Full);
        }
        waiting.points += points;
        waiting.bytes += bytes;
        waiting.parcels.extend(parcels);
        Ok(())
    }

    /// Everything that waits, oldest first.
    pub(super) fn take(&self) -> Vec<Parcel> {
        std::mem::take(&mut *self.lock()).parcels
    }

    /// What to let in from now on.
    pub(super) fn want(&self, wanted: Wanted) {
        if **self.wanted.load() != wanted {
            self.wanted.store(Arc::new(wanted));
        }
    }

    /// What to let in.
    pub(super) fn wanted(&self) -> Arc<Wanted> {
        self.wanted.load_full()
    }

    /// Nobody panics while holding it; a poisoned lock would only mean parcels that are whole all the same.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::source::otlp::parcel::tests::{point, request, sum};
    use crate::source::otlp::parcel::{Sorter, WantedMetric};

    #[test]
    fn a_full_inbox_refuses_until_it_is_emptied() {
        let metric = sum("a", true, (0..1000).map(|at_s| point(at_s, at_s + 1, 1.0)).collect());
        let wanted = Wanted(vec![WantedMetric { metric: "a".to_owned(), refuses_spans: false }]);
        let parcels = Sorter::default().sort(request("shop", "test", vec![metric]), &wanted, Instant::now()).parcels;
        let inbox = Inbox::default();
        let left = (0..1000).take_while(|_| inbox.leave(parcels.clone(), 1).is_ok()).count();
        assert_eq!((left, inbox.take().len()), (POINTS_MAX / 1000, POINTS_MAX / 1000));
        assert_eq!(inbox.leave(parcels.clone(), BYTES_MAX), Ok(()));
        assert_eq!(inbox.leave(parcels, 1), Err(Full));
        assert_eq!(inbox.leave(Vec::new(), 1), Ok(()), "what nobody wants takes no room");
    }
}
