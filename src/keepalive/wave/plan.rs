//! Who has the new interval in which wave.
//!
//! Buckets are in a random order; a wave is all of them up to a cut, so the second wave contains the first. What is
//! *judged* in a wave are only its new devices, against those that still have the old interval: those of the wave
//! before have told what they had to, and a device's fate in one wave says nothing of whether it is among the next
//! one's new ones. So each wave is a fresh draw, and evidence multiplies over waves without being paid for twice.
//!
//! The last wave needs a control too: 10 % of the cohort are held out until its gates have passed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Part of the cohort that keeps the old interval until the last wave's gates have passed. What the last wave can show
/// is bounded by it: each of its beats tells 0.00046 nats of a release that fails five times as often, so that it takes
/// some 20,000 of them, two hundred rounds of the hundred devices held out of 1,000, to stop one that two waves have
/// passed.
const HELD_OUT: f64 = 0.1;
/// A wave judges at least so many devices, against as many, or half of a smaller cohort: fewer could not show anything
/// ([`super::urn`]). It makes the first wave of a cohort of 50 a tenth of it.
const DEVICES_MIN: usize = 5;

/// How a longer interval goes out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WavePolicy {
    /// Share of the cohort in each wave, in percent, rising. What comes after the last one is all.
    pub percent: Vec<u8>,
    /// Each wave is held for so many of the new interval at least.
    pub hold_intervals: u32,
    /// And so long at most: a wave that is not decided then asks a person.
    pub max_hold: Duration,
}

/// What a device is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arm {
    /// The interval before the rollout.
    Old,
    /// The longer one.
    New,
}

/// What a bucket is in one wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// New in an earlier wave: not judged any more.
    Earlier,
    /// New in this wave.
    Treated,
    /// Not in it yet.
    Control,
}

/// Where the waves end, in buckets; each lies above the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cuts {
    cuts: Vec<u32>,
}

impl Default for WavePolicy {
    fn default() -> Self {
        Self { percent: vec![5, 20, 100], hold_intervals: 3, max_hold: Duration::from_secs(24 * 3_600) }
    }
}

impl Cuts {
    /// For devices in these buckets. Cuts are where so many *devices* are, so that a share of a small cohort is never
    /// none of it by chance; those of one bucket count as one, as they tell as one.
    pub fn new(policy: &WavePolicy, mut buckets: Vec<u32>) -> Self {
        buckets.sort_unstable();
        buckets.dedup();
        let devices = buckets.len();
        let least = DEVICES_MIN.min(devices / 2);
        let most = devices.saturating_sub(part(devices, HELD_OUT).max(least));
        let (mut cuts, mut before) = (Vec::new(), 0);
        for percent in &policy.percent {
            let wanted = part(devices, f64::from(*percent) / 100.0).max(before + least).min(most);
            let cut = wanted.checked_sub(1).and_then(|at| buckets.get(at)).map_or(0, |bucket| bucket + 1);
            if cut > cuts.last().copied().unwrap_or(0) {
                cuts.push(cut);
                before = wanted;
            }
        }
        Self { cuts }
    }

    /// How many waves there are: fewer than in the policy where the cohort is too small for them.
    pub fn waves(&self) -> usize {
        self.cuts.len()
    }

    /// From which bucket to which (not included) devices are new in a wave, counted from 0.
    pub fn slice(&self, wave: usize) -> (u32, u32) {
        let at = |wave: Option<usize>| wave.and_then(|wave| self.cuts.get(wave)).copied().unwrap_or(0);
        (at(wave.checked_sub(1)), at(Some(wave)))
    }

    /// What a bucket is in a wave.
    pub fn role(&self, wave: usize, bucket: u32) -> Role {
        let (from, to) = self.slice(wave);
        if bucket < from {
            Role::Earlier
        } else if bucket < to {
            Role::Treated
        } else {
            Role::Control
        }
    }
}

fn part(devices: usize, part: f64) -> usize {
    (devices as f64 * part - 1e-9).ceil() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(devices: u32, percent: &[u8]) -> Vec<usize> {
        let policy = WavePolicy { percent: percent.to_vec(), ..WavePolicy::default() };
        let cuts = Cuts::new(&policy, (0..devices).rev().collect());
        let until = |wave| (0..devices).filter(|bucket| *bucket < cuts.slice(wave).1).count();
        (0..cuts.waves()).map(until).collect()
    }

    #[test]
    fn waves_are_the_shares_asked_for_and_the_last_one_leaves_a_control() {
        assert_eq!(sizes(1_000, &[5, 20, 100]), [50, 200, 900]);
        assert_eq!(sizes(20_000, &[5, 20, 100]), [1_000, 4_000, 18_000]);
        assert_eq!(sizes(1_000, &[100]), [900]);
        assert_eq!(sizes(1_000, &[50, 95, 100]), [500, 900]);
    }

    #[test]
    fn a_wave_of_a_small_cohort_is_large_enough_to_tell_something() {
        assert_eq!(sizes(50, &[5, 20, 100]), [5, 10, 45]);
        assert_eq!(sizes(12, &[5, 20, 100]), [5, 7]);
        assert_eq!(sizes(3, &[5, 20, 100]), [1, 2]);
        assert_eq!((sizes(1, &[5, 100]), sizes(0, &[5, 100])), (vec![], vec![]));
    }

    proptest::proptest! {
        #[test]
        fn waves_are_nested_and_a_control_is_left(
            devices in 2_u32..3_000, percent in proptest::collection::btree_set(1_u8..=100, 1..5),
        ) {
            let sizes = sizes(devices, &percent.into_iter().collect::<Vec<_>>());
            proptest::prop_assert!(!sizes.is_empty() && sizes.is_sorted_by(|a, b| a < b));
            proptest::prop_assert!(sizes.last().is_some_and(|last| *last < devices as usize));
        }
    }
}
