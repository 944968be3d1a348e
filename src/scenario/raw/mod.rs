//! A scenario file as it is written: every key optional, nothing checked but its type. `flyball schema scenario` prints
//! this shape, and its comments are the reference of the keys.

pub mod fleet;
pub mod netem;
pub mod shape;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use self::fleet::RawFleetScenario;
use self::shape::RawLevel;
use crate::document::values::DurationText;
use crate::policy::raw::RawPolicy;
use crate::simulate::scenario::LawKind;

/// A scenario file: of the first loop, or of the second, which has the key `fleet`.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
pub enum RawScenarioFile {
    /// Services, their SDKs, and a tracing backend.
    Sampling(Box<RawScenario>),
    /// Devices, their carriers, and a server.
    Fleet(Box<RawFleetScenario>),
}

/// One plant, one policy, one verdict. Required are `services` and, under `backend`, `capacity`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawScenario {
    /// The scenario's name: 1 to 64 characters of `A-Z a-z 0-9 _ . -`. Default: the file's, without folder and ending.
    pub scenario: Option<String>,
    /// What it shows, in a sentence.
    pub about: Option<String>,
    /// Simulated time in all, 10s to 31d. Default: to the end of the longest recorded trace, else 15m.
    pub duration: Option<DurationText>,
    /// Time at the start that no metric counts: the law finds its first footing. Less than `duration`. Default 2m, or
    /// a quarter of `duration` if that is less.
    pub warmup: Option<DurationText>,
    /// What `settle_seconds` is counted from. Default: the earliest `at` of the shapes and faults that is not before
    /// `warmup`, else `warmup`.
    pub event_at: Option<DurationText>,
    /// Time over which `fairness` and `others_share` are judged. Default: all from `warmup`.
    pub fairness_window: Option<RawWindow>,
    /// Runs, with the seeds 1, 2, ...; checks are judged on the medians. 1 to 1000. Default 20.
    pub seeds: Option<u32>,
    /// Which law decides unless `--law` asks for another. Default: `policy.law`, else `adaptive`.
    pub law: Option<RawLawKind>,
    /// Time between two ticks of the controller, 100ms to 10m. Default 5s.
    pub tick: Option<DurationText>,
    /// Who sends; at least one root. Required.
    pub services: Option<Vec<RawPlan>>,
    /// Who receives. Required.
    pub backend: Option<RawBackend>,
    /// How the services learn what to sample.
    pub clients: Option<RawClients>,
    /// How the controller sees.
    pub scrape: Option<RawScrape>,
    /// What the law is given, in the words of a policy file, so that one can be pasted; `policy`, `mode` and `signals`
    /// mean nothing here. Default: every default.
    pub policy: Option<RawPolicy>,
    /// What goes wrong, at most 1000.
    pub faults: Option<Vec<RawFault>>,
    /// Metrics and the ranges that their medians must be in. `ratio.NAME` is the ratio to the oracle's.
    pub checks: Option<BTreeMap<String, RawRange>>,
}

/// Which law decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawLawKind {
    /// Flyball's own.
    Adaptive,
    /// `probability.initial` for all.
    Fixed,
    /// The paper's baseline.
    Threshold,
    /// As Jaeger's adaptive sampling is documented to behave.
    Jaeger,
    /// As Datadog's agent is documented to behave.
    Datadog,
    /// Additive increase, multiplicative decrease.
    Aimd,
    /// Knows capacity and demand at each scrape; has the dead time only.
    Oracle,
}

impl From<RawLawKind> for LawKind {
    fn from(raw: RawLawKind) -> Self {
        match raw {
            RawLawKind::Adaptive => Self::Adaptive,
            RawLawKind::Fixed => Self::Fixed,
            RawLawKind::Threshold => Self::Threshold,
            RawLawKind::Jaeger => Self::Jaeger,
            RawLawKind::Datadog => Self::Datadog,
            RawLawKind::Aimd => Self::Aimd,
            RawLawKind::Oracle => Self::Oracle,
        }
    }
}

/// A time after `event_at`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawWindow {
    /// Begins this long after `event_at`. Default 0s.
    pub from: Option<DurationText>,
    /// Ends this long after `event_at`; above `from`. Required.
    pub to: Option<DurationText>,
}

/// A range: at least one of the two.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawRange {
    /// Lowest allowed value.
    pub min: Option<f64>,
    /// Highest allowed value.
    pub max: Option<f64>,
}

/// One service, or a group of like ones.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawPlan {
    /// Its name, 1 to 128 bytes; with `count`, a name that contains `{i}`: 1, 2, ... Required.
    pub name: Option<String>,
    /// How many services this is, 1 to 10000. Default 1.
    pub count: Option<u32>,
    /// How the demand is spread over the group: the exponent of a Zipf law, 0 to 5. Service i gets a part in proportion
    /// to 1 / i^zipf; 0 = even. Default 0.
    pub zipf: Option<f64>,
    /// Requests/s, of the whole group together: a number, a shape, or a list of shapes that are added. Required.
    pub demand: Option<RawLevel>,
    /// How each service's demand is spread over its operations. Default: no operations are told.
    pub operations: Option<RawOperations>,
    /// Spans that one sampled root causes in all services together, 1 to 100000. Default 8.
    pub spans_per_trace: Option<f64>,
    /// Whether traces begin here. `false`: it samples as its callers did, and its demand is only shown. Default true.
    pub root: Option<bool>,
}

/// The operations of a service.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawOperations {
    /// How many, 1 to 1000. Required.
    pub count: Option<u32>,
    /// Exponent of the Zipf law of their sizes, 0 to 5; 0 = even. Default 1.
    pub zipf: Option<f64>,
}

/// The tracing backend.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawBackend {
    /// Spans/s that it bears: a number, a shape, or a list of shapes that are added. Required.
    pub capacity: Option<RawLevel>,
    /// What it can queue, in seconds of its capacity at the start, 0s to 10m. Default 1s.
    pub queue: Option<DurationText>,
    /// Whether its drop counter exists from the start, or from its first loss on. Default `from_start`.
    pub drop_counter: Option<RawDropCounter>,
}

/// Since when the drop counter exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawDropCounter {
    /// Always, at zero.
    FromStart,
    /// As many exporters do it: no series until there is something to count.
    AtFirstLoss,
}

/// The SDKs of all services. Decisions reach them by the stream or by polling: at most one of `stream` and `poll`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawClients {
    /// Processes a service, 1 to 10000. Default 40.
    pub instances: Option<u32>,
    /// Pushed: everyone has a decision after this, 0s to 10m. Default 600ms.
    pub stream: Option<DurationText>,
    /// Asked for: time between two questions of one instance, 1s to 1h. Default: the stream is used.
    pub poll: Option<DurationText>,
    /// With `poll`: all instances ask at the same moment, else each at its own phase. Default false.
    pub synchronised: Option<bool>,
    /// With the stream: each instance also keeps to its share of the service's budget. Default false.
    pub local_limit: Option<bool>,
    /// Part of the traffic whose processes are told nothing, 0 to 1. Default 0.
    pub ignoring: Option<f64>,
    /// What those sample with, 0 to 1. Default 1.
    pub ignoring_probability: Option<f64>,
    /// Mean life of a process, 10s to 365d. Default: they never restart.
    pub restart_every: Option<DurationText>,
    /// How unevenly a service's load is spread over its instances: the exponent of a Zipf law, 0 to 5; 0 = even.
    /// Default 0.
    pub skew: Option<f64>,
}

/// How the controller sees.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawScrape {
    /// Time between two samples of a series, 100ms to 10m. Default 5s.
    pub interval: Option<DurationText>,
    /// Part of the scrapes that fail, 0 to 0.95. Default 0.
    pub missed: Option<f64>,
    /// Each service is scraped at its own phase; else everything at one. Default false.
    pub spread: Option<bool>,
    /// Time from a sample to its being readable, 0s to 10m. Default 0s.
    pub visible_after: Option<DurationText>,
    /// The queries give `rate()` over this window, as a server computes it, 1s to 1h. Default: they give raw counters
    /// with their own timestamps.
    pub rate_window: Option<DurationText>,
    /// With `rate_window`: a freshness query tells the age. Default true.
    pub freshness: Option<bool>,
    /// The ticks follow the scrape's phase; else they come when they come. Default true.
    pub locked: Option<bool>,
}

/// Something that goes wrong: when, and exactly one of the kinds.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawFault {
    /// From when; before the end of the run. Required.
    pub at: Option<DurationText>,
    /// For how long. Default: to the end.
    #[serde(rename = "for")]
    pub lasts: Option<DurationText>,
    /// `true`: Prometheus is gone. No scrapes, no answers.
    pub prometheus_outage: Option<bool>,
    /// `true`: the exporters are gone. Prometheus answers, and has nothing new.
    pub dead_exporters: Option<bool>,
    /// `true`: the exporters show the same values again and again, with new timestamps.
    pub frozen_metrics: Option<bool>,
    /// The backend's capacity is multiplied by this, 0 to 1000.
    pub capacity_times: Option<f64>,
    /// One service's demand is multiplied.
    pub demand_times: Option<RawDemandTimes>,
    /// This part of all spans is lost whatever the load, 0 to 1.
    pub constant_loss: Option<f64>,
    /// The controller's wall clock is off by so many seconds, -1e9 to 1e9.
    pub clock_jump_seconds: Option<f64>,
}

/// A surge of one service.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawDemandTimes {
    /// The service; of a group, with its number: `svc-17`. Required.
    pub service: Option<String>,
    /// The factor, 0 to 100000. Required.
    pub factor: Option<f64>,
}
