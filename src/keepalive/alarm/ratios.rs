//! Where the devices of a cohort stand: how many at which ratio of gap to intended wait. 5 % fine, 256 bytes.

use std::time::Duration;

/// Bins: all up to 1, then each 5 % wider, the last open: from 20 times on nothing is told apart.
const BINS: usize = 64;
const GROWTH: f64 = 1.05;
/// A quantile that fewer devices than this are beyond is that of single devices.
const LATE_MIN: u64 = 2;

/// Devices by ratio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ratios([u32; BINS]);

impl Default for Ratios {
    fn default() -> Self {
        Self([0; BINS])
    }
}

/// Gap over the longest wait that was intended; 1 where none was.
pub fn ratio(gap: Duration, intended: Duration) -> f64 {
    if intended.is_zero() { 1.0 } else { gap.as_secs_f64() / intended.as_secs_f64() }
}

impl Ratios {
    /// One more device.
    pub fn add(&mut self, ratio: f64) {
        self.0[bin(ratio)] = self.0[bin(ratio)].saturating_add(1);
    }

    /// Those of another part of the cohort.
    pub fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, n)| *sum = sum.saturating_add(n));
    }

    /// Devices.
    pub fn devices(&self) -> u64 {
        self.0.iter().map(|n| u64::from(*n)).sum()
    }

    /// The ratio that 99 of 100 devices are within, and all but one of fewer than two hundred; of one device its own. `None`
    /// without devices.
    pub fn p99(&self) -> Option<f64> {
        let devices = self.devices();
        // As many may be beyond it: less than these are late by chance.
        let beyond = (devices / 100).max(if devices > 1 { LATE_MIN - 1 } else { 0 });
        let mut above = 0;
        for (bin, n) in self.0.iter().enumerate().rev() {
            above += u64::from(*n);
            if above > beyond {
                return Some(lower(bin));
            }
        }
        None
    }
}

fn bin(ratio: f64) -> usize {
    if ratio <= 1.0 || ratio.is_nan() {
        return 0;
    }
    // A hair more, so that a bin's own edge is in it.
    ((ratio.ln() / GROWTH.ln() + 1e-9) as usize + 1).min(BINS - 1)
}

/// The least ratio of a bin: what is told is never more than what was seen.
fn lower(bin: usize) -> f64 {
    if bin == 0 { 1.0 } else { GROWTH.powi(bin as i32 - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p99(ratios: &[(u32, f64)]) -> Option<f64> {
        let mut all = Ratios::default();
        ratios.iter().for_each(|(n, ratio)| (0..*n).for_each(|_| all.add(*ratio)));
        all.p99().map(|p99| (p99 * 100.0).round() / 100.0)
    }

    #[test]
    fn one_device_in_a_hundred_is_not_the_cohort() {
        assert_eq!(p99(&[]), None);
        assert_eq!(p99(&[(1_000, 0.5)]), Some(1.0));
        assert_eq!(p99(&[(990, 0.5), (10, 5.0)]), Some(1.0));
        assert!(p99(&[(980, 0.5), (20, 5.0)]) > Some(4.7));
    }

    #[test]
    fn in_a_small_cohort_one_device_is_its_own_affair_and_two_are_not() {
        assert_eq!(p99(&[(11, 0.9), (1, 50.0)]), Some(1.0));
        assert!(p99(&[(10, 0.9), (2, 3.0)]) > Some(2.8));
        assert!(p99(&[(1, 3.0)]) > Some(2.8), "of one device it is the whole cohort");
        assert!(p99(&[(2, 3.0)]) > Some(2.8));
    }

    proptest::proptest! {
        #[test]
        fn what_is_told_is_never_more_than_what_was_seen_and_within_five_percent(ratio in 0.0_f64..15.0) {
            let mut one = Ratios::default();
            one.add(ratio);
            let told = one.p99().expect("a device");
            proptest::prop_assert!(told <= ratio.max(1.0) * (1.0 + 1e-6) && told * 1.0501 >= ratio, "{told} for {ratio}");
        }

        #[test]
        fn merging_is_adding(a in proptest::collection::vec(0.0_f64..9.0, 0..50), b in proptest::collection::vec(0.0_f64..9.0, 0..50)) {
            let of = |ratios: &[f64]| ratios.iter().fold(Ratios::default(), |mut all, ratio| { all.add(*ratio); all });
            let mut merged = of(&a);
            merged.merge(&of(&b));
            proptest::prop_assert_eq!(merged, of(&[a, b].concat()));
        }

        #[test]
        fn a_device_that_is_later_never_lowers_the_p99(mut ratios in proptest::collection::vec(0.0_f64..9.0, 1..300), more in 0.0_f64..9.0) {
            let of = |ratios: &[f64]| ratios.iter().fold(Ratios::default(), |mut all, ratio| { all.add(*ratio); all }).p99();
            let before = of(&ratios);
            ratios[0] += more;
            proptest::prop_assert!(of(&ratios) >= before);
        }
    }
}
