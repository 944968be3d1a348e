//! One policy's counters over all scraped targets. A signal that is pushed elsewhere is none of them, and stays empty.

use std::sync::Arc;
use std::time::Duration;

use super::exposition::Line;
use super::target::{Target, labels_of};
use crate::sampling::traffic::Traffic;
use crate::source::error::QueryError;
use crate::source::groups::Groups;
use crate::source::increase::Sample;
use crate::source::labels::Grouping;
use crate::source::reading::{Reading, Readings};
use crate::source::selector::Selector;
use crate::source::signals::{Query, Signals};
use crate::source::targets::Targets;
use crate::source::timeline::Timeline;
use crate::source::tracker::{Observation, Tracker};
use crate::telemetry::metrics::Metrics;

/// Series of one signal that are kept in memory, about 400 bytes each.
const SERIES_MAX: usize = 200_000;

/// What was scraped for one policy so far.
#[derive(Debug)]
pub(super) struct PolicyState {
    signals: Arc<Signals>,
    /// `None`: the signals cannot be read without a server.
    counters: Option<Counters>,
}

#[derive(Debug)]
struct Counters {
    demand: Option<Counter>,
    received: Option<Counter>,
    dropped: Option<Counter>,
    targets: Targets,
}

#[derive(Debug)]
struct Counter {
    selector: Selector,
    tracker: Tracker,
    /// Reused for each series.
    key: String,
    is_full: bool,
}

/// One sample as it was scraped, at the source's time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scrape<'a> {
    pub(super) target: &'a Target,
    pub(super) at_ms: i64,
    pub(super) line: Line<'a>,
}

impl PolicyState {
    pub(super) fn new(signals: &Arc<Signals>, interval: Duration) -> Self {
        Self { signals: Arc::clone(signals), counters: Counters::new(signals, interval).ok() }
    }

    pub(super) fn signals(&self) -> &Arc<Signals> {
        &self.signals
    }

    /// The metrics that this policy wants to see.
    pub(super) fn metrics(&self) -> impl Iterator<Item = &str> {
        let all = self.counters.iter().flat_map(|c| [&c.demand, &c.received, &c.dropped]);
        all.flatten().map(|counter| counter.selector.metric.as_str())
    }

    /// Takes one poll in: each target that answered, by its time, and all samples that some policy wants.
    pub(super) fn take_in(
        &mut self,
        answered: &[(&Target, i64)],
        scrapes: &[Scrape<'_>],
        timeline: &Timeline,
        metrics: &Metrics,
    ) -> Result<Traffic, QueryError> {
        let Some(counters) = &mut self.counters else {
            return Err(refusal(&self.signals));
        };
        for (target, at_ms) in answered {
            let id = target.id(&counters.targets);
            id.into_iter().for_each(|id| counters.targets.note(id, [*at_ms].into_iter()));
        }
        let rejected: u64 = scrapes.iter().map(|scrape| counters.observe(scrape)).sum();
        metrics.source_rejected_values.inc_by(rejected);
        counters.settle(timeline)
    }
}

impl Counters {
    fn new(signals: &Signals, interval: Duration) -> Result<Self, QueryError> {
        let counter = |query: &Query, grouping| {
            if query.is_pushed() { Ok(None) } else { Counter::new(query, grouping, interval).map(Some) }
        };
        Ok(Self {
            demand: counter(&signals.demand.query, Grouping::of_demand(&signals.demand))?,
            received: counter(&signals.received, Grouping::Total)?,
            dropped: counter(&signals.dropped, Grouping::Total)?,
            targets: Targets::default(),
        })
    }

    /// Returns how many values were rejected.
    fn observe(&mut self, scrape: &Scrape<'_>) -> u64 {
        let targets = &mut self.targets;
        let counters = [&mut self.demand, &mut self.received, &mut self.dropped];
        counters.into_iter().flatten().map(|counter| counter.observe(scrape, targets)).sum()
    }

    fn settle(&mut self, timeline: &Timeline) -> Result<Traffic, QueryError> {
        let first = [&self.demand, &self.received, &self.dropped].into_iter().flatten().next();
        let gap_max_ms = first.map_or(0, |counter| counter.tracker.gap_max_ms());
        self.targets.settle(gap_max_ms, timeline.source_now_ms);
        let counters = [&mut self.demand, &mut self.received, &mut self.dropped];
        let [demand, received, dropped] = counters.map(|counter| {
            counter.as_mut().map_or_else(|| Ok(Reading::default()), |counter| counter.settle(&self.targets, timeline))
        });
        let none = Groups::default();
        Readings { demand: demand?, received: received?, dropped: dropped? }
            .traffic(self.demand.as_ref().map_or(&none, |demand| demand.tracker.groups()), timeline)
    }
}

impl Counter {
    fn new(query: &Query, grouping: Grouping, interval: Duration) -> Result<Self, QueryError> {
        let tracker = Tracker::new(grouping, query.window(), Some(interval), SERIES_MAX);
        Ok(Self { selector: Selector::new(query)?, tracker, key: String::new(), is_full: false })
    }

    fn observe(&mut self, scrape: &Scrape<'_>, targets: &mut Targets) -> u64 {
        let Scrape { target, at_ms, line } = *scrape;
        if line.name != self.selector.metric {
            return 0;
        }
        self.key.clear();
        self.key.extend([target.url.as_str(), "\n", line.series]);
        // A series once taken in has passed its matchers; another one has to.
        if !self.tracker.knows(&self.key) && !self.selector.matches(&labels_of(&line, &target.instance)) {
            return 0;
        }
        let Some(sample) = Sample::new(line.at_ms.unwrap_or(at_ms), line.value) else { return 1 };
        let observation = Observation {
            key: &self.key,
            known: None,
            samples: &[sample],
            target: target.id(targets),
            starts_anew: false,
        };
        let observed = self.tracker.observe(observation, targets, || Some(labels_of(&line, &target.instance)));
        self.is_full |= observed.is_err();
        observed.unwrap_or(1)
    }

    fn settle(&mut self, targets: &Targets, timeline: &Timeline) -> Result<Reading, QueryError> {
        let measured = self.tracker.settle(targets, timeline.source_now_ms);
        if std::mem::take(&mut self.is_full) {
            return Err(QueryError::too_large(SERIES_MAX, "series", "narrow the counter's `match`"));
        }
        Ok(Reading::measured(measured, self.tracker.interval(), timeline))
    }
}

/// Why these signals cannot be scraped.
fn refusal(signals: &Signals) -> QueryError {
    let refused = signals.queries().into_iter().find_map(|(_, query)| Selector::new(query).err());
    refused.expect("a policy has no counters only if one of its queries was refused")
}
