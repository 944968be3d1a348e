//! One signal of one policy on a Prometheus server: which query to ask, and what its answer means.
//!
//! A counter is read raw, by an instant query of `selector[range]`, whose answer carries the samples with their own
//! times. The range is what has passed since the last answer and two scrape intervals, learnt from those times. Where
//! the selector has more series than are read raw, the rate is left to the server until a later count says otherwise.

use std::time::Duration;

use bytes::Bytes;

use super::answer::{Answer, QueryResult, decode, labels};
use super::client::{Client, note};
use super::freshness::Freshness;
use super::rates::{Rates, nothing_usable, wrong_type};
use crate::source::error::QueryError;
use crate::source::groups::Groups;
use crate::source::increase::Sample;
use crate::source::labels::Grouping;
use crate::source::reading::Reading;
use crate::source::rhythm::Votes;
use crate::source::signals::{Counter, Query, promql_duration};
use crate::source::targets::Targets;
use crate::source::timeline::Timeline;
use crate::source::tracker::{Observation, Tracker};
use crate::telemetry::metrics::Metrics;
use crate::time::MonoTime;

/// Series of a selector are counted again after this long.
const RECOUNT_AFTER: Duration = Duration::from_secs(300);
/// Bounds of the range that is read before a scrape interval is known: twice the usual one, and all of the look-back.
const FIRST_RANGE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(300));
/// No range is longer, whatever has passed since the last answer.
const RANGE_MAX: Duration = Duration::from_secs(600);

/// The state of one signal.
#[derive(Debug)]
pub(super) struct Signal {
    query: Query,
    grouping: Grouping,
    raw_series_max: usize,
    reading: By,
    counted_at: Option<MonoTime>,
    answered_at: Option<MonoTime>,
    first_range: Duration,
    freshness: Freshness,
}

#[derive(Debug)]
enum By {
    Raw(Tracker),
    Server(Rates),
}

/// What was fetched for a signal, not decoded yet.
#[derive(Debug)]
pub(super) struct Fetched {
    at: MonoTime,
    body: Bytes,
    /// Age of the newest sample in seconds, for a counter whose rate is left to the server.
    freshness: Option<Bytes>,
    was_counted: bool,
    is_raw: bool,
}

impl Signal {
    pub(super) fn new(query: &Query, grouping: Grouping, raw_series_max: usize) -> Self {
        let window = query.window();
        let reading = match query {
            Query::Counter(_) | Query::Pushed(_) => {
                By::Raw(Tracker::new(grouping.clone(), window, None, raw_series_max))
            }
            Query::Opaque { .. } => By::Server(Rates::new(grouping.clone(), window)),
        };
        let first_range = window.clamp(FIRST_RANGE.0, FIRST_RANGE.1);
        Self {
            query: query.clone(),
            grouping,
            raw_series_max,
            reading,
            counted_at: None,
            answered_at: None,
            first_range,
            freshness: Freshness::default(),
        }
    }

    /// The groups that the last reading's rows point to.
    pub(super) fn groups(&self) -> &Groups {
        match &self.reading {
            By::Raw(tracker) => tracker.groups(),
            By::Server(rates) => rates.groups(),
        }
    }

    /// The longest silence of a target that one missed scrape explains; `None` where targets are not seen.
    pub(super) fn gap_max_ms(&self) -> Option<i64> {
        match &self.reading {
            By::Raw(tracker) => Some(tracker.gap_max_ms()),
            By::Server(_) => None,
        }
    }

    /// A ready answer, as if it had been asked for at `at`: raw where the query is a counter.
    pub(super) fn replayed(&self, at: MonoTime, body: &Bytes) -> Fetched {
        let is_raw = matches!(self.query, Query::Counter(_));
        Fetched { at, body: body.clone(), freshness: None, was_counted: false, is_raw }
    }

    /// When the newest samples were scraped, as far as is known.
    pub(super) fn vote(&self, votes: &mut Votes) {
        match &self.reading {
            By::Raw(tracker) => votes.cast(tracker.interval(), tracker.newest_ms()),
            By::Server(_) => votes.cast(self.freshness.shortest(), self.freshness.newest_ms().into_iter()),
        }
    }

    /// Asks the server.
    pub(super) async fn fetch(&self, client: &Client, now: MonoTime) -> Result<Fetched, QueryError> {
        let counter = match &self.query {
            Query::Opaque { promql, .. } => {
                let body = client.query(promql).await?;
                return Ok(Fetched { at: now, body, freshness: None, was_counted: false, is_raw: false });
            }
            Query::Counter(counter) | Query::Pushed(counter) => counter,
        };
        let is_due = self.counted_at.is_none_or(|at| now.since(at) > RECOUNT_AFTER);
        let is_raw = if is_due {
            count(client, counter).await? <= self.raw_series_max as f64
        } else {
            matches!(self.reading, By::Raw(_))
        };
        if is_raw {
            match client.query(&self.raw_query(counter, now)).await {
                // Few series, and still too many bytes: the sums are smaller.
                Err(QueryError::TooLarge { .. }) => {}
                body => return Ok(Fetched { at: now, body: body?, freshness: None, was_counted: is_due, is_raw }),
            }
        }
        let (rate, age) = (counter.rate_expression(), counter.freshness_expression());
        let (body, age) = tokio::try_join!(client.query(&rate), client.query(&age))?;
        Ok(Fetched { at: now, body, freshness: Some(age), was_counted: is_due || is_raw, is_raw: false })
    }

    fn raw_query(&self, counter: &Counter, now: MonoTime) -> String {
        let interval = match &self.reading {
            By::Raw(tracker) => tracker.interval(),
            By::Server(_) => None,
        };
        let since_last = self.answered_at.map(|at| now.since(at));
        let range = interval.zip(since_last).map_or(self.first_range, |(interval, passed)| passed + interval * 2);
        format!("{}[{}]", counter.selector(), promql_duration(range.min(RANGE_MAX)))
    }

    /// Takes in what was fetched: the part before the targets are settled. Rates of the server are read at once.
    pub(super) fn observe(
        &mut self,
        fetched: &Fetched,
        targets: &mut Targets,
        timeline: &Timeline,
        metrics: &Metrics,
    ) -> Result<Observed, QueryError> {
        let observed = self.read(fetched, targets, timeline, metrics);
        note(metrics, &observed);
        observed
    }

    fn read(
        &mut self,
        fetched: &Fetched,
        targets: &mut Targets,
        timeline: &Timeline,
        metrics: &Metrics,
    ) -> Result<Observed, QueryError> {
        let keys = match &mut self.reading {
            By::Raw(tracker) if fetched.is_raw => Some(tracker.keys()),
            By::Server(rates) if !fetched.is_raw => Some(rates.keys(timeline.source_now_ms)),
            _ => None,
        };
        let answer = decode(&fetched.body, keys)?;
        metrics.source_warnings.inc_by(u64::from(answer.warnings > 0));
        self.switch(fetched);
        let is_partial = answer.is_partial;
        let (reading, rejected) = match &mut self.reading {
            By::Raw(tracker) => {
                let observed = observe_raw(tracker, &answer, targets);
                if matches!(observed, Err(QueryError::TooLarge { .. })) {
                    self.leave_to_server(fetched.at);
                }
                (None, observed?)
            }
            By::Server(rates) => {
                let (mut reading, rejected) = rates.read(&answer.result, timeline.source_now_ms)?;
                if let (Some(body), false) = (&fetched.freshness, reading.rows.is_empty()) {
                    reading.age = Some(self.freshness.age(age(body, metrics)?, self.query.window(), timeline));
                    reading.interval = self.freshness.interval();
                    reading.over_ms = self.freshness.over_ms(self.query.window()).or(reading.over_ms);
                }
                (Some(reading), rejected)
            }
        };
        self.answered_at = Some(fetched.at);
        metrics.source_rejected_values.inc_by(rejected);
        Ok(Observed { reading, is_partial })
    }

    /// After the targets are settled: what was read. Runs after a failed `observe` too, so that the state stays whole.
    pub(super) fn settle(&mut self, observed: Option<Observed>, targets: &Targets, timeline: &Timeline) -> Reading {
        let is_partial = observed.as_ref().is_some_and(|o| o.is_partial);
        let reading = match (&mut self.reading, observed.and_then(|o| o.reading)) {
            (By::Raw(tracker), _) => {
                let measured = tracker.settle(targets, timeline.source_now_ms);
                if tracker.interval().is_none() && measured.newest_ms.is_some() {
                    self.first_range = (self.first_range * 2).min(RANGE_MAX);
                }
                Reading::measured(measured, tracker.interval(), timeline)
            }
            (By::Server(_), reading) => reading.unwrap_or_default(),
        };
        Reading { is_partial, ..reading }
    }

    /// Follows what `fetch` found out about the number of series.
    fn switch(&mut self, fetched: &Fetched) {
        if fetched.was_counted {
            self.counted_at = Some(fetched.at);
        }
        let Query::Counter(counter) = &self.query else { return };
        match (fetched.is_raw, &self.reading) {
            (true, By::Server(_)) => {
                let tracker = Tracker::new(self.grouping.clone(), counter.window, None, self.raw_series_max);
                (self.reading, self.answered_at) = (By::Raw(tracker), None);
            }
            (false, By::Raw(_)) => self.reading = By::Server(Rates::new(self.grouping.clone(), counter.window)),
            _ => {}
        }
    }

    fn leave_to_server(&mut self, now: MonoTime) {
        let Query::Counter(counter) = &self.query else { return };
        self.reading = By::Server(Rates::new(self.grouping.clone(), counter.window));
        self.counted_at = Some(now);
    }
}

/// A signal between `observe` and `settle`.
#[derive(Debug)]
pub(super) struct Observed {
    reading: Option<Reading>,
    is_partial: bool,
}

fn observe_raw(tracker: &mut Tracker, answer: &Answer<'_>, targets: &mut Targets) -> Result<u64, QueryError> {
    let QueryResult::Matrix(rows) = &answer.result else { return Err(wrong_type(&answer.result, "a matrix")) };
    let (mut samples, mut rejected, mut usable) = (Vec::<Sample>::new(), 0, 0usize);
    for row in rows {
        let bad = answer.read_samples(row, &mut samples);
        let observation =
            Observation { key: row.metric, known: row.known, samples: &samples, target: None, starts_anew: false };
        let unnamed = tracker
            .observe(observation, targets, || labels(row.metric))
            .map_err(|_| QueryError::too_large(rows.len(), "series", "the rate is left to the server from now on"))?;
        usable += usize::from(unnamed == 0 && !samples.is_empty());
        rejected += bad + unnamed;
    }
    if usable == 0 && rejected > 0 { Err(nothing_usable()) } else { Ok(rejected) }
}

/// How many series a counter's selector has; 0 where it has none.
pub(super) async fn count(client: &Client, counter: &Counter) -> Result<f64, QueryError> {
    let body = client.query(&format!("count({})", counter.selector())).await?;
    let count = smallest(&body);
    client.note(&count);
    Ok(count?.unwrap_or(0.0))
}

/// An age in seconds from the answer of a freshness query; `None` where its series are absent.
pub(super) fn age(body: &[u8], metrics: &Metrics) -> Result<Option<Duration>, QueryError> {
    let seconds = smallest(body);
    note(metrics, &seconds);
    Ok(seconds?.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok()))
}

/// The smallest number of a vector or a scalar.
pub(super) fn smallest(body: &[u8]) -> Result<Option<f64>, QueryError> {
    let answer = decode(body, None)?;
    let numbers: Vec<f64> = match &answer.result {
        QueryResult::Vector(rows) => rows.iter().filter_map(|row| row.value.map(|point| point.1)).collect(),
        QueryResult::Scalar(point) => vec![point.1],
        other => return Err(wrong_type(other, "a vector or a scalar")),
    };
    Ok(numbers.into_iter().filter(|n| n.is_finite()).min_by(f64::total_cmp))
}
