//! What ties a span processor to the sampler.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::state::State;

/// Has the sampler record what it does not sample, until switched off or dropped.
#[derive(Debug)]
pub(super) struct Link {
    sampler: Arc<State>,
    is_on: AtomicBool,
}

impl Link {
    pub(super) fn switch_on(sampler: Arc<State>) -> Self {
        sampler.add_recorder();
        Self { sampler, is_on: AtomicBool::new(true) }
    }

    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// See `SamplerStatus::limit_factor`.
    pub(super) fn limit_factor(&self) -> f64 {
        self.sampler.limit_factor()
    }

    pub(super) fn switch_off(&self) {
        if self.is_on.swap(false, Ordering::Relaxed) {
            self.sampler.remove_recorder();
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.switch_off();
    }
}
