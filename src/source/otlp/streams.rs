//! The points of one signal, stream by stream, as the samples of counters that only rise: what the tracker reads.
//!
//! A stream is one series of one writer. Writers are told apart by their start, because processes without a
//! `service.instance.id` push the same series under the same name: by the start alone their counts can be kept apart. A
//! start that is not before the end of another stream of the series is a restart instead, and ends that one.
//!
//! - **cumulative**: counted since its start. A value that falls is a reset (the tracker's business). At first sight what
//!   came before is unknown, unless the start is recent, or the writer was heard at least twice without this series, which
//!   then rose from zero since.
//! - **delta**: each point counts its own interval, and the sum of all is kept. One that begins before the last one's
//!   end overlaps, and would count twice: it is refused. A gap is not joined. SDKs leave out series in which nothing
//!   happened: while others of its process come, a missing series stands at zero.
//!
//! Limits: two writers that push one series as delta without a `service.instance.id` overlap, and one of them is refused.

use std::collections::HashMap;

use super::stream::{Arrival, OwnLabels, Rejection, Stream};
use super::writers::Writers;
use crate::source::targets::Targets;
use crate::source::tracker::Tracker;

/// A stream of which nothing was heard for this long is forgotten: as long as the tracker remembers.
const FORGET_AFTER_MS: i64 = 300_000;

/// Writers of one series that are told apart: processes without a `service.instance.id`.
const WRITERS_MAX: usize = 1_000;

/// The streams of one signal, at most as many as its tracker holds series.
#[derive(Debug)]
pub(super) struct Streams {
    by_series: HashMap<u64, Vec<Stream>>,
    count: usize,
    count_max: usize,
    made: u64,
    writers: Writers,
}

impl Streams {
    pub(super) fn new(count_max: usize) -> Self {
        Self { by_series: HashMap::new(), count: 0, count_max, made: 0, writers: Writers::default() }
    }

    /// Takes a point in. The `labels` of a new stream are asked for; `None`: the policy does not mean this series.
    pub(super) fn take(
        &mut self,
        arrival: Arrival,
        labels: impl FnOnce() -> Option<OwnLabels>,
    ) -> Result<(), Rejection> {
        let writer_ns = if arrival.is_delta { 0 } else { arrival.start_ns };
        let siblings = self.by_series.get_mut(&arrival.series);
        let known =
            siblings.and_then(|all| all.iter_mut().find(|s| s.start_ns == writer_ns && s.is_delta == arrival.is_delta));
        if let Some(stream) = known {
            self.writers.hear(&arrival);
            return if arrival.is_delta { stream.add(&arrival) } else { stream.follow(&arrival) };
        }
        let Some(labels) = labels() else { return Ok(()) };
        let siblings = self.by_series.get(&arrival.series).map_or(0, Vec::len);
        if self.count >= self.count_max || siblings >= WRITERS_MAX {
            return Err(Rejection::TooMany);
        }
        let export = self.writers.hear(&arrival);
        self.made += 1;
        let stream = Stream::begin(format!("{:x}", self.made).into(), labels, &arrival, export);
        let siblings = self.by_series.entry(arrival.series).or_default();
        // What ended before this writer began was the same one, before it was restarted.
        for sibling in siblings.iter_mut().filter(|s| s.last_ns <= arrival.start_ns || s.is_delta != arrival.is_delta) {
            sibling.has_ended = true;
        }
        siblings.push(stream);
        self.count += 1;
        Ok(())
    }

    /// All points of a poll are in: tells the tracker. Returns how many values it rejected; `Err` where it is full.
    pub(super) fn settle(&mut self, now_ms: i64, tracker: &mut Tracker, targets: &mut Targets) -> Result<u64, ()> {
        let (mut rejected, mut is_full) = (0, false);
        self.writers.settle(now_ms);
        let is_forgotten = |s: &Stream| now_ms.saturating_sub(s.heard_ms) > FORGET_AFTER_MS.max(s.gap_max_ms());
        for stream in self.by_series.values_mut().flatten() {
            if stream.is_delta {
                stream.idle_until(self.writers.settled_ns(stream.resource));
            }
            if stream.has_ended || is_forgotten(stream) {
                tracker.end(&stream.key);
                stream.samples.clear();
            }
            if !stream.samples.is_empty() {
                let told = stream.tell(tracker, targets);
                is_full |= told.is_none();
                rejected += told.unwrap_or(1);
            }
        }
        self.by_series.retain(|_, streams| {
            streams.retain(|stream| !is_forgotten(stream));
            !streams.is_empty()
        });
        self.count = self.by_series.values().map(Vec::len).sum();
        if is_full { Err(()) } else { Ok(rejected) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::source::labels::Grouping;
    use crate::source::otlp::peers::Offset;

    const SECOND: u64 = 1_000_000_000;
    /// Processes began long before anybody listened.
    const LONG_AGO_S: u64 = 1;

    /// One signal summed to one number, fed poll by poll; the clocks agree.
    struct Bench {
        streams: Streams,
        tracker: Tracker,
        targets: Targets,
    }

    /// Series, start, time in seconds and value.
    type Told = (u64, u64, u64, f64);

    impl Bench {
        fn new() -> Self {
            let tracker = Tracker::new(Grouping::Total, Duration::from_secs(60), None, 10);
            Self { streams: Streams::new(10), tracker, targets: Targets::default() }
        }

        /// The rate after these points, each with what became of it.
        fn poll(&mut self, is_delta: bool, now_s: u64, points: &[Told]) -> (Option<f64>, Vec<Result<(), Rejection>>) {
            let outcomes = points.iter().map(|point| self.take(is_delta, now_s, *point)).collect();
            let now_ms = i64::try_from(now_s * 1000).expect("small");
            self.streams.settle(now_ms, &mut self.tracker, &mut self.targets).expect("few series");
            let measured = self.tracker.settle(&self.targets, now_ms);
            let known = measured.over_ms.map(|_| measured.rows.iter().map(|row| row.per_second).sum());
            (known, outcomes)
        }

        fn rate(&mut self, is_delta: bool, now_s: u64, points: &[Told]) -> Option<f64> {
            self.poll(is_delta, now_s, points).0
        }

        fn take(&mut self, is_delta: bool, now_s: u64, (series, start_s, at_s, value): Told) -> Result<(), Rejection> {
            let arrival = Arrival {
                series,
                resource: 0,
                offset: Offset::default(),
                received_ms: i64::try_from(now_s * 1000).expect("small"),
                is_delta,
                start_ns: start_s * SECOND,
                at_ns: at_s * SECOND,
                value,
            };
            self.streams.take(arrival, || Some(Vec::new()))
        }
    }

    #[test]
    fn points_become_the_rate_of_what_they_count() {
        use Rejection::{OutOfOrder, Overlap};
        const S: u64 = LONG_AGO_S;
        type Polls<'a> = &'a [(u64, &'a [Told])];
        let table: [(&str, bool, Polls<'_>, Option<f64>, Option<Rejection>); 20] = [
            ("cumulative, first sight", false, &[(1000, &[(1, S, 1000, 500.0)])], None, None),
            ("cumulative, young", false, &[(1000, &[(1, 990, 1000, 50.0)])], Some(5.0), None),
            ("cumulative", false, &[(1000, &[(1, S, 1000, 500.0)]), (1010, &[(1, S, 1010, 600.0)])], Some(10.0), None),
            (
                "several a poll",
                false,
                &[(1010, &[(1, S, 1000, 5.0), (1, S, 1005, 55.0), (1, S, 1010, 105.0)])],
                Some(10.0),
                None,
            ),
            (
                "a fall is a reset",
                false,
                &[(1000, &[(1, S, 1000, 500.0)]), (1010, &[(1, S, 1010, 30.0)])],
                Some(3.0),
                None,
            ),
            (
                "a new start is a reset",
                false,
                &[(1000, &[(1, S, 1000, 500.0)]), (1010, &[(1, 1002, 1010, 40.0)])],
                Some(5.0),
                None,
            ),
            (
                "a new start above the last value",
                false,
                &[(1000, &[(1, S, 1000, 5.0)]), (1010, &[(1, 1002, 1010, 40.0)])],
                Some(5.0),
                None,
            ),
            (
                "two writers of one series",
                false,
                &[
                    (1000, &[(1, S, 1000, 500.0), (1, 2, 1000, 90.0)]),
                    (1010, &[(1, S, 1010, 600.0), (1, 2, 1010, 120.0)]),
                ],
                Some(13.0),
                None,
            ),
            (
                "repeated",
                false,
                &[(1000, &[(1, S, 1000, 500.0)]), (1010, &[(1, S, 1010, 600.0), (1, S, 1010, 600.0)])],
                Some(10.0),
                Some(OutOfOrder),
            ),
            (
                "out of order",
                false,
                &[(1010, &[(1, S, 1000, 500.0), (1, S, 1010, 600.0), (1, S, 1005, 550.0)])],
                Some(10.0),
                Some(OutOfOrder),
            ),
            (
                "a long silence is not joined",
                false,
                &[(1000, &[(1, S, 1000, 0.0)]), (1010, &[(1, S, 1010, 10.0)]), (1100, &[(1, S, 1100, 9000.0)])],
                None,
                None,
            ),
            (
                "a longer interval is learnt",
                false,
                &[
                    (1010, &[(1, S, 1000, 0.0), (1, S, 1010, 10.0)]),
                    (1070, &[(1, S, 1070, 900.0)]),
                    (1130, &[(1, S, 1130, 960.0)]),
                ],
                Some(1.0),
                None,
            ),
            ("delta", true, &[(1000, &[(1, 990, 1000, 50.0)])], Some(5.0), None),
            (
                "delta goes on",
                true,
                &[(1000, &[(1, 990, 1000, 50.0)]), (1010, &[(1, 1000, 1010, 70.0)])],
                Some(7.0),
                None,
            ),
            ("delta, several a poll", true, &[(1010, &[(1, 990, 1000, 50.0), (1, 1000, 1010, 70.0)])], Some(6.0), None),
            (
                "delta with a gap",
                true,
                &[(1000, &[(1, 990, 1000, 50.0)]), (1030, &[(1, 1020, 1030, 70.0)])],
                Some(7.0),
                None,
            ),
            (
                "delta repeated",
                true,
                &[(1000, &[(1, 990, 1000, 50.0), (1, 990, 1000, 50.0)])],
                Some(5.0),
                Some(OutOfOrder),
            ),
            (
                "delta overlaps",
                true,
                &[(1000, &[(1, 990, 1000, 50.0)]), (1010, &[(1, 995, 1005, 50.0)])],
                Some(5.0),
                Some(Overlap),
            ),
            (
                "delta out of order",
                true,
                &[(1020, &[(1, 1010, 1020, 50.0), (1, 1000, 1010, 999.0)])],
                Some(5.0),
                Some(OutOfOrder),
            ),
            (
                "delta without a start",
                true,
                &[(1000, &[(1, 0, 1000, 50.0)]), (1010, &[(1, 0, 1010, 20.0)])],
                Some(2.0),
                None,
            ),
        ];
        for (name, is_delta, polls, expected, rejected) in table {
            let mut bench = Bench::new();
            let (mut rate, mut outcomes) = (None, Vec::new());
            for (now_s, points) in polls {
                let polled = bench.poll(is_delta, *now_s, points);
                rate = polled.0;
                outcomes.extend(polled.1);
            }
            assert_eq!(rate, expected, "{name}");
            assert_eq!(outcomes.into_iter().find_map(Result::err), rejected, "{name}");
        }
    }

    #[test]
    fn a_series_that_is_born_late_rises_from_zero_once_its_writer_is_known() {
        let steady = |at_s: u64| (1, LONG_AGO_S, at_s, 0.0);
        let born = |at_s: u64| (2, LONG_AGO_S, at_s, 300.0);
        let mut bench = Bench::new();
        bench.poll(false, 1000, &[steady(1000)]);
        bench.poll(false, 1010, &[steady(1010)]);
        assert_eq!(bench.rate(false, 1020, &[steady(1020), born(1020)]), Some(30.0));
        let mut early = Bench::new();
        early.poll(false, 1000, &[steady(1000)]);
        assert_eq!(
            early.rate(false, 1010, &[steady(1010), born(1010)]),
            Some(0.0),
            "one export may have been cut in two"
        );
    }

    #[test]
    fn a_delta_series_that_is_left_out_stands_at_zero_while_its_process_lives() {
        let mut bench = Bench::new();
        let busy = |start_s| (1, start_s, start_s + 10, 100.0);
        assert_eq!(bench.rate(true, 1000, &[busy(990), (2, 990, 1000, 50.0)]), Some(15.0));
        assert_eq!(bench.rate(true, 1010, &[busy(1000)]), Some(15.0), "the rest of the export may still come");
        assert_eq!(bench.rate(true, 1015, &[]), Some(10.0));
        assert_eq!(bench.rate(true, 1020, &[busy(1010), (2, 1010, 1020, 20.0)]), Some(12.0), "and it comes back");
    }

    #[test]
    fn who_was_taken_for_restarted_and_was_not_is_joined_again() {
        let mut bench = Bench::new();
        bench.poll(false, 1000, &[(1, LONG_AGO_S, 1000, 500.0)]);
        bench.poll(false, 1010, &[(1, LONG_AGO_S, 1010, 600.0)]);
        bench.poll(false, 1015, &[(1, 1011, 1015, 4.0)]);
        let both = bench.rate(false, 1025, &[(1, LONG_AGO_S, 1020, 700.0), (1, 1011, 1025, 14.0)]);
        assert_eq!(both, Some(11.0));
    }

    #[test]
    fn streams_are_bounded_and_forgotten() {
        let mut bench = Bench::new();
        let points: Vec<Told> = (0..11).map(|series| (series, LONG_AGO_S, 1000, 1.0)).collect();
        let (_, outcomes) = bench.poll(false, 1000, &points);
        assert_eq!(outcomes.iter().filter(|o| **o == Err(Rejection::TooMany)).count(), 1);
        bench.poll(false, 1301, &[]);
        assert_eq!((bench.streams.count, bench.tracker.len()), (0, 0));
    }

    proptest! {
        #[test]
        fn whatever_is_pushed_is_a_rate_within_what_was_counted(
            points in proptest::collection::vec((any::<bool>(), 0u64..2, 0u64..60, 0u64..60, 0.0f64..1e6), 1..60),
        ) {
            let mut bench = Bench::new();
            for (n, (is_delta, series, start_s, at_s, value)) in points.into_iter().enumerate() {
                let now_s = 1000 + n as u64;
                let told = (series, 940 + start_s.min(at_s), 940 + at_s.max(start_s), value);
                if let Some(rate) = bench.rate(is_delta, now_s, &[told]) {
                    // No interval is shorter than a second, and each of the ten streams counts at most a million in one.
                    prop_assert!((0.0..=1e7).contains(&rate), "{rate}");
                }
            }
        }
    }
}
