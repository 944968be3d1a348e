//! How long gaps are, as the kernel counts them: ten linear buckets an octave from 2^30 ns (1.07 s) to 2^43 ns (2.4 h),
//! one bucket below and one above, so that two neighbouring bounds differ by at most a tenth. `ebpf/count.h` has the
//! same rule in C, without a division or a table; a quantile is therefore right to about 5 %, and below 1.07 s only
//! known to be there.

use std::time::Duration;

use super::mirror::{GAP_BUCKETS, GAP_OCTAVE_FIRST, GAP_OCTAVES, GAP_SUBDIVISIONS};

/// Bits under the leading one that choose the tenth of an octave.
const PART_BITS: u32 = 20;

/// A histogram of durations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    /// Durations by bucket.
    counts: [u64; GAP_BUCKETS],
    /// Sum of all durations in nanoseconds.
    sum: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; GAP_BUCKETS], sum: 0 }
    }
}

impl Histogram {
    /// The kernel's buckets, and its sum in nanoseconds.
    pub fn new(counts: [u64; GAP_BUCKETS], sum: u64) -> Self {
        Self { counts, sum }
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// All of them together.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum)
    }

    /// Each bucket's upper bound in seconds, and how many are in it alone; the last bound is infinite.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let bound = |bucket| upper_bound(bucket).map_or(f64::INFINITY, |bound| bound as f64 / 1e9);
        self.counts.iter().enumerate().map(move |(bucket, count)| (bound(bucket), *count))
    }

    /// The duration that a share of `q` does not exceed, evenly spread within its bucket; `None` without any. In the
    /// bucket above the last octave it is that octave's end, which is then too low.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let rank = q.clamp(0.0, 1.0) * self.count() as f64;
        let mut below = 0.0;
        for (bucket, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            if below + *count as f64 >= rank {
                let share = ((rank - below) / *count as f64).clamp(0.0, 1.0);
                let (from, to) = (lower_bound(bucket), upper_bound(bucket).unwrap_or(lower_bound(bucket)));
                return Some(Duration::from_nanos(from + ((to - from) as f64 * share) as u64));
            }
            below += *count as f64;
        }
        None
    }

    /// No duration exceeds this; `None` without any, and where one is in the bucket that has no end.
    pub fn ceiling(&self) -> Option<Duration> {
        self.highest().and_then(upper_bound).map(Duration::from_nanos)
    }

    /// Whether nothing longer than `time` was counted, to within a bucket.
    pub fn is_longest(&self, time: Duration) -> bool {
        self.highest().is_none_or(|highest| bucket_of(nanoseconds(time)) >= highest)
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine = mine.saturating_add(theirs);
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// What came since `earlier`, a former state of the same histogram.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut counts = self.counts;
        for (now, before) in counts.iter_mut().zip(earlier.counts) {
            *now = now.saturating_sub(before);
        }
        Self { counts, sum: self.sum.saturating_sub(earlier.sum) }
    }

    fn highest(&self) -> Option<usize> {
        self.counts.iter().rposition(|count| *count > 0)
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Of durations below this one, only their number is known.
pub const RESOLVED_FROM: Duration = Duration::from_nanos(1 << GAP_OCTAVE_FIRST);

/// The bucket of a duration in nanoseconds: `gap_bucket` of `ebpf/count.h`.
pub fn bucket_of(nanoseconds: u64) -> usize {
    if nanoseconds >> GAP_OCTAVE_FIRST == 0 {
        return 0;
    }
    let octave = nanoseconds.ilog2();
    if octave >= GAP_OCTAVE_FIRST + GAP_OCTAVES {
        return GAP_BUCKETS - 1;
    }
    let part = nanoseconds >> (octave - PART_BITS) & ((1 << PART_BITS) - 1);
    let tenth = (part * u64::from(GAP_SUBDIVISIONS)) >> PART_BITS;
    1 + ((octave - GAP_OCTAVE_FIRST) * GAP_SUBDIVISIONS) as usize + tenth as usize
}

/// The shortest duration of a bucket, in nanoseconds.
fn lower_bound(bucket: usize) -> u64 {
    let Some(above) = bucket.checked_sub(1) else { return 0 };
    let (octave, tenth) = (above as u32 / GAP_SUBDIVISIONS, above as u64 % u64::from(GAP_SUBDIVISIONS));
    let octave = octave + GAP_OCTAVE_FIRST;
    let part = (tenth << PART_BITS).div_ceil(u64::from(GAP_SUBDIVISIONS));
    (1 << octave) + (part << (octave - PART_BITS))
}

/// The shortest duration that is too long for a bucket, in nanoseconds; `None` for the last.
fn upper_bound(bucket: usize) -> Option<u64> {
    (bucket + 1 < GAP_BUCKETS).then(|| lower_bound(bucket + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(seconds: &[f64]) -> Histogram {
        let mut histogram = Histogram::default();
        for seconds in seconds {
            let ns = (seconds * 1e9) as u64;
            histogram.counts[bucket_of(ns)] += 1;
            histogram.sum += ns;
        }
        histogram
    }

    /// `gap_bucket` of `ebpf/count.h`, word for word, with its 32-bit arithmetic.
    fn in_c(gap: u64) -> usize {
        if gap >> 30 == 0 {
            return 0;
        }
        let (mut value, mut octave) = (gap, 0u32);
        for shift in [32, 16, 8, 4, 2, 1] {
            if value >> shift != 0 {
                value >>= shift;
                octave += shift;
            }
        }
        if octave >= 30 + 13 {
            return 131;
        }
        let part = ((gap >> (octave - 20)) & 0xfffff) as u32;
        (1 + (octave - 30) * 10 + (part.wrapping_mul(10) >> 20)) as usize
    }

    #[test]
    fn the_bucket_is_the_kernels_at_every_edge() {
        let edges = (0..GAP_BUCKETS).map(lower_bound).chain((0..64).map(|bit| 1 << bit)).chain([0, u64::MAX]);
        for edge in edges {
            for ns in [edge.saturating_sub(1), edge, edge.saturating_add(1)] {
                assert_eq!(bucket_of(ns), in_c(ns), "{ns} ns");
            }
        }
    }

    #[test]
    fn a_bucket_begins_where_the_one_before_it_ends() {
        for bucket in 1..GAP_BUCKETS {
            assert_eq!(bucket_of(lower_bound(bucket)), bucket);
            assert_eq!(bucket_of(lower_bound(bucket) - 1), bucket - 1);
        }
        assert_eq!((lower_bound(1), lower_bound(GAP_BUCKETS - 1)), (1 << 30, 1 << 43));
    }

    #[test]
    fn neighbouring_bounds_differ_by_at_most_a_tenth() {
        let bounds: Vec<f64> = Histogram::default().buckets().map(|(bound, _)| bound).collect();
        for pair in bounds[..GAP_BUCKETS - 1].windows(2) {
            let growth = pair[1] / pair[0];
            assert!(growth > 1.0 && growth <= 1.100_001, "{pair:?}");
        }
        assert_eq!(bounds.last(), Some(&f64::INFINITY));
    }

    #[test]
    fn a_quantile_is_right_to_within_its_bucket() {
        let histogram = of(&(1..=1000).map(|i| f64::from(i) / 5.0).collect::<Vec<_>>());
        for (q, seconds) in [(0.5, 100.0), (0.99, 198.0), (1.0, 200.0)] {
            let found = histogram.quantile(q).expect("not empty").as_secs_f64();
            assert!((found / seconds - 1.0).abs() < 0.1, "{q}: {found} for {seconds}");
        }
    }

    #[test]
    fn nothing_has_no_quantile_and_no_ceiling() {
        assert_eq!(Histogram::default().quantile(0.5), None);
        assert_eq!(Histogram::default().ceiling(), None);
    }

    #[test]
    fn the_longest_is_known_to_within_a_bucket() {
        let histogram = of(&[2.0, 45.1]);
        assert!(histogram.is_longest(Duration::from_secs_f64(45.1)) && !histogram.is_longest(Duration::from_secs(30)));
        assert!(
            histogram.ceiling().is_some_and(|most| most > Duration::from_secs(45) && most < Duration::from_secs(50))
        );
        assert_eq!(of(&[1e5]).ceiling(), None, "the last bucket has no end");
    }

    #[test]
    fn what_is_merged_can_be_taken_away_again() {
        let (one, mut both) = (of(&[2.0, 90.0]), of(&[2.0, 90.0]));
        both.merge(&of(&[30.0, 1e5, 0.1]));
        assert_eq!(both.count(), 5);
        assert_eq!(both.since(&one), of(&[30.0, 1e5, 0.1]));
        assert_eq!(one.since(&both), Histogram::default(), "a counter never goes back: nothing came");
    }
}
