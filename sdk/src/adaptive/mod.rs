//! Lets the traces that matter survive a low probability.
//!
//! Head sampling decides before anything has gone wrong, so at one in a thousand it loses nearly every failure. The
//! processor here has the sampler record what it does not sample, holds those spans until the local trace is over, and
//! passes the ones with an error or a slow span within a small budget of their own. Nothing is drawn twice: the
//! decision by trace id stands, and what is kept besides is marked.
//!
//! Limits: services called meanwhile did not sample, so a kept local trace shows this process alone; and recording
//! spans costs what sampling them costs, short of exporting.

mod budget;
mod builder;
mod counts;
mod critical;
mod kept;
mod link;
mod local_traces;
mod open;
mod processor;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use builder::AdaptiveSpanProcessorBuilder;
pub use counts::{AdaptiveCounts, Counts};
pub use processor::AdaptiveSpanProcessor;

/// A panic elsewhere leaves counts and buffers that are still good enough to go on with.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
