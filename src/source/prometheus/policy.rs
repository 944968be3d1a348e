//! One policy's signals on a Prometheus server, and the targets behind them. A signal that is pushed elsewhere is none
//! of them, and stays empty.

use std::sync::Arc;

use bytes::Bytes;

use super::client::Client;
use super::freshness::Freshness;
use super::signal::{Fetched, Signal, age};
use crate::sampling::traffic::Traffic;
use crate::source::error::QueryError;
use crate::source::groups::Groups;
use crate::source::labels::Grouping;
use crate::source::reading::Readings;
use crate::source::rhythm::Votes;
use crate::source::signals::{Query, Signals};
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
    demand: Option<Signal>,
    received: Option<Signal>,
    dropped: Option<Signal>,
    targets: Targets,
    freshness: Freshness,
}

/// One poll's answers, not decoded yet.
#[derive(Debug)]
pub(super) struct Answers {
    demand: Option<Fetched>,
    received: Option<Fetched>,
    dropped: Option<Fetched>,
    freshness: Option<Bytes>,
}

impl PolicyState {
    pub(super) fn new(signals: &Arc<Signals>, raw_series_max: usize) -> Self {
        let signal =
            |query: &Query, grouping| (!query.is_pushed()).then(|| Signal::new(query, grouping, raw_series_max));
        Self {
            demand: signal(&signals.demand.query, Grouping::of_demand(&signals.demand)),
            received: signal(&signals.received, Grouping::Total),
            dropped: signal(&signals.dropped, Grouping::Total),
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
        for signal in [&self.demand, &self.received, &self.dropped].into_iter().flatten() {
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
            fetch(self.demand.as_ref(), client, now),
            fetch(self.received.as_ref(), client, now),
            fetch(self.dropped.as_ref(), client, now),
            freshness,
        )?;
        Ok(Answers { demand, received, dropped, freshness })
    }

    /// Ready answers of demand, received and dropped, as if they had been asked for at `at`.
    pub(super) fn replayed(&self, at: MonoTime, demand: &Bytes, received: &Bytes, dropped: &Bytes) -> Answers {
        Answers {
            demand: self.demand.as_ref().map(|signal| signal.replayed(at, demand)),
            received: self.received.as_ref().map(|signal| signal.replayed(at, received)),
            dropped: self.dropped.as_ref().map(|signal| signal.replayed(at, dropped)),
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
        let mut observe = |signal: &mut Option<Signal>, fetched: &Option<Fetched>| match (signal, fetched) {
            (Some(signal), Some(fetched)) => signal.observe(fetched, targets, timeline, metrics).map(Some),
            _ => Ok(None),
        };
        let demand = observe(&mut self.demand, &answers.demand);
        let received = observe(&mut self.received, &answers.received);
        let dropped = observe(&mut self.dropped, &answers.dropped);
        let known_age = answers.freshness.as_ref().map(|body| age(body, metrics));
        let signals = [&self.demand, &self.received, &self.dropped].into_iter().flatten();
        let gaps = signals.filter_map(Signal::gap_max_ms);
        targets.settle(gaps.max().unwrap_or(GAP_MAX_MS), timeline.source_now_ms);

        // An error is returned only after all are settled: each signal's state is whole again for the next poll.
        let (demand, demand_error) = split(demand);
        let (received, received_error) = split(received);
        let (dropped, dropped_error) = split(dropped);
        let settle = |signal: &mut Option<Signal>, observed| {
            signal.as_mut().map(|signal| signal.settle(observed, targets, timeline)).unwrap_or_default()
        };
        let mut readings = Readings {
            demand: settle(&mut self.demand, demand),
            received: settle(&mut self.received, received),
            dropped: settle(&mut self.dropped, dropped),
        };
        if let Some(error) = demand_error.or(received_error).or(dropped_error) {
            return Err(error);
        }
        if let (Some(answered), false) = (known_age.transpose()?, readings.demand.rows.is_empty()) {
            let window = self.signals.demand.query.window();
            let age = self.freshness.age(answered, window, timeline);
            if readings.demand.age.is_none() {
                readings.demand.interval = self.freshness.interval();
                let over_ms = self.freshness.over_ms(window);
                readings.demand.over_ms = over_ms.or(readings.demand.over_ms);
            }
            readings.demand.age = Some(readings.demand.age.map_or(age, |own| own.max(age)));
        }
        let none = Groups::default();
        readings.traffic(self.demand.as_ref().map_or(&none, Signal::groups), timeline)
    }
}

async fn fetch(signal: Option<&Signal>, client: &Client, now: MonoTime) -> Result<Option<Fetched>, QueryError> {
    match signal {
        Some(signal) => signal.fetch(client, now).await.map(Some),
        None => Ok(None),
    }
}

fn split<T>(result: Result<Option<T>, QueryError>) -> (Option<T>, Option<QueryError>) {
    result.map_or_else(|error| (None, Some(error)), |value| (value, None))
}
