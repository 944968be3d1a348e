//! One counter signal, read raw: from the samples of its series to a rate for each group.
//!
//! Each series keeps its last sample and the rise that led to it, so that a poll costs what is new since the last one,
//! and a poll that finds nothing new repeats the last fact with its own old times instead of inventing one. A series
//! that stops does not fall to zero: its last rate stays in its group, which is marked stale, for as long as the
//! server's own `rate()` would still see it; where all of a group stopped, the group stays as it was.

use std::mem;
use std::time::Duration;

use super::groups::{GroupIndex, Groups};
use super::increase::{Rise, Sample, rise, spacing_ms};
use super::keys::{KeyIndex, Keys};
use super::labels::{Grouping, Labels};
use super::targets::{TargetId, Targets};

/// A series silent for longer than this is forgotten: Prometheus' own look-back.
const FORGET_AFTER_MS: i64 = 300_000;
/// A series silent for this many of its scrape intervals has stopped.
const STOPPED_AFTER_INTERVALS: i64 = 2;
/// Two samples further apart than this many scrape intervals, in halves, are not joined: more than one was missed.
const GAP_MAX_HALF_INTERVALS: i64 = 5;

/// The state of one counter signal.
#[derive(Debug)]
pub(super) struct Tracker {
    grouping: Grouping,
    hold_ms: i64,
    series_max: usize,
    keys: Keys,
    /// One a key.
    series: Vec<Series>,
    /// The series of this poll that was observed last.
    last: Option<KeyIndex>,
    groups: Groups,
    polls: u64,
    interval_ms: Option<i64>,
}

#[derive(Debug)]
struct Series {
    /// `None`: its labels name nothing that can be answered.
    group: Option<GroupIndex>,
    target: Option<TargetId>,
    seen_in_poll: u64,
    rise: Rise,
    spacing_ms: Option<i64>,
    is_new: bool,
    /// It is known to be over, and forgotten at the next settlement unless it comes again.
    has_ended: bool,
}

/// One series' samples of one poll.
#[derive(Debug, Clone, Copy)]
pub(super) struct Observation<'a> {
    /// Tells the series from all others.
    pub(super) key: &'a str,
    /// Where the tracker has that key, for whoever has looked since it was last settled.
    pub(super) known: Option<KeyIndex>,
    /// Oldest first.
    pub(super) samples: &'a [Sample],
    /// The target that showed it; `None` = the one that its labels name.
    pub(super) target: Option<TargetId>,
    /// The first sample is where the series begins, or begins anew: it is joined to nothing before it, and no birth is
    /// presumed.
    pub(super) starts_anew: bool,
}

/// What a [`Tracker`] measured, times on the source's clock.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// At most one row a group.
    pub(super) rows: Vec<Row>,
    /// The time that the rates were measured over; `None` without any rate.
    pub(super) over_ms: Option<(i64, i64)>,
    /// The newest sample of any series.
    pub(super) newest_ms: Option<i64>,
}

/// One group's rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Row {
    pub(super) group: GroupIndex,
    pub(super) per_second: f64,
    pub(super) is_warming: bool,
    pub(super) is_stale: bool,
}

/// More series than the tracker was made for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooManySeries;

#[derive(Debug, Clone, Copy)]
struct Sum {
    newest_ms: i64,
    is_live: bool,
    row: Row,
    has_rate: bool,
}

impl Tracker {
    /// `hold`: for how long a stopped series stays in a group of which others live.
    pub(super) fn new(grouping: Grouping, hold: Duration, interval: Option<Duration>, series_max: usize) -> Self {
        Self {
            grouping,
            hold_ms: millis(hold),
            series_max,
            keys: Keys::default(),
            series: Vec::new(),
            last: None,
            groups: Groups::default(),
            polls: 0,
            interval_ms: interval.map(millis),
        }
    }

    /// Takes one series' samples; its `labels` are asked for when it is new. Returns how many values were rejected.
    pub(super) fn observe<'l>(
        &mut self,
        observation: Observation<'_>,
        targets: &mut Targets,
        labels: impl FnOnce() -> Option<Labels<'l>>,
    ) -> Result<u64, TooManySeries> {
        let Observation { key, known, samples, starts_anew, .. } = observation;
        let poll = self.polls;
        let Some(index) = known.or_else(|| self.keys.find(key, self.last)) else {
            return self.meet(observation, targets, labels);
        };
        self.keys.follow(self.last.replace(index), index);
        let known = &mut self.series[index];
        known.has_ended = false;
        if mem::replace(&mut known.seen_in_poll, poll) == poll {
            return Ok(1);
        }
        if let Some(target) = known.target {
            targets.note(target, noted(observation));
        }
        known.spacing_ms = spacing_ms(samples).or(known.spacing_ms);
        let gap_max_ms = gap_max_ms(known.spacing_ms.or(self.interval_ms));
        let last = (!starts_anew).then_some(known.rise.to);
        if let Some(rise) = rise(last, samples, gap_max_ms) {
            known.rise = rise;
        }
        Ok(u64::from(known.group.is_none()))
    }

    fn meet<'l>(
        &mut self,
        observation: Observation<'_>,
        targets: &mut Targets,
        labels: impl FnOnce() -> Option<Labels<'l>>,
    ) -> Result<u64, TooManySeries> {
        let Observation { key, samples, target, starts_anew, .. } = observation;
        let Some(rise) = rise(None, samples, i64::MAX) else { return Ok(0) };
        if self.series.len() >= self.series_max {
            return Err(TooManySeries);
        }
        let labels = labels().unwrap_or_default();
        let names = self.grouping.names(&labels);
        let group = names.map(|(service, operation)| self.groups.index_of(service, operation));
        let target = target.or_else(|| targets.id(labels.get("job"), labels.get("instance")));
        if let Some(target) = target {
            targets.note(target, noted(observation));
        }
        let spacing_ms = spacing_ms(samples);
        let series = Series {
            group,
            target,
            seen_in_poll: self.polls,
            rise,
            spacing_ms,
            is_new: !starts_anew,
            has_ended: false,
        };
        let index = self.keys.insert(key);
        self.keys.follow(self.last.replace(index), index);
        self.series.push(series);
        Ok(u64::from(group.is_none()))
    }

    /// The series has ended, and is known to: what it last did is not held.
    pub(super) fn end(&mut self, key: &str) {
        if let Some(index) = self.keys.find(key, self.last) {
            self.series[index].has_ended = true;
        }
    }

    /// Whether the series was taken in before.
    pub(super) fn knows(&self, key: &str) -> bool {
        self.keys.find(key, self.last).is_some()
    }

    /// What its series are told by.
    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// How many series there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.series.len()
    }

    /// The time between two samples of most series; `None` until known.
    pub(super) fn interval(&self) -> Option<Duration> {
        self.interval_ms.map(|ms| Duration::from_millis(ms.unsigned_abs()))
    }

    /// The newest sample of each series.
    pub(super) fn newest_ms(&self) -> impl Iterator<Item = i64> {
        self.series.iter().map(|series| series.rise.to.at_ms)
    }

    /// The longest silence of a target that is still taken for one missed scrape.
    pub(super) fn gap_max_ms(&self) -> i64 {
        gap_max_ms(self.interval_ms)
    }

    /// The group behind a row.
    pub(super) fn groups(&self) -> &Groups {
        &self.groups
    }

    /// All of a poll's series have been observed, and its targets settled: the rates at `now_ms`.
    pub(super) fn settle(&mut self, targets: &Targets, now_ms: i64) -> Measured {
        self.learn_interval();
        self.deliver_births(targets);
        self.forget(now_ms);
        self.last = None;
        self.polls += 1;
        self.measure(now_ms)
    }

    fn learn_interval(&mut self) {
        let mut spacings: Vec<i64> = self.series.iter().filter_map(|s| s.spacing_ms).collect();
        if !spacings.is_empty() {
            let middle = spacings.len() / 2;
            self.interval_ms = Some(*spacings.select_nth_unstable(middle).1);
        }
    }

    /// A new series on a target that was there before rose from zero, since the scrape before it was seen.
    fn deliver_births(&mut self, targets: &Targets) {
        let is_first_poll = self.polls == 0;
        for series in self.series.iter_mut().filter(|s| s.is_new) {
            series.is_new = false;
            let first = series.rise.from;
            let birth_ms = series.target.and_then(|target| targets.birth_ms(target, first.at_ms));
            if let (false, Some(at_ms)) = (is_first_poll, birth_ms) {
                series.rise.increase += first.value;
                series.rise.from = Sample { at_ms, value: 0.0 };
            }
        }
    }

    fn forget(&mut self, now_ms: i64) {
        let is_kept =
            |s: &Series| !s.has_ended && now_ms.saturating_sub(s.rise.to.at_ms) <= forget_after_ms(s.spacing_ms);
        if self.series.iter().all(is_kept) {
            return;
        }
        self.keys.retain(|key| is_kept(&self.series[key]));
        self.series.retain(is_kept);
        let mut is_used = vec![false; self.groups.len()];
        self.series.iter().filter_map(|s| s.group).for_each(|group| is_used[group] = true);
        let moved = self.groups.retain(&is_used);
        for group in self.series.iter_mut().filter_map(|s| s.group.as_mut()) {
            *group = moved[*group];
        }
    }

    fn measure(&self, now_ms: i64) -> Measured {
        let mut sums: Vec<Sum> = (0..self.groups.len()).map(Sum::nothing).collect();
        let is_live = |s: &Series| {
            let stopped_after = s.spacing_ms.or(self.interval_ms).map(|ms| ms.saturating_mul(STOPPED_AFTER_INTERVALS));
            now_ms.saturating_sub(s.rise.to.at_ms) <= stopped_after.unwrap_or(FORGET_AFTER_MS)
        };
        let grouped = || self.series.iter().filter_map(|s| s.group.map(|group| (s, group)));
        for (series, group) in grouped() {
            sums[group].is_live |= is_live(series);
            sums[group].newest_ms = sums[group].newest_ms.max(series.rise.to.at_ms);
        }
        let mut span = Span::default();
        for (series, group) in grouped() {
            let sum = &mut sums[group];
            let reference_ms = if sum.is_live { now_ms } else { sum.newest_ms };
            let is_live = is_live(series);
            if is_live || reference_ms.saturating_sub(series.rise.to.at_ms) <= self.hold_ms {
                sum.add(series.rise, is_live);
                span.add(series.rise, is_live);
            }
        }
        let rows = sums.iter().filter(|s| s.has_rate || s.is_live).map(|s| s.row).collect();
        let newest_ms = sums.iter().map(|s| s.newest_ms).max();
        Measured { rows, over_ms: span.live.or(span.all), newest_ms }
    }
}

/// When the target was seen to show the series: a start that is told is not a time at which anything was shown.
fn noted(observation: Observation<'_>) -> impl Iterator<Item = i64> {
    let Observation { samples, starts_anew, .. } = observation;
    let told = if starts_anew { samples.len().saturating_sub(1) } else { 0 };
    samples[told..].iter().map(|sample| sample.at_ms)
}

impl Sum {
    fn nothing(group: GroupIndex) -> Self {
        let row = Row { group, per_second: 0.0, is_warming: false, is_stale: false };
        Self { newest_ms: i64::MIN, is_live: false, row, has_rate: false }
    }

    fn add(&mut self, rise: Rise, is_live: bool) {
        self.row.is_stale |= !is_live;
        match per_second(rise) {
            Some(rate) => {
                self.has_rate = true;
                self.row.per_second += rate;
            }
            None => self.row.is_warming |= is_live,
        }
    }
}

/// From the earliest start to the latest end: nothing in the rates is older than its start.
#[derive(Default)]
struct Span {
    live: Option<(i64, i64)>,
    all: Option<(i64, i64)>,
}

impl Span {
    fn add(&mut self, rise: Rise, is_live: bool) {
        let (from, to) = (rise.from.at_ms, rise.to.at_ms);
        let widened = |span: Option<(i64, i64)>| span.map_or((from, to), |(f, t)| (f.min(from), t.max(to)));
        if from < to {
            self.all = Some(widened(self.all));
            self.live = if is_live { Some(widened(self.live)) } else { self.live };
        }
    }
}

fn per_second(rise: Rise) -> Option<f64> {
    let ms = rise.to.at_ms.saturating_sub(rise.from.at_ms);
    (ms > 0).then(|| rise.increase * 1000.0 / ms as f64)
}

fn gap_max_ms(interval_ms: Option<i64>) -> i64 {
    interval_ms.map_or(FORGET_AFTER_MS, |ms| ms.saturating_mul(GAP_MAX_HALF_INTERVALS) / 2)
}

fn forget_after_ms(spacing_ms: Option<i64>) -> i64 {
    FORGET_AFTER_MS.max(gap_max_ms(Some(spacing_ms.unwrap_or(0))))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
