//! Whether the control itself fails as it did not before: a carrier changed its timeout in the middle of a rollout, or
//! the way is down. Then the arms are not what differs, and nothing can be learnt from them.

use serde::{Deserialize, Serialize};

/// Part of the control that fails in one round: so much, and so many times what is usual.
const FAILING: f64 = 0.05;
const TIMES_USUAL: f64 = 4.0;
/// Where half of all beats fail, no more is needed.
const FAILING_MAX: f64 = 0.5;
/// Buckets that failed in the round: fewer are single devices.
const BUCKETS_MIN: u32 = 5;
/// Outcomes before what was seen counts as usual.
const USUAL_MIN: u64 = 200;

/// Watches the control's beats, round by round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ControlWatch {
    /// Before the rollout.
    told: f64,
    /// In rounds that ended: outcomes, and failures.
    past: [u64; 2],
    /// In this round.
    round: [u32; 2],
    /// Outcomes that a whole round has: those that can be, then those of the last rounds. Failures may be told of
    /// before the rest, and a restart may cost half a round.
    whole: u32,
}

impl ControlWatch {
    /// Where this part of the beats failed before.
    pub(super) fn new(told: f64) -> Self {
        Self { told: told.clamp(0.0, 1.0), past: [0; 2], round: [0; 2], whole: 0 }
    }

    /// A wave begins, with so many in the control. What is usual stays.
    pub(super) fn begin(&self, control: u32) -> Self {
        Self { round: [0; 2], whole: control, ..self.clone() }
    }

    /// Beats of the control.
    pub(super) fn take(&mut self, outcomes: u32, failures: u32) {
        self.round[0] = self.round[0].saturating_add(outcomes);
        self.round[1] = self.round[1].saturating_add(failures);
    }

    /// The round is over.
    pub(super) fn end_round(&mut self) {
        let [outcomes, failures] = std::mem::take(&mut self.round);
        self.past[0] += u64::from(outcomes);
        self.past[1] += u64::from(failures);
        self.whole = outcomes.max(self.whole / 2);
    }

    /// Whether it fails now.
    pub(super) fn is_failing(&self) -> bool {
        let [outcomes, failures] = self.round;
        let limit = (self.usual() * TIMES_USUAL).clamp(FAILING, FAILING_MAX);
        failures >= BUCKETS_MIN && f64::from(failures) >= limit * f64::from(outcomes.max(self.whole))
    }

    fn usual(&self) -> f64 {
        let [outcomes, failures] = self.past;
        let seen = if outcomes >= USUAL_MIN { failures as f64 / outcomes as f64 } else { 0.0 };
        seen.max(self.told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_that_begins_to_fail_is_seen_in_the_same_round() {
        let mut watch = ControlWatch::new(0.0);
        watch.take(950, 1);
        watch.end_round();
        watch.take(46, 46);
        assert!(!watch.is_failing());
        watch.take(2, 2);
        assert!(watch.is_failing());
    }

    #[test]
    fn a_way_that_always_loses_is_not_failing() {
        let mut watch = ControlWatch::new(0.1);
        (0..10).for_each(|_| {
            watch.take(1_000, 110);
            assert!(!watch.is_failing());
            watch.end_round();
        });
        watch.take(1_000, 500);
        assert!(watch.is_failing());
    }

    #[test]
    fn four_devices_are_not_a_carrier() {
        let mut watch = ControlWatch::new(0.0).begin(20);
        watch.take(4, 4);
        assert!(!watch.is_failing());
    }

    #[test]
    fn those_that_fail_may_be_told_of_before_those_that_do_not() {
        let mut watch = ControlWatch::new(0.0).begin(950);
        watch.take(40, 40);
        assert!(!watch.is_failing());
        watch.take(8, 8);
        assert!(watch.is_failing());
    }
}
