//! The configuration file as it is written: every key optional, nothing checked but its type. `flyball schema config`
//! prints this shape, and its comments are the reference of the keys. None of them is reloadable: a change takes effect
//! at the next start.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::document::values::DurationText;

/// `flyball.yaml`. Each key has an environment twin: `FLYBALL__SOURCE__PROMETHEUS__URL` is `source.prometheus.url`;
/// lists are separated by commas. Flags win over the environment, the environment over the file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// Where traffic is read from: exactly one of `prometheus` and `scrape`, and `otlp` beside it or alone.
    pub source: Option<RawSource>,
    /// Folder of the policy files, relative to this file's own folder. Default `policies/`.
    pub policies: Option<String>,
    /// Where SDKs are answered.
    pub serve: Option<RawServe>,
    /// Where operators are answered.
    pub admin: Option<RawAdmin>,
    /// The monitor in the kernel: gaps and lost NAT bindings of edge devices. Without it, nothing is watched.
    pub monitor: Option<RawMonitor>,
    /// The second loop: where devices are answered, and what is known of them. Without it, no device is paced.
    pub fleet: Option<RawFleet>,
    /// Whom the alarm of a cohort is told to. Without it, it is only logged and counted.
    pub alerts: Option<RawAlerts>,
    /// What survives a restart. Without it, probabilities start at `initial` after each restart.
    pub state: Option<RawState>,
    /// How this process logs.
    pub log: Option<RawLog>,
}

/// Exactly one of `prometheus` and `scrape`, and `otlp` beside it; `otlp` alone where every signal of every policy says
/// `from: otlp`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawSource {
    /// Any Prometheus-compatible API: Prometheus, Thanos, Mimir, VictoriaMetrics.
    pub prometheus: Option<RawPrometheus>,
    /// Metrics endpoints that Flyball reads itself: no Prometheus needed.
    pub scrape: Option<RawScrape>,
    /// Counts that SDKs and collectors push, for the signals that say `from: otlp`.
    pub otlp: Option<RawOtlp>,
}

/// How to ask a Prometheus-compatible API.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawPrometheus {
    /// Base URL, `http` or `https`, without credentials; `/api/v1/query` is appended. Required.
    pub url: Option<String>,
    /// Mean time between two decisions, 100ms to 10m. Each is placed just behind a scrape where the samples tell when that
    /// is, at most half the interval sooner or later. Shorter than the scrape interval of the queried metrics gains
    /// nothing: no new samples arrive. Longer adds half of itself to the reaction time. Default 5s, a common fast scrape.
    pub poll_interval: Option<DurationText>,
    /// Bound on each query, connection included, 10ms to `poll_interval`. A query that takes longer counts as no
    /// answer. Default 3s, or `poll_interval` where that is shorter.
    pub timeout: Option<DurationText>,
    /// Credentials, only ever from files, which are read again at each query.
    pub auth: Option<RawAuth>,
    /// Trust and client certificate.
    pub tls: Option<RawTls>,
    /// Sent with each query, `{X-Scope-OrgID: tenant}` for multi-tenant stores. In the environment `_` stands for `-`.
    pub headers: Option<BTreeMap<String, String>>,
    /// Above this many series raw samples are not read and the rate is left to the server, at the price of its window
    /// as dead time. 20,000 series are about 10 MB an answer. Higher reacts faster and loads the server more. 1 to
    /// 1,000,000, default 20000.
    pub raw_series_max: Option<usize>,
    /// Largest answer that is read, in bytes after decompression: 65536 to 1073741824, default 33554432 (32 MiB). A
    /// larger one counts as no answer.
    pub body_max_bytes: Option<usize>,
    /// Queries a second at most, over all policies: 1 to 10000, default 20. A policy asks up to 4 queries a tick.
    pub queries_per_second: Option<u32>,
}

/// One of the two.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawAuth {
    /// `Authorization: Bearer`, with this file's content.
    pub bearer_token_file: Option<String>,
    /// `Authorization: Basic`.
    pub basic: Option<RawBasic>,
}

/// Basic authentication; both are required.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawBasic {
    /// In clear text, without a colon.
    pub username: Option<String>,
    /// The password is this file's content without trailing line ends.
    pub password_file: Option<String>,
}

/// PEM files.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawTls {
    /// Trusted roots. Default: the system's.
    pub ca_file: Option<String>,
    /// Client certificate chain; comes with `key_file`.
    pub cert_file: Option<String>,
    /// Client private key; comes with `cert_file`.
    pub key_file: Option<String>,
}

/// Metrics endpoints that Flyball reads itself, in the Prometheus text format or OpenMetrics.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawScrape {
    /// URLs, at least one and at most 1000: `["http://127.0.0.1:9100/metrics"]`.
    pub targets: Option<Vec<String>>,
    /// Time between two scrapes, and two decisions, 100ms to 10m. 1s loses a quarter of the spans that 5s loses in a
    /// tenfold surge. Default 5s.
    pub interval: Option<DurationText>,
    /// Bound on each scrape, 10ms to `interval`. Default 3s, or `interval` where that is shorter.
    pub timeout: Option<DurationText>,
    /// Largest body that is read, in bytes: 65536 to 1073741824, default 33554432 (32 MiB).
    pub body_max_bytes: Option<usize>,
}

/// Counts pushed over OTLP: gRPC and HTTP (protobuf or JSON, gzip or not) on one port. Not encrypted, not authenticated:
/// who may connect is the network's decision.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawOtlp {
    /// Where SDKs and collectors push: `host:port`. Default `127.0.0.1:4317`.
    pub listen: Option<String>,
    /// Time between two decisions where `otlp` is the only source, 100ms to 10m; beside another source that one's
    /// interval counts. Shorter than the export interval of the SDKs (`OTEL_METRIC_EXPORT_INTERVAL`, 60s unless set)
    /// gains nothing: set that to 5s first. Default 5s.
    pub interval: Option<DurationText>,
    /// Largest request that is read, in bytes after decompression: 65536 to 67108864, default 4194304 (4 MiB), gRPC's
    /// own default. A larger one is refused, and its sender told.
    pub body_max_bytes: Option<usize>,
}

/// Where SDKs are answered: `host:port`, `[::1]:port`, or a name. A name is resolved once, at start.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawServe {
    /// Jaeger remote sampling over HTTP. Default `127.0.0.1:5778`, where SDKs look for it.
    pub http: Option<String>,
    /// Jaeger remote sampling, health and the push stream over gRPC. Default `["127.0.0.1:5779", "127.0.0.1:14250"]`,
    /// the ports of Jaeger v2 and v1.
    pub grpc: Option<Vec<String>>,
    /// Connections in all, over every address; more wait in the kernel's queue until one closes. Each costs a file
    /// descriptor and some 20 KB. 16 to 1,000,000, default 20000: twice 10,000 pollers behind one address.
    pub connections_max: Option<usize>,
    /// Concurrent requests and streams of one gRPC connection: 1 to 10000, default 256, because an SDK needs two.
    pub streams_per_connection_max: Option<u32>,
}

/// Where operators are answered.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawAdmin {
    /// Dashboard, API, health and metrics. Default `127.0.0.1:5780`.
    pub listen: Option<String>,
    /// Bearer tokens that may write, one `name:token` or bare token a line. Without it only loopback may write.
    pub token_file: Option<String>,
}

/// What the monitor watches. It needs CAP_BPF and CAP_NET_ADMIN; where it cannot attach, everything else runs, and
/// `/readyz` says `monitor` among what is degraded.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawMonitor {
    /// Interfaces that the devices' packets come in by, 1 to 64: `[eth0]`. Behind a load balancer, those of the server
    /// itself. Required.
    pub interfaces: Option<Vec<String>>,
    /// Where a payload names its device: `heartbeat` (Flyball's own datagram), `offset:N,len:M` (M bytes at byte N of any
    /// UDP payload), `quic:LEN[,prefix:M]` (a server-issued connection id of LEN bytes, whose first M are the device's),
    /// `dtls12:LEN` or `dtls13:LEN` (connection ids). Default `heartbeat`.
    pub key: Option<String>,
    /// Watched ports, 1 to 1024 of them: of UDP for devices, of TCP for connections. Default `[5783]`.
    pub ports: Option<Vec<u16>>,
    /// A gap between two packets of a device from here on is an event, 100ms to 24h; shorter ones are counted. Set below
    /// the devices' interval every heartbeat is an event. Default 30s, for which most NATs keep a binding that nothing
    /// answered.
    pub gap: Option<DurationText>,
    /// Devices that are kept, 1 to 16,000,000; the kernel takes some 250 bytes for each at once. Beyond, the least
    /// recently seen make room, approximately: set 1.5 times the fleet. Default 1000000.
    pub devices: Option<u32>,
}

/// Where devices are answered, and what is known of them. How they are paced is in fleet files, in the folder of the
/// policies. With neither `heartbeat` nor `grpc` cohorts are learnt from what the monitor sees, and nobody is told.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawFleet {
    /// Heartbeats over UDP: `host:port`. Devices that are not on this machine need another address than loopback:
    /// `0.0.0.0:5783`, or `[::]:5783` for IPv6 too. Default: not answered.
    pub heartbeat: Option<String>,
    /// Streams of gateways over gRPC, `flyball.v1.Keepalive/Watch`: `host:port`. Default: not answered.
    pub grpc: Option<String>,
    /// What the devices' keys are derived from: lines `KEYID:64 hex`, one at least, 16 at most; a reload reads them again. Let
    /// its owner only read it. Required beside `heartbeat` or `grpc`.
    pub master_key_file: Option<String>,
    /// A file of lines `prefix,carrier,region` under that line: which addresses are of which cohort. At most 1023
    /// cohorts. Without it what a device says of itself counts, and for the monitor all are of one cohort,
    /// `carrier=unknown,region=unknown`.
    pub prefixes: Option<String>,
    /// Devices that are kept, 1 to 16,000,000, some 300 bytes each once they are there. One more than that is not
    /// answered, and counted. Default 1000000.
    pub devices: Option<u32>,
    /// Threads that answer heartbeats, 1 to 8. A million devices at 90 s are 11,000 heartbeats/s, which one can answer;
    /// more are for the moment in which all of them come back at once. Default: one a core, at most 8.
    pub workers: Option<usize>,
    /// Gateways with a stream in all, 16 to 1,000,000, 23 KB each; more are refused and come again. Default 100000.
    pub sessions_max: Option<usize>,
}

/// Who hears of a cohort whose devices beat later than they are told; when that is stands in the fleet file, under `alarm`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawAlerts {
    /// An Alertmanager, or whatever speaks its API v2 (Grafana, Mimir).
    pub alertmanager: Option<RawAlertmanager>,
    /// Anything else: a signed POST, at most 16 of them.
    pub webhooks: Option<Vec<RawWebhook>>,
    /// Who looks after a region, `{north: team-north}`: the label `group` of its alarms. A region that is not here is its own
    /// group. At most 1000.
    pub groups: Option<BTreeMap<String, String>>,
    /// Messages a minute to each receiver, 1 to 6000; beyond, they wait their turn, and of those that wait for one cohort
    /// only the latest state is kept. Default 30.
    pub rate: Option<u32>,
    /// Where people find more: the address of this Flyball's page, or a dashboard. Default: none.
    pub link: Option<String>,
}

/// How Alertmanager is reached.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawAlertmanager {
    /// Base URL, `http` or `https`, without credentials; `/api/v2/alerts` is appended. Required.
    pub url: Option<String>,
    /// Bound on each request, 10ms to 1m. Default 10s.
    pub timeout: Option<DurationText>,
    /// How often an open alarm is told again, 1s to 1h; one that is not, three times in a row, is over to Alertmanager. Default
    /// 1m.
    pub resend: Option<DurationText>,
    /// Credentials, only ever from files, which are read again at each request.
    pub auth: Option<RawAuth>,
    /// Trust and client certificate.
    pub tls: Option<RawTls>,
    /// Sent with each request, `{X-Scope-OrgID: tenant}`. In the environment `_` stands for `-`.
    pub headers: Option<BTreeMap<String, String>>,
}

/// One webhook.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawWebhook {
    /// Its name in metrics and logs, unique: 1 to 64 characters of `A-Z a-z 0-9 _ . -`. Required.
    pub name: Option<String>,
    /// Labels that a cohort must have, each with a glob: `{region: north}`; `group` is one too. At most 16. Default: every
    /// alarm.
    #[serde(rename = "match")]
    pub matches: Option<BTreeMap<String, String>>,
    /// Where it is told, `http` or `https`, without credentials. Required.
    pub url: Option<String>,
    /// The secret that each message is signed with: this file's content without trailing line ends, read again each time.
    /// Required.
    pub secret_file: Option<String>,
    /// Bound on each request, 10ms to 1m. Default 10s.
    pub timeout: Option<DurationText>,
    /// Trust and client certificate.
    pub tls: Option<RawTls>,
}

/// What survives a restart.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawState {
    /// Folder, made if it is not there; one process a folder. Required.
    pub path: Option<String>,
}

/// How this process logs.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawLog {
    /// `error`, `warn`, `info`, `debug`, `trace`, or by part: `info,flyball::source=debug`. Default `info`.
    pub filter: Option<String>,
    /// `text` for people, `json` for machines, one object a line. Default `text`.
    pub format: Option<RawLogFormat>,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawLogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
