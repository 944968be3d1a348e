//! Signals and sources as tests want them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flyball::config::{PrometheusConfig, ScrapeConfig, SourceConfig, Tls};
use flyball::sampling::traffic::{Name, Traffic};
use flyball::source::promql::recognise;
use flyball::source::{DemandSignal, QueryError, Signals, Source, Unit, connect};
use flyball::telemetry::metrics::Metrics;
use flyball::time::Clock;
use url::Url;

/// How long something may take to show; it is never waited for in full when all is well.
const DEADLINE: Duration = Duration::from_secs(30);

/// `demand`, `received`, `dropped`, as PromQL.
pub(crate) fn signals(demand: &str, received: &str, dropped: &str) -> Arc<Signals> {
    let query = |promql| recognise(promql).expect("PromQL");
    Arc::new(Signals {
        demand: DemandSignal {
            query: query(demand),
            service_label: "service".to_owned(),
            operation_label: Some("operation".to_owned()),
            is_adjusted: false,
        },
        received: query(received),
        dropped: query(dropped),
        freshness: None,
        unit: Unit::Spans,
    })
}

pub(crate) fn prometheus(url: Url) -> PrometheusConfig {
    PrometheusConfig {
        url,
        poll_interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        auth: None,
        tls: Tls::default(),
        headers: Vec::new(),
        raw_series_max: 1000,
        body_max_bytes: 4 << 20,
        queries_per_second: 1000,
    }
}

pub(crate) fn scrape(targets: Vec<Url>) -> ScrapeConfig {
    let interval = Duration::from_secs(1);
    ScrapeConfig { targets, interval, timeout: Duration::from_millis(500), body_max_bytes: 1 << 20 }
}

/// A source with one policy.
pub(crate) struct Bench {
    source: Source,
    policies: Vec<(Name, Arc<Signals>)>,
    pub(crate) metrics: Metrics,
    clock: Clock,
}

impl Bench {
    pub(crate) fn new(config: &SourceConfig, signals: Arc<Signals>) -> Self {
        let metrics = Metrics::default();
        let source = connect(&config.clone().into(), metrics.clone()).expect("a source");
        Self { source, policies: vec![("shop".into(), signals)], metrics, clock: Clock::start() }
    }

    pub(crate) fn prometheus(config: PrometheusConfig, signals: Arc<Signals>) -> Self {
        Self::new(&SourceConfig::Prometheus(Box::new(config)), signals)
    }

    pub(crate) fn add(&mut self, policy: &str, signals: Arc<Signals>) {
        self.policies.push((policy.into(), signals));
    }

    pub(crate) async fn poll_all(&mut self) -> Vec<Result<Traffic, QueryError>> {
        self.source.poll(&self.policies, &self.clock).await.into_iter().map(|polled| polled.result).collect()
    }

    pub(crate) async fn poll(&mut self) -> Result<Traffic, QueryError> {
        self.poll_all().await.remove(0)
    }

    pub(crate) async fn ask(&mut self) -> flyball::source::OnlineReport {
        let signals = Arc::clone(&self.policies[0].1);
        self.source.ask(&signals, &self.clock).await
    }

    /// Polls until the traffic is as wanted, and returns it.
    pub(crate) async fn until(&mut self, what: &str, is_as_wanted: impl Fn(&Traffic) -> bool) -> Traffic {
        let start = Instant::now();
        loop {
            let polled = self.poll().await;
            match polled {
                Ok(traffic) if is_as_wanted(&traffic) => return traffic,
                other => assert!(start.elapsed() < DEADLINE, "never seen: {what}; last {other:#?}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The demand of a service, summed over its operations.
pub(crate) fn demand(traffic: &Traffic, service: &str) -> f64 {
    traffic.demand.iter().filter(|row| &*row.service == service).map(|row| row.per_second).sum()
}
