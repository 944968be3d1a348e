//! A small sample of root span names that had no rate of their own: it shows a user why the probability of "/cart/{id}"
//! has no effect (the span is named "GET" when it starts).
//!
//! It stands beside the hot path, not in it: a look at one trace in sixteen, a lock that is given up when contended,
//! and nothing at all once the sample is full.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use opentelemetry::trace::TraceId;

use crate::rate::low_bytes;

/// Names in one report.
const NAMES_MAX: usize = 32;
/// Longer names are left out, in bytes.
const NAME_LENGTH_MAX: usize = 256;
/// One trace in this many is looked at; a power of two.
const ONE_IN: u64 = 16;

/// Names since the last report.
#[derive(Debug, Default)]
pub(crate) struct Unlisted {
    is_full: AtomicBool,
    names: Mutex<Vec<String>>,
}

impl Unlisted {
    /// Notes `name` if that is cheap now.
    pub(crate) fn note(&self, trace_id: TraceId, name: &str) {
        if !low_bytes(trace_id).is_multiple_of(ONE_IN) || self.is_full.load(Ordering::Relaxed) {
            return;
        }
        let Ok(mut names) = self.names.try_lock() else { return };
        let is_usable = !name.is_empty() && name.len() <= NAME_LENGTH_MAX;
        if is_usable && names.len() < NAMES_MAX && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
            self.is_full.store(names.len() == NAMES_MAX, Ordering::Relaxed);
        }
    }

    /// The names since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_full.store(false, Ordering::Relaxed);
        std::mem::take(&mut names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOKED_AT: TraceId = TraceId::from_bytes([0xF0; 16]);
    const PASSED_OVER: TraceId = TraceId::from_bytes([0xF1; 16]);

    #[test]
    fn a_name_is_noted_once_and_taken_once() {
        let unlisted = Unlisted::default();
        unlisted.note(LOOKED_AT, "GET");
        unlisted.note(LOOKED_AT, "GET");
        unlisted.note(PASSED_OVER, "POST");
        assert_eq!((unlisted.take(), unlisted.take()), (vec!["GET".to_owned()], vec![]));
    }

    #[test]
    fn the_sample_is_bounded_and_starts_anew_once_taken() {
        let unlisted = Unlisted::default();
        for n in 0..1_000 {
            unlisted.note(LOOKED_AT, &format!("op {n}"));
        }
        unlisted.note(LOOKED_AT, &"x".repeat(10_000));
        assert_eq!(unlisted.take().len(), NAMES_MAX);
        unlisted.note(LOOKED_AT, &"x".repeat(10_000));
        unlisted.note(LOOKED_AT, "after");
        assert_eq!(unlisted.take(), ["after"]);
    }

    #[test]
    fn a_contended_sample_is_given_up() {
        let unlisted = Unlisted::default();
        let held = unlisted.names.lock().expect("not poisoned");
        unlisted.note(LOOKED_AT, "GET"); // would deadlock, were it to wait
        drop(held);
        assert!(unlisted.take().is_empty());
    }
}
