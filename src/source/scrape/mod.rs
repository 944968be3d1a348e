//! The embedded scraper: reads the targets' own `/metrics`, so that Flyball runs with no Prometheus at all.
//!
//! Counters are kept in memory and become rates as raw samples from a server do. A target that does not answer leaves
//! its series as they were, marked stale, and the poll partial; when none answers, the source is unreachable.
//!
//! Times are those at which a scrape began, on our monotonic clock, unless a sample carries its own. Limits: no service
//! discovery, no relabelling, no TLS settings of its own.

mod exposition;
mod policy;
mod report;
mod target;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Client;

use self::exposition::parse;
use self::policy::{PolicyState, Scrape};
use self::target::{Scraped, Target};
use super::error::{QueryError, SourceError};
use super::report::OnlineReport;
use super::signals::Signals;
use super::timeline::SourceClock;
use super::{Polled, http_client, keep_policies};
use crate::config::{ScrapeConfig, Tls};
use crate::error_chain::chain;
use crate::sampling::traffic::Name;
use crate::telemetry::metrics::Metrics;
use crate::time::{Clock, Tick};

/// Targets, and what was scraped from them so far.
pub struct ScrapeSource {
    client: Client,
    config: ScrapeConfig,
    targets: Vec<Target>,
    metrics: Metrics,
    clock: SourceClock,
    policies: HashMap<Name, PolicyState>,
}

impl ScrapeSource {
    /// Builds the client. Nothing is scraped yet.
    pub fn new(config: &ScrapeConfig, metrics: Metrics) -> Result<Self, SourceError> {
        let urls: Vec<_> = config.targets.iter().collect();
        Ok(Self {
            client: http_client::build(&urls, &Tls::default())?,
            config: config.clone(),
            targets: config.targets.iter().map(Target::new).collect(),
            metrics,
            clock: SourceClock::default(),
            policies: HashMap::new(),
        })
    }

    /// Time between two polls.
    pub fn interval(&self) -> Duration {
        self.config.interval
    }

    /// Scrapes all targets at once and reads all policies from them, in their order.
    pub async fn poll(&mut self, policies: &[(Name, Arc<Signals>)], clock: &Clock) -> Vec<Polled> {
        let interval = self.config.interval;
        keep_policies(&mut self.policies, policies, PolicyState::signals, |s| PolicyState::new(s, interval));
        if !self.clock.is_tied() {
            let now = clock.now();
            self.clock.tie(now.mono, now.wall.unix_ms());
        }
        let scraped = self.scrape_all(clock).await;
        self.take_in(policies, &scraped, clock.now())
    }

    /// Scrapes once and says what each query of `signals` finds, for `check --online`.
    pub async fn ask(&self, signals: &Signals, clock: &Clock) -> OnlineReport {
        report::ask(signals, &self.targets, &self.scrape_all(clock).await)
    }

    /// One result a target, in their order.
    async fn scrape_all(&self, clock: &Clock) -> Vec<Result<Scraped, QueryError>> {
        join_all(self.targets.iter().map(|t| t.scrape(&self.client, &self.config, &self.metrics, clock))).await
    }

    fn take_in(
        &mut self,
        policies: &[(Name, Arc<Signals>)],
        scraped: &[Result<Scraped, QueryError>],
        now: Tick,
    ) -> Vec<Polled> {
        let answered: Vec<_> =
            self.targets.iter().zip(scraped).filter_map(|(t, s)| Some((t, s.as_ref().ok()?))).collect();
        let at_ms = |scraped: &Scraped| self.clock.at(Tick { mono: scraped.at, ..now }).source_now_ms;
        let seen: Vec<_> = answered.iter().map(|(target, scraped)| (*target, at_ms(scraped))).collect();
        let wanted: HashSet<&str> = self.policies.values().flat_map(PolicyState::metrics).collect();
        let mut scrapes = Vec::new();
        for (target, scraped) in &answered {
            scrapes.extend(samples(target, scraped, at_ms(scraped), &wanted));
        }
        drop(wanted);
        let (timeline, is_partial) = (self.clock.at(now), answered.len() < self.targets.len());
        let mut polled = Vec::with_capacity(policies.len());
        for (name, _) in policies {
            let Some(state) = self.policies.get_mut(name) else { continue };
            let result = if seen.is_empty() {
                Err(all_down(scraped))
            } else {
                state.take_in(&seen, &scrapes, &timeline, &self.metrics).map(|mut traffic| {
                    traffic.is_partial |= is_partial;
                    traffic
                })
            };
            polled.push(Polled { policy: Name::clone(name), result });
        }
        polled
    }
}

/// The samples of a body that some policy wants.
fn samples<'a>(target: &'a Target, scraped: &'a Scraped, at_ms: i64, wanted: &HashSet<&str>) -> Vec<Scrape<'a>> {
    let mut samples = Vec::new();
    let parsed = parse(scraped.text().unwrap_or_default(), scraped.format, |line| {
        if wanted.contains(line.name) {
            samples.push(Scrape { target, at_ms, line });
        }
    });
    debug_assert!(parsed.is_ok(), "a scraped body was parsed when it came");
    samples
}

fn all_down(scraped: &[Result<Scraped, QueryError>]) -> QueryError {
    let reasons = scraped.iter().filter_map(|s| s.as_ref().err());
    let first = reasons.map(|e| format!("no target can be scraped; the first: {}", chain(e))).next();
    QueryError::Unreachable(first.map(Into::into))
}
