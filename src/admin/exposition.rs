//! `/metrics`: the process's own counters, and what the snapshot in force says, read when asked, so that a metric can
//! never disagree with what is served.
//!
//! Series a service are bounded: above [`SERVICES_MAX`] services the rest are only counted. Those listed are the first
//! by policy and name and not the busiest, because a series that comes and goes with its rank is of no use in a graph.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::case::source_age;
use super::monitored::MonitorCollector;
use super::paced::FleetCollector;
use super::status::MONITOR;
use super::{AdminState, process};
use crate::controller::snapshot::{Published, Snapshot};
use crate::fleet::down::DoorsDown;
use crate::monitor::board::Board;
use crate::sampling::decision::{PolicyDecision, Reason, ServiceDecision};
use crate::time::Clock;

/// Services with series of their own, over all policies; two series each.
const SERVICES_MAX: usize = 10_000;

/// Always there, 0 when not in force, so that an alert on them is an alert from the start.
const DEGRADED: [Reason; 7] = [
    Reason::Restored,
    Reason::Stale,
    Reason::DemandAbsent,
    Reason::Outage,
    Reason::Partial,
    Reason::PipelineAbsent,
    Reason::Fallback,
];

/// Of the answer that Prometheus asks for by itself.
pub(super) const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Of the answer for what knows the older format only.
pub(super) const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that `/metrics` shows.
pub(super) fn registry(state: &AdminState) -> Registry {
    let (mut registry, clock) = (Registry::default(), state.clock);
    let (published, monitor) = (Arc::clone(&state.published), state.monitor.clone());
    state.metrics.register(&mut registry);
    registry.register("flyball_build", "What is running", Info::new([("version", state.version)]));
    registry.register_collector(Box::new(MonitorCollector(monitor.clone())));
    registry.register_collector(Box::new(FleetCollector(state.fleet.clone())));
    if let Some(gateways) = &state.fleet.gateways {
        gateways.register(&mut registry);
    }
    state.fleet.alerts.register(&mut registry);
    let down = state.fleet.down.clone();
    registry.register_collector(Box::new(SnapshotCollector { published, monitor, down, clock }));
    registry.register_collector(Box::new(process::ProcessCollector::new(clock)));
    registry
}

/// Quantiles are a summary's, or linters take their label for a mistake; the library knows no summaries and writes them
/// as gauges.
const SUMMARIES: [&str; 1] = ["# TYPE flyball_nat_lifetime_seconds "];

/// The registry as OpenMetrics text.
pub(super) fn openmetrics(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).expect("a string takes all");
    for head in SUMMARIES {
        text = text.replacen(&format!("{head}gauge\n"), &format!("{head}summary\n"), 1);
    }
    text
}

/// The same in the format before OpenMetrics, in which a counter's and an info's metadata carry the sample's own name.
pub(super) fn prometheus_text(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let mut help = None;
    for line in openmetrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), Some(words)) => help = Some((name, words)),
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    "unknown" => ("", "untyped"),
                    kind => ("", kind),
                };
                if let Some((_, words)) = help.take().filter(|(of, _)| *of == name) {
                    text.push_str(&format!("# HELP {name}{suffix} {words}\n"));
                }
                text.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
            }
            (Some("#"), ..) => {}
            _ => text.extend([line, "\n"]),
        }
    }
    text
}

/// Whether the client asks for the older format and does not know OpenMetrics.
pub(super) fn wants_prometheus_text(accept: &str) -> bool {
    accept.contains("text/plain") && !accept.contains("application/openmetrics-text")
}

/// One gauge and its series.
pub(super) fn gauge<'a, L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    series: impl IntoIterator<Item = (L, Option<f64>)> + 'a,
) -> fmt::Result {
    let mut gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in series {
        if let Some(value) = value {
            let series: MetricEncoder<'_> = gauge.encode_family(&labels)?;
            ConstGauge::new(value).encode(series)?;
        }
    }
    Ok(())
}

/// A gauge without labels.
pub(super) fn single(encoder: &mut DescriptorEncoder<'_>, (name, help): (&str, &str), value: f64) -> fmt::Result {
    let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    ConstGauge::new(value).encode(gauge)
}

/// What the snapshot says.
#[derive(Debug)]
struct SnapshotCollector {
    published: Arc<Published>,
    monitor: Board,
    down: DoorsDown,
    clock: Clock,
}

impl Collector for SnapshotCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let snapshot = self.published.load_full();
        services(&mut encoder, &snapshot)?;
        policies(&mut encoder, &snapshot, self.clock)?;
        let rooms = std::iter::once((MONITOR, self.monitor.is_blind())).chain(self.down.all());
        degraded(&mut encoder, &snapshot.degraded(), rooms)?;
        let generation = ("flyball_snapshot_generation", "Generation of the snapshot in force");
        single(&mut encoder, generation, snapshot.generation as f64)
    }
}

fn services(encoder: &mut DescriptorEncoder<'_>, snapshot: &Snapshot) -> fmt::Result {
    let all =
        || snapshot.decisions.iter().flat_map(|policy| policy.services.iter().map(move |service| (policy, service)));
    let series = |value: fn(&ServiceDecision) -> Option<f64>| {
        all().take(SERVICES_MAX).map(move |(policy, service)| {
            ([("policy", policy.policy.as_ref()), ("service", service.service.as_ref())], value(service))
        })
    };
    let probability =
        ("flyball_sampling_probability", "Share of a service's root spans that its SDKs are told to sample");
    gauge(encoder, probability, series(|service| Some(service.rate.served.get())))?;
    let demand = ("flyball_sampling_demand_per_second", "Root requests of a service, unsampled");
    gauge(encoder, demand, series(|service| service.demand_per_second))?;
    let count: usize = snapshot.decisions.iter().map(|policy| policy.services.len()).sum();
    let unlisted = ("flyball_sampling_services_unlisted", "Services that have decisions and no series of their own");
    single(encoder, unlisted, count.saturating_sub(SERVICES_MAX) as f64)
}

fn policies(encoder: &mut DescriptorEncoder<'_>, snapshot: &Snapshot, clock: Clock) -> fmt::Result {
    let now = clock.now().wall;
    let mut family = |metric, value: &dyn Fn(&PolicyDecision) -> Option<f64>| {
        let series = snapshot.decisions.iter().map(|policy| ([("policy", policy.policy.as_ref())], value(policy)));
        gauge(encoder, metric, series)
    };
    let loss = ("flyball_sampling_loss_ratio", "Share of what the backend received that it dropped");
    family(loss, &|policy| policy.inputs.loss_ratio)?;
    let budget = ("flyball_sampling_budget_spans_per_second", "Spans that the roots of a policy share");
    family(budget, &|policy| policy.inputs.budget_spans_per_second)?;
    let age = ("flyball_source_age_seconds", "Age of the newest demand that a policy was decided from");
    family(age, &|policy| source_age(policy, now).map(|age| age.as_secs_f64()))
}

fn degraded(
    encoder: &mut DescriptorEncoder<'_>,
    in_force: &[Reason],
    rooms: impl Iterator<Item = (&'static str, bool)>,
) -> fmt::Result {
    let mut reasons: Vec<Reason> = DEGRADED.iter().chain(in_force).copied().collect();
    reasons.sort_unstable();
    reasons.dedup();
    let of_policies = reasons.iter().map(|reason| (reason.as_str(), in_force.contains(reason)));
    let all = of_policies.chain(rooms);
    let series = all.map(|(reason, is_in_force)| ([("reason", reason)], Some(f64::from(u8::from(is_in_force)))));
    gauge(encoder, ("flyball_degraded", "1 for each reason why something decides on less than it should"), series)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::sample;
    use crate::time::WallTime;

    fn text(decisions: Vec<Arc<PolicyDecision>>) -> String {
        let mut snapshot = Snapshot::empty(7, WallTime::from_unix_ms(0));
        snapshot.decisions = decisions;
        openmetrics(&registry(&sample::state(snapshot)))
    }

    #[test]
    fn the_snapshot_is_read_off_under_the_contracts_names() {
        let text = text(vec![Arc::new(sample::policy())]);
        for line in [
            r#"flyball_sampling_probability{policy="shop",service="checkout"} 0.25"#,
            r#"flyball_sampling_demand_per_second{policy="shop",service="checkout"} 500.0"#,
            r#"flyball_sampling_loss_ratio{policy="shop"} 0.002"#,
            r#"flyball_sampling_budget_spans_per_second{policy="shop"} 6000.0"#,
            r#"flyball_degraded{reason="stale"} 0.0"#,
            r#"flyball_degraded{reason="monitor"} 0.0"#,
            "flyball_snapshot_generation 7.0",
            r#"flyball_build_info{version="1.2.3"} 1"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in:\n{text}");
        }
        assert!(text.contains(r#"flyball_source_age_seconds{policy="shop"} "#) && text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_reason_in_force_is_one_even_where_it_is_not_a_usual_one() {
        let mut policy = sample::policy();
        policy.degraded = Some(Reason::Stale);
        let mut other = sample::policy();
        other.degraded = Some(Reason::Initial);
        let text = text(vec![Arc::new(policy), Arc::new(other)]);
        assert!(text.contains(r#"flyball_degraded{reason="stale"} 1.0"#), "{text}");
        assert!(text.contains(r#"flyball_degraded{reason="initial"} 1.0"#), "{text}");
        assert!(text.contains(r#"flyball_degraded{reason="outage"} 0.0"#), "{text}");
    }

    #[test]
    fn services_above_the_bound_are_counted_and_not_listed() {
        let mut policy = sample::policy();
        let service = policy.services[0].clone();
        let named = |i: usize| ServiceDecision { service: format!("s{i:05}").into(), ..service.clone() };
        policy.services = (0..SERVICES_MAX + 3).map(named).collect();
        let text = text(vec![Arc::new(policy)]);
        assert_eq!(text.matches("flyball_sampling_probability{").count(), SERVICES_MAX);
        assert!(text.contains("flyball_sampling_services_unlisted 3.0"));
    }

    #[test]
    fn the_older_format_names_metadata_as_it_names_samples() {
        let openmetrics = "# HELP a_b Help.\n# TYPE a_b counter\na_b_total{x=\"# EOF\"} 1\n# HELP c Build.\n\
                           # TYPE c info\nc_info 1\n# HELP d D.\n# TYPE d gauge\n# UNIT d s\nd 2\n# EOF\n";
        let expected = "# HELP a_b_total Help.\n# TYPE a_b_total counter\na_b_total{x=\"# EOF\"} 1\n\
                        # HELP c_info Build.\n# TYPE c_info gauge\nc_info 1\n# HELP d D.\n# TYPE d gauge\nd 2\n";
        assert_eq!(prometheus_text(openmetrics), expected);
    }

    #[test]
    fn only_a_client_that_does_not_know_openmetrics_gets_the_older_format() {
        assert!(wants_prometheus_text("text/plain;version=0.0.4, */*;q=0.1"));
        for accept in ["", "*/*", "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"] {
            assert!(!wants_prometheus_text(accept), "{accept}");
        }
    }
}
