//! Reads a Prometheus-compatible API: Prometheus, Thanos, Mimir, VictoriaMetrics.
//!
//! A poll asks for all policies at once, each within the time allowed, and takes the answers in afterwards, in one go
//! and without waiting: a policy whose query fails keeps the state that it had, and the next tick is the retry.
//!
//! Limits: the signals of a policy are separate queries, so that a scrape may fall between two of them; each rate says
//! over which time it was measured.

mod answer;
mod client;
mod freshness;
mod instant;
mod number;
mod policy;
mod rates;
mod replay;
mod report;
mod rows;
mod signal;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use self::client::Client;
pub(super) use self::instant::Instant;
use self::policy::PolicyState;
pub use self::replay::{Replay, ReplayedPoll};
use super::error::{QueryError, SourceError};
use super::report::OnlineReport;
use super::rhythm::{Rhythm, Votes};
use super::signals::Signals;
use super::timeline::{SourceClock, Timeline};
use super::{Polled, keep_policies};
use crate::config::PrometheusConfig;
use crate::sampling::traffic::Name;
use crate::telemetry::metrics::Metrics;
use crate::time::{Clock, MonoTime};

/// The server is asked for its time again after this long: two clocks drift apart by a millisecond in it at most.
const SYNC_AFTER: Duration = Duration::from_secs(30);

/// A Prometheus-compatible API, and what was read from it so far.
pub struct PrometheusSource {
    client: Client,
    poll_interval: Duration,
    timeout: Duration,
    raw_series_max: usize,
    metrics: Metrics,
    server_clock: SourceClock,
    policies: HashMap<Name, PolicyState>,
    rhythm: Option<Rhythm>,
    /// The sample that the last rhythm locked to, on the server's clock.
    locked_ms: Option<i64>,
}

impl PrometheusSource {
    /// Builds the client. Nothing is asked yet.
    pub fn new(config: &PrometheusConfig, metrics: Metrics) -> Result<Self, SourceError> {
        Ok(Self {
            client: Client::new(config, metrics.clone())?,
            poll_interval: config.poll_interval,
            timeout: config.timeout,
            raw_series_max: config.raw_series_max,
            metrics,
            server_clock: SourceClock::default(),
            policies: HashMap::new(),
            rhythm: None,
            locked_ms: None,
        })
    }

    /// Time between two polls.
    pub fn interval(&self) -> Duration {
        self.poll_interval
    }

    /// When the scrapes behind the last poll happened.
    pub fn rhythm(&self) -> Option<Rhythm> {
        self.rhythm
    }

    /// One poll of all policies, in their order. Takes no longer than the timeout.
    pub async fn poll(&mut self, policies: &[(Name, Arc<Signals>)], clock: &Clock) -> Vec<Polled> {
        let raw_series_max = self.raw_series_max;
        keep_policies(&mut self.policies, policies, PolicyState::signals, |s| PolicyState::new(s, raw_series_max));
        let now = clock.now().mono;
        let fetches = policies.iter().filter_map(|(name, _)| {
            let state = self.policies.get(name)?;
            let (client, timeout) = (&self.client, self.timeout);
            Some(async move { (name, within(timeout, state.fetch(client, now)).await) })
        });
        let (server_time, fetched) = tokio::join!(self.server_time(clock), join_all(fetches));
        if let Some((at, server_ms)) = server_time {
            self.server_clock.tie(at, server_ms);
        }
        let now = clock.now();
        let timeline = self.server_clock.at(now);
        let mut votes = Votes::default();
        let mut polled = Vec::with_capacity(fetched.len());
        for (name, fetched) in fetched {
            let Some(state) = self.policies.get_mut(name) else { continue };
            let result = fetched.and_then(|fetched| state.take_in(&fetched, &timeline, &self.metrics));
            if result.is_ok() {
                state.vote(&mut votes);
            }
            polled.push(Polled { policy: Name::clone(name), result });
        }
        self.rhythm = self.hear(votes, &timeline, now.mono);
        polled
    }

    fn hear(&mut self, votes: Votes, timeline: &Timeline, now: MonoTime) -> Option<Rhythm> {
        let (newest_ms, interval) = votes.elect()?;
        let is_new = self.locked_ms.replace(newest_ms) != Some(newest_ms);
        Some(Rhythm { newest: now.minus(timeline.age(newest_ms)), interval, is_new })
    }

    /// Asks each query of `signals` once, for `check --online`. Keeps no state.
    pub async fn ask(&self, signals: &Signals) -> OnlineReport {
        report::ask(&self.client, signals, self.raw_series_max).await
    }

    /// The server's clock, and when it read that on ours: the middle of the question. `None` if it is known, or silent.
    async fn server_time(&self, clock: &Clock) -> Option<(MonoTime, i64)> {
        let asked_at = clock.now().mono;
        if !self.server_clock.is_older_than(SYNC_AFTER, asked_at) {
            return None;
        }
        let body = self.client.query("time()").await.ok()?;
        let half = clock.now().mono.since(asked_at) / 2;
        let seconds = signal::smallest(&body);
        self.client.note(&seconds);
        let seconds = seconds.ok()??;
        let server_time = crate::time::WallTime::from_unix_seconds(seconds)?;
        Some((asked_at.plus(half), server_time.unix_ms()))
    }
}

/// `work`, or the error that it took too long.
async fn within<T>(timeout: Duration, work: impl Future<Output = Result<T, QueryError>>) -> Result<T, QueryError> {
    tokio::time::timeout(timeout, work).await.unwrap_or(Err(QueryError::Timeout(timeout)))
}
