//! Edges in: whatever knows the fleet's true demand and the backend's loss becomes [`Traffic`].
//!
//! ```text
//!  prometheus ── raw samples ──┐
//!                              ├─▶ tracker (increase, targets, groups) ─▶ reading ─▶ Traffic
//!  scrape ────── samples ──────┘                                             ▲
//!  prometheus ── rates of the server ────────────────────────────────────────┘
//! ```
//!
//! Everything that can be wrong with input ends here: NaN, infinities, negative values, duplicates, histograms, text,
//! counters that restart, series that die or are born, clocks that disagree, answers that are late, partial or endless.

mod error;
mod groups;
mod http_body;
mod http_client;
mod increase;
mod keys;
mod labels;
mod prometheus;
pub mod promql;
mod reading;
mod report;
mod rhythm;
mod scrape;
mod signals;
mod targets;
mod timeline;
mod tracker;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

pub use error::{QueryError, SourceError};
pub use prometheus::PrometheusSource;
#[doc(hidden)]
pub use prometheus::{Replay, ReplayedPoll};
pub use report::{OnlineQuery, OnlineReading, OnlineReport, OnlineResult};
pub use rhythm::Rhythm;
pub use scrape::ScrapeSource;
pub use signals::{Counter, DemandSignal, MatchOp, Matcher, Query, Signals, Unit};

use crate::config::SourceConfig;
use crate::sampling::traffic::{Name, Traffic};
use crate::telemetry::metrics::Metrics;
use crate::time::Clock;

/// Where traffic is read from.
#[expect(clippy::large_enum_variant, reason = "there is one of it in a process")]
pub enum Source {
    /// A Prometheus-compatible API.
    Prometheus(PrometheusSource),
    /// Targets that Flyball scrapes itself.
    Scrape(ScrapeSource),
}

/// What one poll brought for one policy.
#[derive(Debug)]
pub struct Polled {
    /// The policy's name.
    pub policy: Name,
    /// Its traffic, or why there is none.
    pub result: Result<Traffic, QueryError>,
}

/// Builds the configured source. Nothing is asked yet.
pub fn connect(config: &SourceConfig, metrics: Metrics) -> Result<Source, SourceError> {
    match config {
        SourceConfig::Prometheus(config) => PrometheusSource::new(config, metrics).map(Source::Prometheus),
        SourceConfig::Scrape(config) => ScrapeSource::new(config, metrics).map(Source::Scrape),
    }
}

impl Source {
    /// Time between two polls.
    pub fn interval(&self) -> Duration {
        match self {
            Self::Prometheus(source) => source.interval(),
            Self::Scrape(source) => source.interval(),
        }
    }

    /// One poll of all policies, in their order; each within the source's timeout. What was known of policies that are
    /// not among them is forgotten.
    pub async fn poll(&mut self, policies: &[(Name, Arc<Signals>)], clock: &Clock) -> Vec<Polled> {
        match self {
            Self::Prometheus(source) => source.poll(policies, clock).await,
            Self::Scrape(source) => source.poll(policies, clock).await,
        }
    }

    /// When the scrapes behind the last poll happened; `None` where that poll could not tell, or scraped by itself.
    pub fn rhythm(&self) -> Option<Rhythm> {
        match self {
            Self::Prometheus(source) => source.rhythm(),
            Self::Scrape(_) => None,
        }
    }

    /// Asks each query of one policy once, for `check --online`.
    pub async fn ask(&mut self, signals: &Signals, clock: &Clock) -> OnlineReport {
        match self {
            Self::Prometheus(source) => source.ask(signals).await,
            Self::Scrape(source) => source.ask(signals, clock).await,
        }
    }
}

/// Makes `states` those of `policies`: a state stays while its policy asks for the same signals.
fn keep_policies<S>(
    states: &mut HashMap<Name, S>,
    policies: &[(Name, Arc<Signals>)],
    signals_of: impl Fn(&S) -> &Arc<Signals>,
    make: impl Fn(&Arc<Signals>) -> S,
) {
    let mut old = std::mem::take(states);
    for (name, signals) in policies {
        let kept = old.remove(name).filter(|state| signals_of(state) == signals);
        states.insert(Name::clone(name), kept.unwrap_or_else(|| make(signals)));
    }
}
