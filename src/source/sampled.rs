//! Metrics that count spans after sampling. As demand they close the wrong loop: the lower the probability, the fewer
//! spans, the lower the demand looks, the higher the probability that it allows.
//!
//! Told by name: the span-metrics and service-graph connectors of the OpenTelemetry Collector (with and without their
//! default namespace), Tempo's metrics generator, and what collectors and backends count of the spans that reach them.
//! Over OTLP the instrumentation scope tells a connector as well, whatever namespace it was given.
//!
//! Limits: a recording rule under a name of its own hides what it was made from.

/// Anywhere in a name.
const PARTS: [&str; 5] = ["spanmetrics", "span_metrics", "service_graph", "servicegraph", "trace_span_count"];

/// The span-metrics connector's names without a namespace, suffixes aside.
const BARE: [&str; 1] = ["calls"];

/// What counts spans or traces under these is downstream of the sampling.
const BACKENDS: [&str; 3] = ["otelcol_", "jaeger_collector_", "tempo_"];

/// Whether the metric is known to count sampled spans, in OTLP's spelling or Prometheus'.
pub fn counts_sampled_spans(metric: &str) -> bool {
    let name = metric.to_ascii_lowercase().replace(['.', '-', '/'], "_");
    let is_bare = BARE.contains(&name.trim_end_matches("_total"));
    let is_backends =
        BACKENDS.iter().any(|start| name.starts_with(start)) && (name.contains("span") || name.contains("trace"));
    is_bare || is_backends || PARTS.iter().any(|part| name.contains(part))
}

/// Whether an OTLP instrumentation scope belongs to something that makes metrics of spans.
pub(super) fn derives_from_spans(scope: &str) -> bool {
    let scope = scope.to_ascii_lowercase();
    ["spanmetrics", "servicegraph", "span_metrics", "service_graph"].iter().any(|part| scope.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_spans_is_told_by_name_and_what_counts_requests_is_not() {
        for sampled in [
            "traces_spanmetrics_calls_total",
            "traces.span.metrics.calls",
            "traces_span_metrics_duration_milliseconds_count",
            "traces_spanmetrics_latency_count",
            "traces_service_graph_request_total",
            "calls",
            "calls_total",
            "otelcol_receiver_accepted_spans_total",
            "otelcol_connector_spanmetrics_x",
            "jaeger_collector_traces_received_total",
            "tempo_distributor_spans_received_total",
        ] {
            assert!(counts_sampled_spans(sampled), "{sampled}");
        }
        for true_demand in [
            "http_server_requests_total",
            "http.server.request.duration",
            "http_server_request_duration_seconds_count",
            "rpc.server.duration",
            "grpc_server_handled_total",
            "api_calls_total",
            "jaeger_tracer_traces_total",
            "istio_requests_total",
            "traefik_service_requests_total",
            "timespan_total",
        ] {
            assert!(!counts_sampled_spans(true_demand), "{true_demand}");
        }
    }

    #[test]
    fn a_connector_is_told_by_its_scope() {
        assert!(derives_from_spans("spanmetricsconnector"));
        assert!(derives_from_spans(
            "github.com/open-telemetry/opentelemetry-collector-contrib/connector/spanmetricsconnector"
        ));
        assert!(!derives_from_spans("io.opentelemetry.http"));
    }
}
