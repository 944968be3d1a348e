//! The demo's tracing backend: takes what its capacity allows, holds a short queue, and really drops the rest.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanProcessor};
use std::sync::Arc;

use super::story;

/// Length of the backend's queue, in seconds of its capacity.
const QUEUE_SECONDS: f64 = 0.1;

/// A backend of finite capacity; its counters only grow.
#[derive(Debug)]
pub(super) struct Backend {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    started: Instant,
    drained: Instant,
    queued: f64,
    received: u64,
    dropped: u64,
}

/// Spans since the start.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) received: u64,
    pub(super) dropped: u64,
}

impl Backend {
    pub(super) fn new(started: Instant) -> Self {
        Self { state: Mutex::new(State { started, drained: started, queued: 0.0, received: 0, dropped: 0 }) }
    }

    pub(super) fn totals(&self) -> Totals {
        let state = self.state.lock().expect("no holder panics");
        Totals { received: state.received, dropped: state.dropped }
    }

    /// Its metrics, as a scraper reads them. The counter of drops does not exist before the first, as with most.
    pub(super) fn exposition(&self) -> String {
        let Totals { received, dropped } = self.totals();
        let mut text = format!("# TYPE traces_received_total counter\ntraces_received_total {received}\n");
        if dropped > 0 {
            text += &format!("# TYPE traces_dropped_total counter\ntraces_dropped_total {dropped}\n");
        }
        text
    }

    fn take_span(&self) {
        self.state.lock().expect("no holder panics").take_span(Instant::now());
    }
}

impl State {
    fn take_span(&mut self, now: Instant) {
        let capacity = story::capacity(now.duration_since(self.started).as_secs_f64());
        let drained = capacity * now.duration_since(self.drained).as_secs_f64();
        self.drained = now;
        self.queued = (self.queued - drained).max(0.0);
        self.received += 1;
        if self.queued + 1.0 > capacity * QUEUE_SECONDS {
            self.dropped += 1;
        } else {
            self.queued += 1.0;
        }
    }
}

/// Where a service's sampled spans leave for the backend.
#[derive(Debug, Clone)]
pub(super) struct Uplink(pub(super) Arc<Backend>);

impl SpanProcessor for Uplink {
    fn on_start(&self, _span: &mut opentelemetry_sdk::trace::Span, _context: &opentelemetry::Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            self.0.take_span();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exceeds_the_capacity_is_dropped() {
        let started = Instant::now();
        let mut state = State { started, drained: started, queued: 0.0, received: 0, dropped: 0 };
        // Three times the capacity for one second.
        for i in 0..4_500u32 {
            state.take_span(started + Duration::from_secs(1) * i / 4_500);
        }
        assert_eq!(state.received, 4_500);
        let accepted = f64::from(u32::try_from(state.received - state.dropped).expect("small"));
        assert!((accepted - 1_500.0 * (1.0 + QUEUE_SECONDS)).abs() < 10.0, "{accepted}");
    }
}
