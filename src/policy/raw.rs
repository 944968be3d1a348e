//! A policy file as it is written: every key optional, nothing checked but its type. `flyball schema policy` prints
//! this shape, and its comments are the reference of the keys. All of them are reloadable.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::document::values::{AutoOr, DurationText};

/// One tracing pipeline: its signals, its budget, its services. Required are `policy` and, under `signals`, `demand`,
/// `received` and `dropped`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawPolicy {
    /// The policy's name, unique in its folder: 1 to 64 characters of `A-Z a-z 0-9 _ . -`. Label of metrics. Required.
    pub policy: Option<String>,
    /// What to ask the source.
    pub signals: Option<RawSignals>,
    /// `adaptive`: budget over demand, shared fairly, with loss measuring the capacity. `threshold`: the baseline, each
    /// service on its own. `fixed`: `probability.initial` for all. Default `adaptive`.
    pub law: Option<RawLaw>,
    /// `active`: decide, explain, serve. `dry_run`: decide and explain, and serve what was served before. Default
    /// `active`.
    pub mode: Option<RawMode>,
    /// Bounds and starting points of every probability.
    pub probability: Option<RawBounds>,
    /// Age of the input beyond which `min(held, fallback)` is served, 1s to 7d; until then the last probability is
    /// held. Longer rides out longer outages of the source on old knowledge; shorter gives up sooner. Default 5m.
    pub max_age: Option<DurationText>,
    /// Share of the received spans that may be lost before the budget is cut, 0.0001 to 0.5. 0.01 tolerates 10 of 1000.
    /// Lower cuts on noise; higher tolerates loss. Default 0.01.
    pub loss_target: Option<f64>,
    /// What the services share.
    pub budget: Option<RawBudget>,
    /// Spans that one sampled root causes, 1 to 100000: joins demand, in requests, to the budget, in spans. `auto`
    /// measures received / sum(demand x probability), one number a policy. Default `auto`.
    pub spans_per_trace: Option<AutoOr>,
    /// Constants of `law: adaptive`.
    pub adaptive: Option<RawAdaptive>,
    /// Constants of `law: threshold`.
    pub threshold: Option<RawThreshold>,
    /// Which services the policy governs and how; the first match wins, at most 1000. Globs: `*` is any run of
    /// characters, `?` is one. Two policies whose globs can meet are refused. Without it, every service that demand
    /// names is a root of weight 1.
    pub services: Option<Vec<RawService>>,
}

/// Which law decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawLaw {
    /// Budget over demand.
    Adaptive,
    /// The baseline.
    Threshold,
    /// `probability.initial` for all.
    Fixed,
}

/// How decisions take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawMode {
    /// Decide, explain, serve.
    Active,
    /// Decide and explain.
    DryRun,
}

/// Where a signal comes from, if not from what is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawFrom {
    /// `source.otlp`.
    Otlp,
}

/// What to ask the source: each signal is PromQL (`query`) or a counter (`counter`, `match`, `by`, `window`). A query
/// of the form `sum [by (L)] (rate(SELECTOR[W]))` is read as a counter too, that is from raw samples.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawSignals {
    /// Root requests/s by service and operation, *unsampled*: from the services' own request metrics, never from
    /// sampled spans. Required.
    pub demand: Option<RawDemand>,
    /// Everything offered to the tracing backend, dropped included. Required.
    pub received: Option<RawReceived>,
    /// What of that was dropped. Absent beside a present `received` means no loss. Required.
    pub dropped: Option<RawSignal>,
    /// Age of the newest demand sample in seconds, for a query that is not read as a counter:
    /// `time() - max(timestamp(http_server_requests_total))`. Without it a dead exporter is not seen.
    pub freshness: Option<RawFreshness>,
}

/// Demand, and the labels that name what it counts.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawDemand {
    /// PromQL; either this or `counter`.
    pub query: Option<String>,
    /// A counter's name.
    pub counter: Option<String>,
    /// Which of its series: `{job: shop}` is equality, `{job: "!=shop"}`, `{job: "=~shop|cart"}` and `{job: "!~test.*"}`
    /// are PromQL's other comparisons, and `{job: "==~x"}` is equality with `=~x`.
    #[serde(rename = "match")]
    pub matchers: Option<BTreeMap<String, String>>,
    /// Labels to sum by: the service's, and the operation's where there is one.
    pub by: Option<Vec<String>>,
    /// Window of the rate where raw samples cannot be read, 5s to 1h: at least four scrape intervals. Default 1m.
    pub window: Option<DurationText>,
    /// `otlp`: pushed to `source.otlp`. Then names may be OTLP's (`http.server.request.duration`, whose count is read;
    /// `service.name`) or Prometheus' for the same (`http_server_request_duration_seconds_count`, `job`). Default: asked
    /// of `source.prometheus` or `source.scrape`.
    pub from: Option<RawFrom>,
    /// A metric that is known to count sampled spans (span metrics, service graphs, spans received by a backend) is
    /// refused as demand: the lower the probability, the lower it looks. `true` takes it, for counts that are adjusted:
    /// made before the sampling, or scaled back by the probability. Default false.
    pub adjusted: Option<bool>,
    /// Label that names the service. Default: the only label of `by`, or `service`.
    pub service_label: Option<String>,
    /// Label that names the operation. Default: `operation` if it is in `by`, else none.
    pub operation_label: Option<String>,
}

/// What was received.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawReceived {
    /// PromQL; either this or `counter`.
    pub query: Option<String>,
    /// A counter's name, all its series summed.
    pub counter: Option<String>,
    /// Which of its series, as in `demand`.
    #[serde(rename = "match")]
    pub matchers: Option<BTreeMap<String, String>>,
    /// Window of the rate where raw samples cannot be read, 5s to 1h. Default 1m.
    pub window: Option<DurationText>,
    /// `otlp`: pushed to `source.otlp`, as in `demand`.
    pub from: Option<RawFrom>,
    /// What `received` and `dropped` count: `spans` or `traces`. Default `spans`.
    pub unit: Option<RawUnit>,
}

/// What was dropped.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawSignal {
    /// PromQL; either this or `counter`.
    pub query: Option<String>,
    /// A counter's name, all its series summed.
    pub counter: Option<String>,
    /// Which of its series, as in `demand`.
    #[serde(rename = "match")]
    pub matchers: Option<BTreeMap<String, String>>,
    /// Window of the rate where raw samples cannot be read, 5s to 1h. Default 1m.
    pub window: Option<DurationText>,
    /// `otlp`: pushed to `source.otlp`, as in `demand`.
    pub from: Option<RawFrom>,
}

/// How old the newest sample is.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawFreshness {
    /// PromQL whose value is an age in seconds.
    pub query: Option<String>,
}

/// What a counter of spans counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawUnit {
    /// Spans.
    Spans,
    /// Whole traces.
    Traces,
}

/// `min <= initial <= max` and `min <= fallback <= max`, each in [0, 1].
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawBounds {
    /// No decision is lower, except an operation's fixed one or a pin. 0.001 keeps one of 1000 requests. 0 lets a
    /// service go dark. Default 0.001.
    pub min: Option<f64>,
    /// No decision is higher, except an operation's fixed one or a pin. Default 1.
    pub max: Option<f64>,
    /// Served until the first decision, and by `law: fixed`. Default 0.1, moved into [min, max].
    pub initial: Option<f64>,
    /// Served at most, once input is older than `max_age`. Default 0.01, moved into [min, max].
    pub fallback: Option<f64>,
}

/// Spans/s that the roots share; `min <= max`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawBudget {
    /// A fixed budget, or `auto`: learn the backend's capacity from its loss. Default `auto`.
    pub spans_per_second: Option<AutoOr>,
    /// The budget never goes lower, whatever is lost: 0.001 to 1e12. Default 50, or `spans_per_second` if that is less.
    pub min: Option<f64>,
    /// The budget never goes higher, however little is lost: 0.001 to 1e12. Default 1000000, or `spans_per_second` if
    /// that is more.
    pub max: Option<f64>,
}

/// Constants of the adaptive law.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawAdaptive {
    /// Share of a measured capacity that the budget stays below it, 0 to 0.5. 0.03 uses 97 % of what the backend
    /// bears. Higher loses less in bursts and wastes more. Default 0.03.
    pub headroom: Option<f64>,
    /// Smallest relative rise of a probability that is worth a command, 0 to 1. 0.08 lets 0.100 rise to 0.108 or more,
    /// not to 0.107. Higher halves the commands and costs utilization. Falls are never held back. Default 0.08.
    pub dead_band: Option<f64>,
}

/// Constants of the threshold law: p = 1; where loss_ratio > loss, p *= max(floor, 1 - gain x loss_ratio); where demand
/// > demand_per_second, p *= max(floor, demand_per_second / demand).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawThreshold {
    /// Loss ratio above which everything is cut, 0 to 1. Default 0.01.
    pub loss: Option<f64>,
    /// How hard, 0 to 1000: with 50, a loss of 0.015 gives 0.25. Default 50.
    pub gain: Option<f64>,
    /// Requests/s of a service above which it is cut, 0.001 to 1e12. Default 500.
    pub demand_per_second: Option<f64>,
    /// Lowest value of either factor, 0 to 1. Default 0.1.
    pub floor: Option<f64>,
}

/// What applies to the services whose name matches.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawService {
    /// A glob over service names, at most 256 bytes. Required.
    #[serde(rename = "match")]
    pub pattern: Option<String>,
    /// Share of the budget relative to other roots, 0.000001 to 1000000. 3 gets three times what 1 gets, until it needs
    /// less. Default 1.
    pub weight: Option<f64>,
    /// Whether traces begin here. With parent-based sampling only the root's probability matters: `false` gets an
    /// answer and no share. Default true.
    pub root: Option<bool>,
    /// Traces/s that each matching service keeps, however small its share, while its demand allows: 0 to 1e9. Floors
    /// together may exceed the budget; then it is exceeded. Default 0.
    pub floor_traces_per_second: Option<f64>,
    /// A probability set by a person.
    pub pin: Option<RawPin>,
    /// Operations with rules of their own; the first match wins, at most 1000.
    pub operations: Option<Vec<RawOperation>>,
}

/// A probability set by a person.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawPin {
    /// Served as it is, outside the policy's bounds too: 0 to 1. Required.
    pub probability: Option<f64>,
    /// When the pin ends: a date of RFC 3339, `2026-12-01T00:00:00Z`. Default: when it is removed.
    pub until: Option<String>,
    /// Why, at most 256 characters. Required, because whoever finds the pin will ask.
    pub reason: Option<String>,
}

/// What applies to the operations whose name matches.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawOperation {
    /// A glob over operation names, at most 256 bytes. Required.
    #[serde(rename = "match")]
    pub pattern: Option<String>,
    /// A fixed probability, outside the policy's bounds too: 0 to 1. Default: the law decides.
    pub probability: Option<f64>,
    /// Share of the service's budget relative to its other operations, 0.000001 to 1000000. Default 1.
    pub weight: Option<f64>,
}
