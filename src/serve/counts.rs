//! Counters resolved once: the hot path adds to an atomic and takes no lock of a metric family.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use crate::telemetry::metrics::{Metrics, Protocol, ProtocolLabels, ServeLabels};

/// What is counted for one protocol.
#[derive(Debug)]
pub(super) struct Counts {
    /// Answers to services that a policy decided on.
    pub(super) known: Counter,
    /// Answers to everyone else.
    pub(super) stranger: Counter,
    /// Requests that name no service, or cannot be read.
    pub(super) invalid: Counter,
    /// Open connections.
    pub(super) connections: Gauge,
}

impl Counts {
    pub(super) fn new(metrics: &Metrics, protocol: Protocol) -> Self {
        let requests = |outcome| metrics.serve_requests.get_or_create_owned(&ServeLabels { protocol, outcome });
        Self {
            known: requests("known"),
            stranger: requests("stranger"),
            invalid: requests("invalid"),
            connections: metrics.serve_connections.get_or_create_owned(&ProtocolLabels { protocol }),
        }
    }
}

/// Counts one on a gauge for as long as it lives.
#[derive(Debug)]
pub(super) struct Open(Gauge);

impl Open {
    pub(super) fn on(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
