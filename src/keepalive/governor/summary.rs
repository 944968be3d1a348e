//! A cohort's report: what is known, what is told, and why.

use std::time::Duration;

use super::cohort::{Cohort, place};
use crate::keepalive::governor::learning::CONFIDENCE;
use crate::keepalive::observation::BindingClass;
use crate::keepalive::report::{CohortReport, LifetimeReport, Verdict};

impl Cohort {
    /// For people and metrics.
    pub(super) fn report(&self) -> CohortReport {
        CohortReport {
            key: self.entry.key.clone(),
            fleet: self.entry.fleet.clone(),
            lifetimes: [BindingClass::Stream, BindingClass::Unreplied].map(|class| self.lifetime(class)),
            pace: self.told.order.pace,
            devices: self.counts.present,
            devices_own: self.counts.own,
            loss_ratio: self.loss_ratio(),
            evidence: self.evidence,
            pinned: self.pinned(),
            verdict: self.told.verdict,
            reason: self.told.reason,
            rollout: self.rollout_brief(),
            tests_to_be_surer: self.paced().lowest().tests_to_be_surer(&self.offers),
            decided_at: self.told.at,
        }
    }

    fn lifetime(&self, class: BindingClass) -> LifetimeReport {
        let known = self.boxes[place(class)].lowest();
        let (lower, upper) = known.bounds();
        LifetimeReport {
            class,
            quantiles: known.quantiles().map(|cell| cell.silence()),
            lower_bound: lower.silence(),
            upper_bound: upper.max(lower).silence(),
            confidence: CONFIDENCE,
        }
    }

    fn pinned(&self) -> Option<Duration> {
        if self.told.verdict != Verdict::Pinned {
            return None;
        }
        self.pin(self.told.at).map(|pin| pin.nat_timeout)
    }

    /// Part of the packets that the way loses.
    pub(super) fn loss_ratio(&self) -> f64 {
        let [sent, unanswered] = self.sent;
        if sent == 0 { 0.0 } else { unanswered as f64 / sent as f64 }
    }
}
