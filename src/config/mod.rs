//! Process settings: file, environment and flags, merged once and validated once. This file is the validated shape
//! that the program uses; the raw shape that mirrors the file is beside it.

mod address;
mod alerts;
mod fleet;
pub mod layers;
pub mod load;
pub mod raw;
mod source;
mod timing;
mod validate;

pub use self::alerts::{AlertmanagerConfig, AlertsConfig, WebhookConfig};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use url::Url;

use crate::fleet::keys::MasterKeys;
use crate::monitor::prefixes::Prefixes;
use crate::monitor::settings::Settings as MonitorSettings;

/// Everything that `flyball run` needs to know before it starts.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where traffic is read from.
    pub source: Sources,
    /// Folder of the policy files.
    pub policies: PathBuf,
    /// Where SDKs are answered.
    pub serve: ServeConfig,
    /// Where operators are answered.
    pub admin: AdminConfig,
    /// What the monitor watches; `None` = nothing.
    pub monitor: Option<MonitorSettings>,
    /// Where devices are answered; `None` = the second loop is off.
    pub fleet: Option<FleetConfig>,
    /// Whom a cohort's alarm is told to; `None` = nobody, it is only logged.
    pub alerts: Option<AlertsConfig>,
    /// Folder of what survives a restart; `None` = memory only.
    pub state: Option<PathBuf>,
    /// How this process logs.
    pub log: LogConfig,
}

/// Where traffic is read from: at least one of the two.
#[derive(Debug, Clone)]
pub struct Sources {
    /// What is asked at each tick.
    pub asked: Option<SourceConfig>,
    /// Where counts are pushed to.
    pub otlp: Option<OtlpConfig>,
}

/// What is asked at each tick.
#[derive(Debug, Clone)]
pub enum SourceConfig {
    /// A Prometheus-compatible API.
    Prometheus(Box<PrometheusConfig>),
    /// Targets that Flyball scrapes itself.
    Scrape(ScrapeConfig),
}

impl From<SourceConfig> for Sources {
    fn from(asked: SourceConfig) -> Self {
        Self { asked: Some(asked), otlp: None }
    }
}

/// Counts pushed over OTLP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpConfig {
    /// gRPC and HTTP on one port.
    pub listen: SocketAddr,
    /// Time between two ticks, where nothing else is asked.
    pub interval: Duration,
    /// Largest request that is read, in bytes, after decompression.
    pub body_max_bytes: usize,
}

/// How to ask a Prometheus-compatible API.
#[derive(Debug, Clone)]
pub struct PrometheusConfig {
    /// Base URL; `/api/v1/query` is appended.
    pub url: Url,
    /// Time between two ticks.
    pub poll_interval: Duration,
    /// Bound on each query, connection included; at most `poll_interval`.
    pub timeout: Duration,
    /// Credentials.
    pub auth: Option<Auth>,
    /// Trust and client certificate.
    pub tls: Tls,
    /// Sent with each query (`X-Scope-OrgID: tenant`).
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Above this many series raw samples are not read: the rate is left to the server.
    pub raw_series_max: usize,
    /// Largest answer that is read, in bytes, after decompression.
    pub body_max_bytes: usize,
    /// Queries a second at most, over all policies.
    pub queries_per_second: u32,
}

/// Credentials; files are read again at each query, so that a rotated token is taken up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// `Authorization: Bearer`, from this file.
    BearerTokenFile(PathBuf),
    /// `Authorization: Basic`.
    Basic {
        /// In clear text in the configuration.
        username: String,
        /// The password is this file's content without trailing line ends.
        password_file: PathBuf,
    },
}

/// PEM files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Trusted roots; `None` = the system's.
    pub ca_file: Option<PathBuf>,
    /// Client certificate chain; comes with `key_file`.
    pub cert_file: Option<PathBuf>,
    /// Client private key.
    pub key_file: Option<PathBuf>,
}

/// Targets that Flyball scrapes itself.
#[derive(Debug, Clone)]
pub struct ScrapeConfig {
    /// URLs of metrics endpoints; at least one, no duplicates.
    pub targets: Vec<Url>,
    /// Time between two scrapes, and two ticks.
    pub interval: Duration,
    /// Bound on each scrape; at most `interval`.
    pub timeout: Duration,
    /// Largest body that is read, in bytes.
    pub body_max_bytes: usize,
}

/// Where SDKs are answered, and how many.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// Jaeger remote sampling over HTTP.
    pub http: SocketAddr,
    /// Jaeger remote sampling, health and the push stream over gRPC; each address speaks all three.
    pub grpc: Vec<SocketAddr>,
    /// Connections in all, over every address; more wait in the kernel's queue.
    pub connections_max: usize,
    /// Concurrent requests and streams of one gRPC connection.
    pub streams_per_connection_max: u32,
}

/// Where operators are answered.
#[derive(Debug, Clone)]
pub struct AdminConfig {
    /// Dashboard, API, health and metrics.
    pub listen: SocketAddr,
    /// Bearer tokens that may write, one `name:token` or bare token; without it only loopback may write.
    pub token_file: Option<PathBuf>,
}

/// Where devices are answered, and how many.
#[derive(Debug, Clone)]
pub struct FleetConfig {
    /// Heartbeats over UDP.
    pub heartbeat: Option<SocketAddr>,
    /// Gateways' streams.
    pub grpc: Option<SocketAddr>,
    /// What the devices' keys are derived from, as it was when the configuration was read; there where one of the doors
    /// is.
    pub keys: Option<KeyFile>,
    /// Which carrier and region an address belongs to.
    pub prefixes: Prefixes,
    /// Devices that are kept.
    pub devices: u32,
    /// Threads that answer heartbeats; `None` = one a core, at most eight.
    pub workers: Option<usize>,
    /// Streams of gateways in all.
    pub sessions_max: usize,
}

/// The master keys and where they are kept: a reload reads them again.
#[derive(Debug, Clone)]
pub struct KeyFile {
    /// Which file.
    pub path: PathBuf,
    /// What it held.
    pub keys: Arc<MasterKeys>,
}

/// How this process logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// A filter such as `info` or `flyball=debug`.
    pub filter: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
