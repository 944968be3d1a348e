//! One policy's pushed counters: which series it means, and what they count.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use super::names::{Attributes, MetricName};
use super::parcel::{Parcel, Point, WantedMetric, identity};
use super::peers::Offset;
use super::stream::{Arrival, OwnLabels};
use super::streams::Streams;
use crate::sampling::traffic::Traffic;
use crate::source::error::QueryError;
use crate::source::groups::Groups;
use crate::source::labels::{Grouping, Labels};
use crate::source::reading::{Reading, Readings};
use crate::source::selector::Selector;
use crate::source::signals::{Query, Signals};
use crate::source::targets::Targets;
use crate::source::timeline::Timeline;
use crate::source::tracker::Tracker;
use crate::telemetry::metrics::{Metrics, OutcomeLabels};

/// Series of one signal that are kept in memory, about 1 KB each.
const SERIES_MAX: usize = 200_000;

/// Longest value of a label that is kept; a longer one names nothing, and no matcher means it.
const LABEL_MAX_BYTES: usize = 1024;

/// What was pushed for one policy so far.
#[derive(Debug)]
pub(super) struct PolicyState {
    signals: Arc<Signals>,
    demand: Option<Counter>,
    received: Option<Counter>,
    dropped: Option<Counter>,
    /// Nobody is: births are told by the exports of a process, not by its labels.
    targets: Targets,
}

/// One signal.
#[derive(Debug)]
pub(super) struct Counter {
    selector: Selector,
    labels: Vec<String>,
    refuses_spans: bool,
    tracker: Tracker,
    streams: Streams,
    /// The metric that the name was found to mean.
    metric: Option<Arc<str>>,
    /// A metric that counts sampled spans came.
    sampled: Option<Arc<str>>,
    hasher: RandomState,
}

/// A parcel on our clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed<'a> {
    pub(super) parcel: &'a Parcel,
    pub(super) offset: Offset,
    pub(super) received_ms: i64,
}

impl PolicyState {
    pub(super) fn new(signals: &Arc<Signals>) -> Self {
        let demand = &signals.demand;
        Self {
            demand: Counter::new(&demand.query, Grouping::of_demand(demand), !demand.is_adjusted),
            received: Counter::new(&signals.received, Grouping::Total, false),
            dropped: Counter::new(&signals.dropped, Grouping::Total, false),
            targets: Targets::default(),
            signals: Arc::clone(signals),
        }
    }

    pub(super) fn signals(&self) -> &Arc<Signals> {
        &self.signals
    }

    /// What to let in at the door.
    pub(super) fn wanted(&self) -> impl Iterator<Item = WantedMetric> {
        [&self.demand, &self.received, &self.dropped].into_iter().flatten().map(Counter::wanted)
    }

    /// Takes in what came since the last poll.
    pub(super) fn take_in(
        &mut self,
        placed: &[Placed<'_>],
        timeline: &Timeline,
        metrics: &Metrics,
    ) -> Result<Traffic, QueryError> {
        let targets = &mut self.targets;
        let mut read = |counter: &mut Option<Counter>| {
            counter.as_mut().map_or_else(|| Ok(Reading::default()), |c| c.read(placed, targets, timeline, metrics))
        };
        // All are read before any error is told: each one's state is whole again for the next poll.
        let (demand, received, dropped) = (read(&mut self.demand), read(&mut self.received), read(&mut self.dropped));
        let none = Groups::default();
        let groups = self.demand.as_ref().map_or(&none, |demand| demand.tracker.groups());
        Readings { demand: demand?, received: received?, dropped: dropped? }.traffic(groups, timeline)
    }
}

impl Counter {
    /// `None` for a signal that is not pushed.
    pub(super) fn new(query: &Query, grouping: Grouping, refuses_spans: bool) -> Option<Self> {
        let Query::Pushed(counter) = query else { return None };
        let selector = Selector::new(query).ok()?;
        let mut labels: BTreeSet<String> = counter.by.iter().cloned().collect();
        labels.extend(counter.matchers.iter().map(|matcher| matcher.label.clone()));
        let tracker = Tracker::new(grouping, counter.window, None, SERIES_MAX);
        Some(Self {
            selector,
            labels: labels.into_iter().collect(),
            refuses_spans,
            tracker,
            streams: Streams::new(SERIES_MAX),
            metric: None,
            sampled: None,
            hasher: RandomState::new(),
        })
    }

    pub(super) fn wanted(&self) -> WantedMetric {
        WantedMetric { metric: self.selector.metric.clone(), refuses_spans: self.refuses_spans }
    }

    fn read(
        &mut self,
        placed: &[Placed<'_>],
        targets: &mut Targets,
        timeline: &Timeline,
        metrics: &Metrics,
    ) -> Result<Reading, QueryError> {
        for placed in placed {
            if self.means(placed.parcel) {
                self.take(placed, metrics);
            } else if self.is_ambiguous(placed.parcel) {
                let points = placed.parcel.points.len() as u64;
                metrics.otlp_points.get_or_create(&OutcomeLabels { outcome: "ambiguous_name" }).inc_by(points);
            }
        }
        let told = self.streams.settle(timeline.source_now_ms, &mut self.tracker, targets);
        let measured = self.tracker.settle(targets, timeline.source_now_ms);
        let rejected =
            told.map_err(|()| QueryError::too_large(SERIES_MAX, "series", "narrow the counter's `match`"))?;
        metrics.source_rejected_values.inc_by(rejected);
        match &self.sampled {
            Some(metric) if measured.rows.is_empty() => Err(QueryError::Sampled { metric: metric.to_string() }),
            _ => Ok(Reading::measured(measured, self.tracker.interval(), timeline)),
        }
    }

    /// Whether the parcel is of this signal's metric; notes the one that it is.
    pub(super) fn means(&mut self, parcel: &Parcel) -> bool {
        let name = MetricName { name: &parcel.name, unit: &parcel.unit, kind: parcel.kind };
        if !name.is_meant_by(&self.selector.metric) {
            return false;
        }
        if parcel.is_of_spans && self.refuses_spans {
            self.sampled = Some(Arc::clone(&parcel.name));
            return false;
        }
        let metric = self.metric.get_or_insert_with(|| Arc::clone(&parcel.name));
        if **metric != *parcel.name && *parcel.name == *self.selector.metric {
            // Found by its very name, after another one that only looked like it.
            *metric = Arc::clone(&parcel.name);
        }
        *metric == parcel.name
    }

    /// Whether the parcel's metric only looks, to Prometheus, like the one that was found.
    fn is_ambiguous(&self, parcel: &Parcel) -> bool {
        let name = MetricName { name: &parcel.name, unit: &parcel.unit, kind: parcel.kind };
        let is_another = self.metric.as_ref().is_some_and(|metric| *metric != parcel.name);
        is_another && name.is_meant_by(&self.selector.metric)
    }

    fn take(&mut self, placed: &Placed<'_>, metrics: &Metrics) {
        let Placed { parcel, offset, received_ms } = *placed;
        for point in &parcel.points {
            let arrival = Arrival {
                series: self.series(parcel, point),
                resource: parcel.resource.id,
                offset,
                received_ms,
                is_delta: parcel.is_delta,
                start_ns: point.start_ns,
                at_ns: point.at_ns,
                value: point.value,
            };
            let (selector, labels) = (&self.selector, &self.labels);
            if let Err(rejection) = self.streams.take(arrival, || selected(selector, labels, parcel, point)) {
                metrics.otlp_points.get_or_create(&OutcomeLabels { outcome: rejection.as_str() }).inc();
            }
        }
    }

    /// The labels of a point that this signal means.
    pub(super) fn labels_of(&self, parcel: &Parcel, point: &Point) -> Option<OwnLabels> {
        selected(&self.selector, &self.labels, parcel, point)
    }

    /// Tells a series from all others.
    pub(super) fn series(&self, parcel: &Parcel, point: &Point) -> u64 {
        let attributes = identity(&self.hasher, &point.attributes);
        self.hasher.hash_one((parcel.resource.id, parcel.scope, &parcel.name, attributes))
    }
}

/// The labels that the policy uses; `None` where its matchers say that it does not mean the series.
fn selected(selector: &Selector, names: &[String], parcel: &Parcel, point: &Point) -> Option<OwnLabels> {
    let attributes = Attributes { point: &point.attributes, resource: &parcel.resource.attributes };
    let pairs = names.iter().map(|name| (Cow::Borrowed(name.as_str()), attributes.value(name)));
    let labels = Labels(pairs.collect());
    let is_meant = labels.0.iter().all(|(_, value)| value.len() <= LABEL_MAX_BYTES) && selector.matches(&labels);
    is_meant.then(|| labels.0.into_iter().map(|(label, value)| (label.into_owned(), value.into_owned())).collect())
}
