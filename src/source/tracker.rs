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
mod tests {
    use std::borrow::Cow;

    use super::*;

    const SECOND: i64 = 1000;

    /// A policy's one signal, fed poll by poll. Series are written `service@instance`.
    struct Bench {
        tracker: Tracker,
        targets: Targets,
    }

    impl Bench {
        fn new() -> Self {
            let grouping = Grouping::Names { service: "service".into(), operation: None };
            let (hold, interval) = (Duration::from_secs(30), Duration::from_secs(5));
            Self { tracker: Tracker::new(grouping, hold, Some(interval), 100), targets: Targets::default() }
        }

        fn poll(&mut self, now: i64, answer: &[(&str, &[(i64, f64)])]) -> Measured {
            for (key, samples) in answer {
                self.observe(key, samples).expect("few series");
            }
            self.targets.settle(self.tracker.gap_max_ms(), now * SECOND);
            self.tracker.settle(&self.targets, now * SECOND)
        }

        fn observe(&mut self, key: &str, samples: &[(i64, f64)]) -> Result<u64, TooManySeries> {
            let samples: Vec<Sample> =
                samples.iter().filter_map(|(at, value)| Sample::new(at * SECOND, *value)).collect();
            let (service, instance) = key.split_once('@').expect("service@instance");
            let observation = Observation { key, known: None, samples: &samples, target: None, starts_anew: false };
            self.tracker.observe(observation, &mut self.targets, || {
                let pairs = [("service", service), ("instance", instance)];
                Some(Labels(pairs.map(|(l, v)| (Cow::Borrowed(l), Cow::Borrowed(v))).to_vec()))
            })
        }

        fn rows(&self, measured: &Measured) -> Vec<(String, f64, &'static str)> {
            let mark = |r: &Row| match (r.is_warming, r.is_stale) {
                (false, false) => "",
                (true, false) => "warming",
                (false, true) => "stale",
                (true, true) => "warming, stale",
            };
            let name = |r: &Row| self.tracker.groups().get(r.group).service.to_string();
            let mut rows: Vec<_> = measured.rows.iter().map(|r| (name(r), r.per_second, mark(r))).collect();
            rows.sort_by(|a, b| a.0.cmp(&b.0));
            rows
        }
    }

    fn row(service: &str, per_second: f64, mark: &'static str) -> (String, f64, &'static str) {
        (service.to_owned(), per_second, mark)
    }

    #[test]
    fn a_poll_reads_what_is_new_and_says_over_which_time() {
        let mut bench = Bench::new();
        let first = bench.poll(10, &[("cart@a", &[(0, 0.0), (5, 50.0), (10, 100.0)])]);
        assert_eq!((bench.rows(&first), first.over_ms), (vec![row("cart", 10.0, "")], Some((0, 10_000))));
        let second = bench.poll(15, &[("cart@a", &[(5, 50.0), (10, 100.0), (15, 250.0)])]);
        assert_eq!((bench.rows(&second), second.over_ms), (vec![row("cart", 30.0, "")], Some((10_000, 15_000))));
        let nothing_new = bench.poll(19, &[("cart@a", &[(10, 100.0), (15, 250.0)])]);
        assert_eq!((bench.rows(&nothing_new), nothing_new.over_ms), (bench.rows(&second), second.over_ms));
    }

    #[test]
    fn a_series_born_on_a_scraped_target_rises_from_zero() {
        let mut bench = Bench::new();
        bench.poll(10, &[("cart@a", &[(5, 1.0), (10, 1.0)])]);
        let burst = bench.poll(15, &[("cart@a", &[(10, 1.0), (15, 1.0)]), ("pay@a", &[(15, 5000.0)])]);
        assert_eq!(bench.rows(&burst), [row("cart", 0.0, ""), row("pay", 1000.0, "")]);
        assert_eq!(burst.over_ms, Some((10_000, 15_000)));
    }

    #[test]
    fn a_series_that_begins_anew_is_joined_to_nothing_and_one_that_ended_is_not_held() {
        let mut bench = Bench::new();
        bench.poll(10, &[("cart@a", &[(5, 100.0), (10, 200.0)])]);
        let samples = [(12, 0.0), (15, 60.0)].map(|(at, value)| Sample { at_ms: at * SECOND, value });
        let observation =
            Observation { key: "cart@a", known: None, samples: &samples, target: None, starts_anew: true };
        let no_labels = || -> Option<Labels<'static>> { None };
        assert_eq!(bench.tracker.observe(observation, &mut bench.targets, no_labels), Ok(0));
        let anew = bench.poll(15, &[("pay@b", &[(10, 0.0), (15, 0.0)])]);
        assert_eq!((bench.rows(&anew)[0].clone(), anew.over_ms), (row("cart", 20.0, ""), Some((10_000, 15_000))));
        bench.tracker.end("cart@a");
        let ended = bench.poll(16, &[]);
        assert_eq!(bench.rows(&ended), [row("pay", 0.0, "")]);
    }

    #[test]
    fn nothing_is_born_in_the_first_poll_nor_on_a_new_target() {
        let mut bench = Bench::new();
        let first = bench.poll(10, &[("cart@a", &[(5, 1.0), (10, 1.0)]), ("pay@a", &[(10, 5000.0)])]);
        assert_eq!(bench.rows(&first), [row("cart", 0.0, ""), row("pay", 0.0, "warming")]);
        let scaled = bench.poll(15, &[("cart@a", &[(10, 1.0), (15, 1.0)]), ("cart@b", &[(15, 9000.0)])]);
        assert_eq!(bench.rows(&scaled)[0], row("cart", 0.0, "warming"));
        let known = bench.poll(20, &[("cart@a", &[(15, 1.0), (20, 1.0)]), ("cart@b", &[(15, 9000.0), (20, 9050.0)])]);
        assert_eq!(bench.rows(&known)[0], row("cart", 10.0, ""));
    }

    #[test]
    fn a_target_back_from_silence_does_not_bear_its_old_counts() {
        let mut bench = Bench::new();
        bench.poll(10, &[("cart@a", &[(5, 1e6), (10, 1e6)])]);
        bench.poll(500, &[]);
        let back = bench.poll(505, &[("cart@a", &[(505, 2e6)])]);
        assert_eq!(bench.rows(&back), [row("cart", 0.0, "warming")]);
    }

    #[test]
    fn stopped_series_hold_their_rate_and_say_so() {
        let mut bench = Bench::new();
        let both: [(&str, &[(i64, f64)]); 2] =
            [("cart@a", &[(5, 0.0), (10, 50.0)]), ("cart@b", &[(5, 0.0), (10, 100.0)])];
        bench.poll(10, &both);
        let half = bench.poll(25, &[("cart@a", &[(15, 100.0), (20, 150.0), (25, 200.0)])]);
        assert_eq!(bench.rows(&half), [row("cart", 30.0, "stale")]);
        let replaced = bench.poll(45, &[("cart@a", &[(35, 300.0), (40, 350.0), (45, 400.0)])]);
        assert_eq!(bench.rows(&replaced), [row("cart", 10.0, "")], "after the window, others have taken over");
        let dead = bench.poll(100, &[]);
        assert_eq!((bench.rows(&dead), dead.newest_ms), (vec![row("cart", 10.0, "stale")], Some(45_000)));
        let forgotten = bench.poll(400, &[]);
        assert_eq!((bench.rows(&forgotten), forgotten.newest_ms), (vec![], None));
    }

    #[test]
    fn duplicates_and_nameless_series_are_counted_not_summed() {
        let mut bench = Bench::new();
        assert_eq!(bench.observe("cart@a", &[(5, 0.0), (10, 50.0)]), Ok(0));
        assert_eq!(bench.observe("cart@a", &[(5, 0.0), (10, 50.0)]), Ok(1));
        assert_eq!(bench.observe("@a", &[(5, 0.0), (10, 50.0)]), Ok(1));
        let measured = bench.poll(10, &[]);
        assert_eq!(bench.rows(&measured), [row("cart", 10.0, "")]);
    }

    #[test]
    fn series_beyond_the_bound_are_refused() {
        let mut bench = Bench::new();
        for n in 0..100 {
            assert_eq!(bench.observe(&format!("s{n}@a"), &[(5, 0.0)]), Ok(0));
        }
        assert_eq!(bench.observe("one-more@a", &[(5, 0.0)]), Err(TooManySeries));
    }
}
