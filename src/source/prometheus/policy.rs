//! One policy's three signals on a Prometheus server, and the targets behind them.

use std::sync::Arc;

use bytes::Bytes;

use super::client::Client;
use super::freshness::Freshness;
use super::signal::{Fetched, Signal, age};
use crate::sampling::traffic::Traffic;
use crate::source::error::QueryError;
use crate::source::labels::Grouping;
use crate::source::reading::Readings;
use crate::source::rhythm::Votes;
use crate::source::signals::Signals;
use crate::source::targets::Targets;
use crate::source::timeline::Timeline;
use crate::telemetry::metrics::Metrics;
use crate::time::MonoTime;

/// The longest silence of a target that is bridged while no scrape interval is known.
const GAP_MAX_MS: i64 = 150_000;

/// What was read for one policy so far.
#[derive(Debug)]
pub(super) struct PolicyState {
    signals: Arc<Signals>,
    demand: Signal,
    received: Signal,
    dropped: Signal,
    targets: Targets,
    freshness: Freshness,
}

/// One poll's answers, not decoded yet.
#[derive(Debug)]
pub(super) struct Answers {
    demand: Fetched,
    received: Fetched,
    dropped: Fetched,
    freshness: Option<Bytes>,
}

impl PolicyState {
    pub(super) fn new(signals: &Arc<Signals>, raw_series_max: usize) -> Self {
        Self {
            demand: Signal::new(&signals.demand.query, Grouping::of_demand(&signals.demand), raw_series_max),
            received: Signal::new(&signals.received, Grouping::Total, raw_series_max),
            dropped: Signal::new(&signals.dropped, Grouping::Total, raw_series_max),
            targets: Targets::default(),
            freshness: Freshness::default(),
            signals: Arc::clone(signals),
        }
    }

    pub(super) fn signals(&self) -> &Arc<Signals> {
        &self.signals
    }

    /// After the answers are taken in: when its samples were scraped.
    pub(super) fn vote(&self, votes: &mut Votes) {
        for signal in [&self.demand, &self.received, &self.dropped] {
            signal.vote(votes);
        }
        votes.cast(self.freshness.shortest(), self.freshness.newest_ms().into_iter());
    }

    /// Asks all of its queries at once.
    pub(super) async fn fetch(&self, client: &Client, now: MonoTime) -> Result<Answers, QueryError> {
        let freshness = async {
            match &self.signals.freshness {
                Some(promql) => client.query(promql).await.map(Some),
                None => Ok(None),
            }
        };
        let (demand, received, dropped, freshness) = tokio::try_join!(
            self.demand.fetch(client, now),
            self.received.fetch(client, now),
            self.dropped.fetch(client, now),
            freshness,
        )?;
        Ok(Answers { demand, received, dropped, freshness })
    }

    /// Ready answers of demand, received and dropped, as if they had been asked for at `at`.
    pub(super) fn replayed(&self, at: MonoTime, demand: &Bytes, received: &Bytes, dropped: &Bytes) -> Answers {
        Answers {
            demand: self.demand.replayed(at, demand),
            received: self.received.replayed(at, received),
            dropped: self.dropped.replayed(at, dropped),
            freshness: None,
        }
    }

    /// Takes the answers in. Births are judged when all signals have shown their targets.
    pub(super) fn take_in(
        &mut self,
        answers: &Answers,
        timeline: &Timeline,
        metrics: &Metrics,
    ) -> Result<Traffic, QueryError> {
        let targets = &mut self.targets;
        let demand = self.demand.observe(&answers.demand, targets, timeline, metrics);
        let received = self.received.observe(&answers.received, targets, timeline, metrics);
        let dropped = self.dropped.observe(&answers.dropped, targets, timeline, metrics);
        let known_age = answers.freshness.as_ref().map(|body| age(body, metrics));
        let gaps = [&self.demand, &self.received, &self.dropped].into_iter().filter_map(Signal::gap_max_ms);
        targets.settle(gaps.max().unwrap_or(GAP_MAX_MS), timeline.source_now_ms);

        // An error is returned only after all are settled: each signal's state is whole again for the next poll.
        let (demand, demand_error) = split(demand);
        let (received, received_error) = split(received);
        let (dropped, dropped_error) = split(dropped);
        let mut readings = Readings {
            demand: self.demand.settle(demand, targets, timeline),
            received: self.received.settle(received, targets, timeline),
            dropped: self.dropped.settle(dropped, targets, timeline),
        };
        if let Some(error) = demand_error.or(received_error).or(dropped_error) {
            return Err(error);
        }
        if let (Some(answered), false) = (known_age.transpose()?, readings.demand.rows.is_empty()) {
            let age = self.freshness.age(answered, self.demand.window(), timeline);
            if readings.demand.age.is_none() {
                readings.demand.interval = self.freshness.interval();
                let over_ms = self.freshness.over_ms(self.demand.window());
                readings.demand.over_ms = over_ms.or(readings.demand.over_ms);
            }
            readings.demand.age = Some(readings.demand.age.map_or(age, |own| own.max(age)));
        }
        readings.traffic(self.demand.groups(), timeline)
    }
}

fn split<T>(result: Result<T, QueryError>) -> (Option<T>, Option<QueryError>) {
    result.map_or_else(|error| (None, Some(error)), |value| (Some(value), None))
}
