//! As Jaeger documents its adaptive sampling: each operation has a target of sampled traces a second; the throughput of
//! the *sampled* traces, aggregated by the minute and used after a delay of two, gives the next probability: the last one
//! times target over throughput. Rises are capped at a doubling, falls are not; within 30 % of the target nothing moves.
//! (jaegertracing.io, "Adaptive Sampling"; flags `--sampling.*`.)

use std::collections::VecDeque;
use std::time::Duration;

use super::{Law, Roots, Seen, Told};
use crate::simulate::scenario::Scenario;
use crate::time::MonoTime;

/// Time between two calculations, and what one of them looks at.
const CALCULATION: Duration = Duration::from_secs(60);
/// Time until a minute's throughput is used.
const DELAY: Duration = Duration::from_secs(120);
/// Largest rise: to twice.
const RISE_MAX: f64 = 2.0;
/// Relative distance from the target within which nothing moves.
const TOLERANCE: f64 = 0.3;

/// One target for each operation.
#[derive(Debug)]
pub(super) struct Jaeger {
    roots: Roots,
    target: f64,
    calculated_at: Option<MonoTime>,
    /// Sampled traces so far, by service and operation, once a calculation.
    counts: VecDeque<(MonoTime, Vec<Vec<f64>>)>,
}

impl Jaeger {
    /// Each operation may have an even part of the true capacity.
    pub(super) fn new(scenario: &Scenario, roots: Roots, capacity: f64) -> Self {
        let spans = roots.spans_per_trace(&vec![1.0; scenario.services.len()]);
        let target = capacity / spans / roots.operations().max(1) as f64;
        Self { roots, target, calculated_at: None, counts: VecDeque::new() }
    }

    fn next(&self, p: f64, throughput: f64) -> f64 {
        let (min, max) = self.roots.bounds();
        if (throughput - self.target).abs() <= TOLERANCE * self.target {
            return p;
        }
        let wanted = if throughput > 0.0 { p * self.target / throughput } else { p * RISE_MAX };
        wanted.min(p * RISE_MAX).clamp(min, max)
    }
}

impl Law for Jaeger {
    fn tick(&mut self, seen: &Seen<'_>, told: &mut Told) {
        let now = seen.now.mono;
        if self.calculated_at.is_some_and(|at| now.since(at) < CALCULATION) {
            return;
        }
        self.calculated_at = Some(now);
        self.counts.push_back((now, seen.truth.sampled.clone()));
        let delayed = |since: Duration| self.counts.iter().rposition(|(at, _)| now.since(*at) >= since);
        let (Some(from), Some(to)) = (delayed(DELAY + CALCULATION), delayed(DELAY)) else { return };
        let (from_at, before) = &self.counts[from];
        let (to_at, after) = &self.counts[to];
        let seconds = to_at.since(*from_at).as_secs_f64();
        for ((before, after), told) in before.iter().zip(after).zip(&mut told.probabilities) {
            for ((before, after), p) in before.iter().zip(after).zip(told) {
                *p = self.next(*p, (after - before) / seconds);
            }
        }
        self.counts.drain(..from);
    }
}
