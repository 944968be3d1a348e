//! What a counter rose by between its samples. A counter only grows; a fall is a restart from zero, after which its
//! whole value is new.

/// One sample: milliseconds on the source's own clock, and a value that is finite and not negative.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    pub(super) at_ms: i64,
    pub(super) value: f64,
}

impl Sample {
    /// `None` unless the value can be a counter's.
    pub(super) fn new(at_ms: i64, value: f64) -> Option<Self> {
        (value.is_finite() && value >= 0.0).then_some(Self { at_ms, value })
    }
}

/// What a counter rose by from its sample `from` to its sample `to`; nothing is known yet where they are the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rise {
    pub(super) from: Sample,
    pub(super) to: Sample,
    pub(super) increase: f64,
}

/// The rise over `samples` that are newer than `last`, in rising order of time; `None` where none is newer. Samples out
/// of order and repeated ones are left out. A silence longer than `gap_max_ms` is not bridged: a mean over it would
/// hide what the counter does now.
pub(super) fn rise(last: Option<Sample>, samples: &[Sample], gap_max_ms: i64) -> Option<Rise> {
    let mut newer = samples.iter().copied().filter(|s| last.is_none_or(|l| s.at_ms > l.at_ms));
    let first = newer.next()?;
    let start = last.filter(|l| first.at_ms.saturating_sub(l.at_ms) <= gap_max_ms).unwrap_or(first);
    let mut rise = Rise { from: start, to: start, increase: 0.0 };
    for sample in std::iter::once(first).chain(newer) {
        if sample.at_ms > rise.to.at_ms {
            let is_reset = sample.value < rise.to.value;
            rise.increase += if is_reset { sample.value } else { sample.value - rise.to.value };
            rise.to = sample;
        }
    }
    Some(rise)
}

/// The shortest time between two neighbours: the scrape interval, even where a scrape was missed.
pub(super) fn spacing_ms(samples: &[Sample]) -> Option<i64> {
    samples.windows(2).map(|pair| pair[1].at_ms.saturating_sub(pair[0].at_ms)).filter(|ms| *ms > 0).min()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn samples(pairs: &[(i64, f64)]) -> Vec<Sample> {
        pairs.iter().map(|(at_ms, value)| Sample { at_ms: *at_ms, value: *value }).collect()
    }

    #[test]
    fn a_rise_is_what_is_new_since_the_last_sample() {
        let last = Some((10, 100.0));
        let table: [(&str, Option<(i64, f64)>, &[(i64, f64)], Option<(i64, i64, f64)>); 10] = [
            ("first sight", None, &[(10, 5.0), (20, 8.0)], Some((10, 20, 3.0))),
            ("a single first sample", None, &[(10, 5.0)], Some((10, 10, 0.0))),
            ("one more", last, &[(20, 130.0)], Some((10, 20, 30.0))),
            ("known ones again", last, &[(0, 90.0), (10, 100.0)], None),
            ("known and new", last, &[(10, 100.0), (20, 130.0), (30, 131.0)], Some((10, 30, 31.0))),
            ("a reset", last, &[(20, 7.0)], Some((10, 20, 7.0))),
            ("a reset between new ones", last, &[(20, 110.0), (30, 4.0), (40, 6.0)], Some((10, 40, 16.0))),
            (
                "repeated and out of order",
                last,
                &[(20, 110.0), (20, 500.0), (15, 1.0), (30, 120.0)],
                Some((10, 30, 20.0)),
            ),
            ("a gap with two samples behind it", last, &[(200, 900.0), (210, 905.0)], Some((200, 210, 5.0))),
            ("a gap with one sample behind it", last, &[(200, 900.0)], Some((200, 200, 0.0))),
        ];
        for (name, last, new, expected) in table {
            let last = last.map(|(at_ms, value)| Sample { at_ms, value });
            let got = rise(last, &samples(new), 100).map(|r| (r.from.at_ms, r.to.at_ms, r.increase));
            assert_eq!(got, expected, "{name}");
        }
    }

    #[test]
    fn a_missed_scrape_does_not_stretch_the_interval() {
        assert_eq!(spacing_ms(&samples(&[(0, 0.0), (10, 0.0), (30, 0.0)])), Some(10));
        assert_eq!(spacing_ms(&samples(&[(0, 0.0)])), None);
    }

    proptest! {
        #[test]
        fn polls_in_pieces_add_up_to_one_poll(steps in proptest::collection::vec((1i64..50, 0.0f64..1e6), 2..20), cut in 1usize..19) {
            let mut at_ms = 0;
            let all: Vec<Sample> = steps.iter().map(|(ms, value)| { at_ms += ms; Sample { at_ms, value: *value } }).collect();
            let cut = cut.min(all.len() - 1);
            let whole = rise(None, &all, i64::MAX).expect("samples");
            let head = rise(None, &all[..cut], i64::MAX).expect("samples");
            let tail = rise(Some(head.to), &all, i64::MAX).expect("newer samples");
            prop_assert!((head.increase + tail.increase - whole.increase).abs() <= 1e-6 * whole.increase.max(1.0));
            prop_assert!(whole.increase >= 0.0);
        }
    }
}
