//! Our own counters. What can be read off the snapshot (probabilities, demand, ages) is not here: it is read when
//! `/metrics` is asked, so that it can never disagree with what is served.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Every counter of the process. Cheap to clone: clones share the values.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Decisions by policy and reason, one for each service and tick.
    pub decisions: Family<DecisionLabels, Counter>,
    /// Queries to the source by how they ended.
    pub source_queries: Family<OutcomeLabels, Counter>,
    /// Answers of the source that carried warnings.
    pub source_warnings: Counter,
    /// Values of the source that were not numbers a rate can be made of, and were left out.
    pub source_rejected_values: Counter,
    /// Points pushed over OTLP by what became of them.
    pub otlp_points: Family<OutcomeLabels, Counter>,
    /// Requests over OTLP by how they were answered.
    pub otlp_requests: Family<OutcomeLabels, Counter>,
    /// 1 if the last reload of the policies succeeded, 0 if the set before it is still in force.
    pub reload_success: Gauge,
    /// Requests for a strategy by protocol and outcome.
    pub serve_requests: Family<ServeLabels, Counter>,
    /// Open connections by protocol.
    pub serve_connections: Family<ProtocolLabels, Gauge>,
    /// Open push streams.
    pub serve_streams: Gauge,
    /// Length of the last tick in seconds, from the first query to publication.
    pub tick_seconds: Gauge<f64, AtomicU64>,
}

/// Labels of a decision; both bounded: policies are files, reasons an enum.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DecisionLabels {
    /// The policy's name.
    pub policy: String,
    /// `Reason::as_str`.
    pub reason: &'static str,
}

/// How a query to the source ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    /// `ok`, or the kind of error.
    pub outcome: &'static str,
}

/// A request for a strategy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ServeLabels {
    /// What it was asked over.
    pub protocol: Protocol,
    /// `known`, `stranger` or `invalid`.
    pub outcome: &'static str,
}

/// What is spoken on a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ProtocolLabels {
    /// What is spoken.
    pub protocol: Protocol,
}

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types)]
pub enum Protocol {
    /// Jaeger remote sampling over HTTP.
    http,
    /// Jaeger remote sampling and the push stream over gRPC.
    grpc,
}

impl Metrics {
    /// Registers every counter under the prefix `flyball`.
    pub fn register(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("flyball");
        r.register("sampling_decisions", "Decisions by policy and reason", self.decisions.clone());
        r.register("source_queries", "Queries to the source by outcome", self.source_queries.clone());
        r.register("source_warnings", "Answers of the source that carried warnings", self.source_warnings.clone());
        r.register("source_rejected_values", "Values of the source left out", self.source_rejected_values.clone());
        r.register("otlp_points", "Points pushed over OTLP by outcome", self.otlp_points.clone());
        r.register("otlp_requests", "Requests over OTLP by outcome", self.otlp_requests.clone());
        r.register("reload_success", "1 if the last reload of the policies succeeded", self.reload_success.clone());
        r.register("serve_requests", "Requests for a strategy", self.serve_requests.clone());
        r.register("serve_connections", "Open connections", self.serve_connections.clone());
        r.register("serve_streams", "Open push streams", self.serve_streams.clone());
        r.register("tick_seconds", "Length of the last tick", self.tick_seconds.clone());
    }
}
