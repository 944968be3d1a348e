//! Edges in: whatever knows the fleet's true demand and the backend's loss becomes [`Traffic`].
//!
//! ```text
//!  prometheus ── raw samples ──┐
//!                              ├─▶ tracker (increase, targets, groups) ─▶ reading ─▶ Traffic
//!  scrape ────── samples ──────┤                                             ▲
//!  otlp ───────── points ──────┘                                             │
//!  prometheus ── rates of the server ────────────────────────────────────────┘
//! ```
//!
//! One of `prometheus` and `scrape` is asked at each tick, `otlp` is pushed. A policy may have signals of both: each side
//! makes [`Traffic`] of its own signals, on our clock, and the two are laid together.
//!
//! Everything that can be wrong with input ends here: NaN, infinities, negative values, duplicates, histograms, text,
//! counters that restart, series that die or are born, clocks that disagree, answers that are late, partial or endless.

mod asked;
pub(crate) mod credentials;
pub(crate) mod error;
mod groups;
mod http_body;
pub(crate) mod http_client;
mod increase;
mod keys;
mod labels;
mod otlp;
mod prometheus;
pub mod promql;
mod reading;
mod report;
mod rhythm;
pub mod sampled;
mod scrape;
mod selector;
mod signals;
mod targets;
mod timeline;
mod tracker;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

pub use asked::Asker;
pub use error::{QueryError, SourceError};
pub use otlp::{OtlpReceiver, OtlpSource};
pub use prometheus::PrometheusSource;
#[doc(hidden)]
pub use prometheus::{Replay, ReplayedPoll};
pub use report::{OnlineQuery, OnlineReading, OnlineReport, OnlineResult};
pub use rhythm::Rhythm;
pub use scrape::ScrapeSource;
pub use signals::{Counter, DemandSignal, MatchOp, Matcher, Query, Signals, Unit};

use crate::config::{SourceConfig, Sources};
use crate::sampling::traffic::{Name, Rate, Traffic};
use crate::socket::BindError;
use crate::telemetry::metrics::Metrics;
use crate::time::Clock;

/// Where traffic is read from.
pub struct Source {
    asked: Option<Asked>,
    pushed: Option<OtlpSource>,
}

/// What is asked at each tick.
#[expect(clippy::large_enum_variant, reason = "there is one of it in a process")]
enum Asked {
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

/// Time between two polls where nothing is configured at all.
const INTERVAL: Duration = Duration::from_secs(5);

/// Builds the configured sources. Nothing is asked yet, and nothing listens.
pub fn connect(config: &Sources, metrics: Metrics) -> Result<Source, SourceError> {
    let asked = match &config.asked {
        Some(SourceConfig::Prometheus(config)) => {
            Some(Asked::Prometheus(PrometheusSource::new(config, metrics.clone())?))
        }
        Some(SourceConfig::Scrape(config)) => Some(Asked::Scrape(ScrapeSource::new(config, metrics.clone())?)),
        None => None,
    };
    Ok(Source { asked, pushed: config.otlp.as_ref().map(|config| OtlpSource::new(config, metrics)) })
}

impl Source {
    /// Binds the socket that counts are pushed to, where there is one; inside a Tokio runtime.
    pub fn listen(&self) -> Result<Option<OtlpReceiver>, BindError> {
        self.pushed.as_ref().map(OtlpSource::listen).transpose()
    }

    /// Time between two polls.
    pub fn interval(&self) -> Duration {
        match (&self.asked, &self.pushed) {
            (Some(Asked::Prometheus(source)), _) => source.interval(),
            (Some(Asked::Scrape(source)), _) => source.interval(),
            (None, Some(source)) => source.interval(),
            (None, None) => INTERVAL,
        }
    }

    /// One poll of all policies, in their order; each within the source's timeout. What was known of policies that are
    /// not among them is forgotten.
    pub async fn poll(&mut self, policies: &[(Name, Arc<Signals>)], clock: &Clock) -> Vec<Polled> {
        let of = |is_pushed: bool| {
            let is_there = move |signals: &Signals| signals.queries().iter().any(|(_, q)| q.is_pushed() == is_pushed);
            policies.iter().filter(move |(_, signals)| is_there(signals)).cloned().collect::<Vec<_>>()
        };
        let asked = match &mut self.asked {
            Some(Asked::Prometheus(source)) => source.poll(&of(false), clock).await,
            Some(Asked::Scrape(source)) => source.poll(&of(false), clock).await,
            None => Vec::new(),
        };
        // After the question, which may take seconds: what was pushed meanwhile is in.
        let pushed = self.pushed.as_mut().map_or_else(Vec::new, |source| source.poll(&of(true), clock));
        laid_together(policies, asked, pushed)
    }

    /// When the scrapes behind the last poll happened; `None` where that poll could not tell, or scraped by itself.
    pub fn rhythm(&self) -> Option<Rhythm> {
        match &self.asked {
            Some(Asked::Prometheus(source)) => source.rhythm(),
            Some(Asked::Scrape(_)) | None => None,
        }
    }

    /// Asks each query of one policy once, for `check --online`.
    pub async fn ask(&mut self, signals: &Arc<Signals>, clock: &Clock) -> OnlineReport {
        let mut queries = match &mut self.asked {
            Some(Asked::Prometheus(source)) => source.ask(signals).await.queries,
            Some(Asked::Scrape(source)) => source.ask(signals, clock).await.queries,
            None => Vec::new(),
        };
        if let Some(source) = self.pushed.as_mut().filter(|_| signals.queries().iter().any(|(_, q)| q.is_pushed())) {
            queries.extend(source.ask(signals).await.queries);
        }
        OnlineReport { queries }
    }
}

/// Both sides of each policy as one result. A policy whose one side failed has no traffic: half of it would mislead.
fn laid_together(policies: &[(Name, Arc<Signals>)], asked: Vec<Polled>, pushed: Vec<Polled>) -> Vec<Polled> {
    let results = |polled: Vec<Polled>| polled.into_iter().map(|p| (p.policy, p.result)).collect::<HashMap<_, _>>();
    let (mut asked, mut pushed) = (results(asked), results(pushed));
    let both = policies.iter().filter_map(|(name, signals)| {
        let result = match (asked.remove(name), pushed.remove(name)) {
            (Some(asked), Some(pushed)) => asked.and_then(|asked| Ok(joined(signals, asked, pushed?))),
            (one, other) => one.or(other)?,
        };
        Some(Polled { policy: Name::clone(name), result })
    });
    both.collect()
}

/// Each signal from the side that it comes from.
fn joined(signals: &Signals, asked: Traffic, pushed: Traffic) -> Traffic {
    let of = |query: &Query, asked: Option<Rate>, pushed: Option<Rate>| if query.is_pushed() { pushed } else { asked };
    let received = of(&signals.received, asked.received, pushed.received);
    let dropped = of(&signals.dropped, asked.dropped, pushed.dropped);
    let is_partial = asked.is_partial || pushed.is_partial;
    let demand = if signals.demand.query.is_pushed() { pushed } else { asked };
    Traffic { received, dropped, is_partial, ..demand }
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
