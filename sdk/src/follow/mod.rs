//! Keeps the strategy in force up to date: over the push stream, and by asking the Jaeger endpoint while the stream
//! cannot be had.
//!
//! A fleet loses its server all at once, so nothing here happens in step: pauses are drawn at random from a range that
//! doubles with each failure, and polls are spread. The last strategy stays through all of it. The stream is tried
//! again for as long as the sampler lives, between polls too.
//!
//! Limits: a polled answer carries no generation, so that it is always taken; where two servers disagree, the stream
//! has the last word as soon as it is back.

mod poll;
mod schedule;
mod stream;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::error::Error;
use std::fmt::Write;
use std::time::{Duration, Instant};

use hyper::Uri;

use crate::state::{Connection, State};
use schedule::Schedule;

/// A stream message or a polled body above this is refused, in bytes: what gRPC allows by default.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Whom to follow.
#[derive(Debug)]
pub(crate) struct Target {
    /// The service's name.
    pub(crate) service: String,
    /// Of the push stream.
    pub(crate) endpoint: Uri,
    /// Of the Jaeger endpoint.
    pub(crate) polling: Uri,
    /// Other than the defaults in tests only.
    pub(crate) timing: Timing,
}

/// How long things may take and how often they happen.
#[derive(Debug, Clone)]
pub(crate) struct Timing {
    /// The shortest pause before a reconnect.
    pub(crate) pause_min: Duration,
    /// Upper end of the first pause; doubles with each failure. A second spreads a fleet of 10,000 well enough.
    pub(crate) pause_first: Duration,
    /// Upper end of the longest pause.
    pub(crate) pause_max: Duration,
    /// A stream that lived this long was healthy: its end counts as the first failure.
    pub(crate) healthy_after: Duration,
    /// Failures in a row after which the Jaeger endpoint is asked.
    pub(crate) stream_tries: u32,
    /// Between two polls, give or take a fifth.
    pub(crate) poll_interval: Duration,
    /// Between two reports of usage, give or take a fifth.
    pub(crate) report_interval: Duration,
    /// For connecting, for the first strategy, and for a whole poll.
    pub(crate) patience: Duration,
    /// Between two HTTP/2 pings on a silent connection.
    pub(crate) keepalive_interval: Duration,
    /// For a ping's answer; after that the peer is dead.
    pub(crate) keepalive_patience: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            pause_min: Duration::from_millis(100),
            pause_first: Duration::from_secs(1),
            pause_max: Duration::from_secs(30),
            healthy_after: Duration::from_secs(10),
            stream_tries: 3,
            poll_interval: Duration::from_secs(60),
            report_interval: Duration::from_secs(60),
            patience: Duration::from_secs(5),
            keepalive_interval: Duration::from_secs(20),
            keepalive_patience: Duration::from_secs(10),
        }
    }
}

/// Follows for ever; dropped with the sampler.
pub(crate) async fn follow(target: &Target, state: &State) -> Infallible {
    let mut schedule = Schedule::new(target.timing.clone());
    loop {
        let broken = stream::watch(target, state).await;
        note(state, Connection::Stream, &broken.error);
        let kind = broken.kind(&target.timing);
        if schedule.stream_failed(kind, Instant::now(), rand::random()) {
            poll(target, state).await;
        }
        tokio::time::sleep(schedule.pause(Instant::now(), rand::random())).await;
    }
}

/// Asks the Jaeger endpoint once.
async fn poll(target: &Target, state: &State) {
    let polled = match poll::poll(target, state.generation()).await {
        Ok(strategy) => state.adopt(strategy).map_err(poll::PollError::Refused),
        Err(error) => Err(error),
    };
    match polled {
        Ok(()) if state.set_connection(Connection::Polling) => {
            tracing::info!(endpoint = %target.polling, "flyball: the stream cannot be had, polling");
        }
        Ok(()) => {}
        Err(error) => note(state, Connection::Polling, &error),
    }
}

/// Remembers what failed, and that the strategy no longer comes from there if it did. Logs the change only.
fn note(state: &State, failed: Connection, error: &dyn Error) {
    let chain = chain(error);
    if state.connection() == failed {
        tracing::warn!(error = %chain, "flyball: sampling strategies do not arrive any more, the last one is kept");
        state.set_connection(Connection::Lost);
    }
    state.set_last_error(chain);
}

/// An error with its causes, in one line. Some libraries repeat a cause in the error itself: once is enough.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let cause_text = error.to_string();
        if !text.ends_with(&cause_text) {
            write!(text, ": {cause_text}").expect("a String takes all");
        }
        cause = error.source();
    }
    text
}
