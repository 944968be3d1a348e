//! Which targets have been scraped without a break. A counter that appears on one of them was born there, at zero, and
//! its first value is its first increment. The first loss that a collector ever counts shows in no other way. On a
//! target that is itself new, or back from silence, a first value says nothing: it may be years old.
//!
//! Limits: a target is told by its `job` and `instance`; series with neither belong to none and are never born.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// A target not heard of for this long is forgotten.
const FORGET_AFTER_MS: i64 = 300_000;

/// One target within [`Targets`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TargetId(u64);

/// The targets behind one policy's raw signals. As many as their series at most.
#[derive(Debug, Default)]
pub(super) struct Targets {
    hasher: RandomState,
    known: HashMap<TargetId, Target>,
    polls: u64,
}

#[derive(Debug)]
struct Target {
    first_poll: u64,
    unbroken_since_ms: i64,
    newest_ms: i64,
    /// Time between two scrapes; `None` until known.
    spacing_ms: Option<i64>,
    /// First and last time of samples in this poll that are newer than `newest_ms`.
    fresh: Option<(i64, i64)>,
}

impl Targets {
    /// The target that these labels name; `None` where they name none.
    pub(super) fn id(&self, job: &str, instance: &str) -> Option<TargetId> {
        let is_named = !(job.is_empty() && instance.is_empty());
        is_named.then(|| TargetId(self.hasher.hash_one((job, instance))))
    }

    /// A series of the target has samples at these times in this poll, oldest first.
    pub(super) fn note(&mut self, id: TargetId, sample_times_ms: impl Iterator<Item = i64>) {
        let polls = self.polls;
        let target = self.known.entry(id).or_insert(Target {
            first_poll: polls,
            unbroken_since_ms: i64::MAX,
            newest_ms: i64::MIN,
            spacing_ms: None,
            fresh: None,
        });
        let mut before = None;
        for at_ms in sample_times_ms {
            let spacing = before.replace(at_ms).map(|b| at_ms.saturating_sub(b)).filter(|ms| *ms > 0);
            target.spacing_ms = spacing.or(target.spacing_ms);
            if at_ms > target.newest_ms {
                let (first, last) = target.fresh.unwrap_or((at_ms, at_ms));
                target.fresh = Some((first.min(at_ms), last.max(at_ms)));
            }
        }
    }

    /// All of a poll's samples have been noted: judges who was silent for longer than `gap_max_ms`.
    pub(super) fn settle(&mut self, gap_max_ms: i64, now_ms: i64) {
        for target in self.known.values_mut() {
            let Some((first, last)) = target.fresh.take() else { continue };
            let silence_ms = first.saturating_sub(target.newest_ms);
            if target.newest_ms == i64::MIN || silence_ms > gap_max_ms {
                target.unbroken_since_ms = first;
            } else {
                target.spacing_ms = target.spacing_ms.or(Some(silence_ms));
            }
            target.newest_ms = last;
        }
        self.known.retain(|_, target| now_ms.saturating_sub(target.newest_ms) <= FORGET_AFTER_MS);
        self.polls += 1;
    }

    /// When a series first seen at `first_ms` was born at the earliest: the scrape before. `None` unless the target was
    /// known before the poll just settled, and scraped without a break since before `first_ms`.
    pub(super) fn birth_ms(&self, id: TargetId, first_ms: i64) -> Option<i64> {
        let target = self.known.get(&id)?;
        let was_there = target.first_poll + 1 < self.polls && target.unbroken_since_ms < first_ms;
        target.spacing_ms.filter(|_| was_there).map(|spacing_ms| first_ms.saturating_sub(spacing_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP_MS: i64 = 25;

    fn polled(polls: &[&[i64]]) -> (Targets, TargetId) {
        let mut targets = Targets::default();
        let id = targets.id("job", "host:1").expect("named");
        for times in polls {
            targets.note(id, times.iter().copied());
            targets.settle(GAP_MS, times.last().copied().unwrap_or(0));
        }
        (targets, id)
    }

    #[test]
    fn only_an_unbroken_earlier_target_bears_series() {
        let table: [(&str, &[&[i64]], i64, Option<i64>); 6] = [
            ("first poll ever", &[&[0, 10, 20]], 20, None),
            ("scraped before", &[&[0, 10], &[10, 20, 30]], 30, Some(20)),
            ("one sample a poll", &[&[0], &[10]], 10, Some(0)),
            ("back from silence", &[&[0, 10], &[100]], 100, None),
            ("back from silence, and a scrape later", &[&[0, 10], &[100], &[110]], 110, Some(100)),
            ("gone for good", &[&[0, 10], &[400_000]], 400_000, None),
        ];
        for (name, polls, at_ms, expected) in table {
            let (targets, id) = polled(polls);
            assert_eq!(targets.birth_ms(id, at_ms), expected, "{name}");
        }
    }

    #[test]
    fn the_order_of_series_within_a_poll_does_not_matter() {
        let (mut targets, id) = polled(&[&[0, 10]]);
        targets.note(id, [40].into_iter());
        targets.note(id, [20, 30, 40].into_iter());
        targets.settle(GAP_MS, 40);
        assert_eq!(targets.birth_ms(id, 40), Some(30));
    }

    #[test]
    fn series_without_job_and_instance_belong_to_no_target() {
        assert_eq!(Targets::default().id("", ""), None);
    }
}
