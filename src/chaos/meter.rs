//! What a run was worth, in the metrics that the simulator has too; each is measured, and none is taken from what Flyball
//! says of itself.
//!
//! Coverage is of pushes ([`super::pusher`]): each stands for the time that its moment was drawn from, so that the sum of
//! those that arrived over the sum of all is the share of the time that was covered. Packets are counted by the kernel.
//! Paces are what devices said, judged by the NATs that were made.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flyball_sdk::device::id::DeviceId;

use super::board::{Said, Told};
use super::plan::{LabPlan, Truth};
use super::pushes::{Push, until_lifted};
use super::resumed::Resumed;
use crate::keepalive::interval;
use crate::simulate::fleet::metrics::FLEET_METRICS;

const DAY_SECONDS: f64 = 86_400.0;
/// A pace fits from this part of what the carrier's shortest NAT bears on; the simulator's word for it.
const FIT: f64 = 0.9;

/// What was seen.
pub(super) struct Seen<'a> {
    pub(super) plan: &'a LabPlan,
    pub(super) started: Instant,
    pub(super) pushes: Vec<Push>,
    pub(super) said: HashMap<DeviceId, Said>,
    pub(super) households: Vec<Presence>,
    /// Datagrams sent until each mark.
    pub(super) sent: Vec<(Duration, u64)>,
    pub(super) probes: u64,
    pub(super) tests: u64,
    pub(super) rollouts: Rollouts,
    pub(super) resumed: &'a Resumed,
    /// Commands that no rollout obeyed.
    pub(super) refused: u32,
}

/// When the devices of a household were there.
pub(super) struct Presence {
    pub(super) devices: u32,
    pub(super) on: Vec<(Instant, Option<Instant>)>,
}

/// What became of rollouts, by what the server tells operators.
#[derive(Debug, Default)]
pub(super) struct Rollouts {
    pub(super) released: u32,
    /// The newest last.
    pub(super) rolled_back: Vec<Rollback>,
}

/// An interval that was taken back.
#[derive(Debug)]
pub(super) struct Rollback {
    pub(super) at: Instant,
    pub(super) wave: f64,
    /// What devices had before, and have again.
    pub(super) from: Duration,
}

impl Rollouts {
    /// Of `/api/v1/rollouts`, which has the newest first.
    pub(super) fn of(rows: &serde_json::Value, wall: &Wall) -> Self {
        let state = |row: &&serde_json::Value, is: &str| row["state"] == is;
        let rows: Vec<&serde_json::Value> = rows.as_array().into_iter().flatten().rev().collect();
        let rolled_back = rows.iter().copied().filter(|row| state(row, "rolled_back")).filter_map(|row| {
            let from = Duration::try_from_secs_f64(row["from_s"].as_f64()?).ok()?;
            Some(Rollback { at: wall.instant(&row["ended_at"])?, wave: row["wave"].as_f64()?, from })
        });
        let released = rows.iter().filter(|row| state(row, "released")).count() as u32;
        Self { released, rolled_back: rolled_back.collect() }
    }
}

/// What happened to a rollout and when, of what `/api/v1/rollouts/ID` answers, in the order of time.
pub(super) fn history(rollout: &serde_json::Value, wall: &Wall) -> Vec<(Instant, String)> {
    let step = |step: &serde_json::Value| Some((wall.instant(&step["at"])?, step["what"].as_str()?.to_owned()));
    let mut steps: Vec<_> = rollout["history"].as_array().into_iter().flatten().filter_map(step).collect();
    steps.sort_by_key(|(at, _)| *at);
    steps
}

/// What the machine's clock showed when: at the start, and after each time that it was set.
#[derive(Debug)]
pub(super) struct Wall(Vec<(Instant, jiff::Timestamp)>);

impl Wall {
    /// The clock as it is.
    pub(super) fn start() -> Self {
        Self(vec![(Instant::now(), jiff::Timestamp::now())])
    }

    /// It has been set.
    pub(super) fn stepped(&mut self) {
        self.0.push((Instant::now(), jiff::Timestamp::now()));
    }

    /// When it showed what the server wrote.
    fn instant(&self, written: &serde_json::Value) -> Option<Instant> {
        self.moment(written.as_str()?.parse().ok()?)
    }

    /// When it showed this; of several such moments, the last.
    fn moment(&self, shown: jiff::Timestamp) -> Option<Instant> {
        let mut until = Instant::now();
        for (at, wall) in self.0.iter().rev() {
            let since = Duration::try_from(shown.duration_since(*wall)).ok();
            let moment = since.and_then(|since| at.checked_add(since)).filter(|moment| *moment <= until);
            if moment.is_some() {
                return moment;
            }
            until = *at;
        }
        None
    }
}

/// A part of a run.
type Span = (Duration, Duration);

/// The share of the time that pushes found covered; NaN without any.
pub(super) fn coverage<'a>(pushes: impl Iterator<Item = &'a Push>) -> f64 {
    let add = |(arrived, all): (f64, f64), push: &Push| {
        let stands_for = push.stands_for.as_secs_f64();
        (arrived + if push.has_arrived { stands_for } else { 0.0 }, all + stands_for)
    };
    let (arrived, all) = pushes.fold((0.0, 0.0), add);
    arrived / all
}

impl Seen<'_> {
    /// The values in the order of [`FLEET_METRICS`]; NaN where a kernel cannot tell.
    pub(super) fn metrics(mut self) -> Vec<f64> {
        self.pushes = self.fair();
        let scenario = &self.plan.scenario;
        let end = scenario.duration;
        let (warmup, event, settled) = (scenario.warmup, scenario.event_at, scenario.event_at + scenario.settle);
        let before = (if warmup < event { warmup } else { Duration::ZERO }, event);
        let (all, learnt, after) = ((Duration::ZERO, end), (warmup, end), (settled, end));
        let days = self.device_days(all);
        let covered = |span| coverage(self.within(span));
        let resumed = self.resumed.figures(&self.said, |said, at| self.cohort(said, at));
        let value = |name: &str| match name {
            "coverage" => covered(all),
            "coverage_learnt" => covered(learnt),
            "coverage_before" => covered(before),
            "coverage_after" => covered(after),
            "coverage_worst_cohort" => self.worst(learnt),
            "uncovered_seconds" => (1.0 - covered(all)) * DAY_SECONDS,
            "heartbeats" => self.heartbeats(all),
            "heartbeats_learnt" => self.heartbeats(learnt),
            "heartbeats_before" => self.heartbeats(before),
            "heartbeats_after" => self.heartbeats(after),
            "probe_packets" => self.probes as f64 / days,
            "tests" => self.tests as f64 / days,
            "learn_seconds" => percentile(self.learning(), 0.95),
            "adapt_seconds" => percentile(self.adapting(), 0.99),
            "hostile" => self.hostile(),
            "rollbacks" => self.rollouts.rolled_back.len() as f64,
            "released" => f64::from(self.rollouts.released),
            "wave_at_stop" => self.rollouts.rolled_back.last().map_or(0.0, |rollback| rollback.wave),
            "rollback_seconds" => percentile(self.taking_back(), 0.99),
            "refused_commands" => f64::from(self.refused),
            "wave_after_restart" => resumed.wave_after_restart as f64,
            "wave_devices" => resumed.wave_devices as f64,
            "wave_devices_moved" => resumed.wave_devices_moved as f64,
            _ => f64::NAN,
        };
        FLEET_METRICS.into_iter().map(value).collect()
    }

    fn since(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.started)
    }

    /// Without those that came after a push had done what the server leaves undone: while it sends no second acks, the
    /// first push that arrives late makes a stream of a binding, and the next find what nobody else would.
    fn fair(&mut self) -> Vec<Push> {
        let mut fair = Vec::new();
        let pushes = std::mem::take(&mut self.pushes);
        let is_lifted = |push: &Push| {
            let truth = self.plan.truth(self.since(push.at));
            truth.has_second_acks || truth.nats.iter().all(|nat| nat.unreplied >= nat.stream)
        };
        for stretch in pushes.chunk_by(|a, b| is_lifted(a) == is_lifted(b)) {
            let is_as_it_is = stretch.first().is_some_and(is_lifted);
            fair.extend(if is_as_it_is { stretch.to_vec() } else { until_lifted(stretch.to_vec()) });
        }
        fair
    }

    fn within(&self, (from, to): Span) -> impl Iterator<Item = &Push> {
        self.pushes.iter().filter(move |push| (from..to).contains(&self.since(push.at)))
    }

    /// The carrier that a device was behind.
    fn carrier(&self, said: &Said, at: Instant) -> Option<usize> {
        let truth = self.plan.truth(self.since(at));
        truth.at_box.get(said.household).map(|at| self.plan.boxes[*at].carrier)
    }

    fn cohort(&self, said: &Said, at: Instant) -> Option<Arc<str>> {
        let carrier = &self.plan.carriers()[self.carrier(said, at)?];
        Some(self.plan.scenario.cohort(carrier).name)
    }

    /// Of the carrier that a device was behind when the push was made.
    fn worst(&self, span: Span) -> f64 {
        let carrier = |push: &Push| self.carrier(self.said.get(&push.device)?, push.at);
        let of = |place: usize| coverage(self.within(span).filter(move |push| carrier(push) == Some(place)));
        (0..self.plan.carriers().len()).map(of).filter(|covered| !covered.is_nan()).fold(1.0, f64::min)
    }

    /// Days of presence, of all devices together.
    fn device_days(&self, (from, to): Span) -> f64 {
        let within = self.plan.scenario.start_within.as_secs_f64();
        let mut seconds = 0.0;
        for household in &self.households {
            for (n, (on, off)) in household.on.iter().enumerate() {
                let off = off.map_or(to, |off| self.since(off)).min(to).as_secs_f64();
                for device in 0..household.devices {
                    let late = if n == 0 { within * f64::from(device) / f64::from(household.devices) } else { 0.0 };
                    let on = (self.since(*on).as_secs_f64() + late).max(from.as_secs_f64());
                    seconds += (off - on).max(0.0);
                }
            }
        }
        seconds / DAY_SECONDS
    }

    fn heartbeats(&self, (from, to): Span) -> f64 {
        let until = |at: Duration| {
            let nearest = self.sent.iter().min_by_key(|(mark, _)| mark.abs_diff(at));
            nearest.map_or(0.0, |(_, sent)| *sent as f64)
        };
        (until(to) - until(from)) / self.device_days((from, to))
    }

    fn is_fitting(&self, told: &Told, household: usize, truth: &Truth) -> bool {
        let Some(at_box) = truth.at_box.get(household).copied() else { return false };
        let own = truth.nats[at_box].stream;
        let is_safe = told.longest <= own || told.interval <= interval::floor(&truth.bounds);
        let bearable = truth.bearable(&self.plan.boxes, self.plan.boxes[at_box].carrier);
        is_safe && told.interval >= bearable.mul_f64(FIT)
    }

    /// From a moment until a device's pace fits; until the end where it never did.
    fn until_fit(&self, said: &Said, from: Duration) -> f64 {
        let in_force = said.paces.iter().rposition(|told| self.since(told.at) <= from).unwrap_or(0);
        let fits = said.paces[in_force..].iter().map(|told| (told, self.since(told.at).max(from)));
        let first =
            fits.filter(|(told, at)| self.is_fitting(told, said.household, self.plan.truth(*at))).map(|(_, at)| at);
        let end = self.plan.scenario.duration;
        (first.min().unwrap_or(end).max(from) - from).as_secs_f64()
    }

    fn learning(&self) -> Vec<f64> {
        let policy = self.plan.truths.iter().rev().find(|truth| truth.is_policy_new).map(|truth| truth.since);
        let told = self.said.values().filter(|said| !said.paces.is_empty());
        let took = |said: &Said| {
            let started = self.since(said.paces[0].at);
            self.until_fit(said, policy.map_or(started, |policy| policy.max(started)))
        };
        told.map(took).collect()
    }

    fn adapting(&self) -> Vec<f64> {
        let changed = |said: &Said| {
            let is_moved = |truth: &&Truth| truth.moved.contains(&said.household);
            let carrier = |truth: &Truth| Some(self.plan.boxes[*truth.at_box.get(said.household)?].carrier);
            let is_changed = |truth: &&Truth| carrier(truth).is_some_and(|carrier| truth.changed.contains(&carrier));
            let moved = self.plan.truths.iter().rev().find(is_moved);
            moved.or_else(|| self.plan.truths.iter().find(is_changed)).map(|truth| truth.since)
        };
        let told = self.said.values().filter(|said| !said.paces.is_empty());
        told.filter_map(|said| Some(self.until_fit(said, changed(said)?))).collect()
    }

    /// From each rollback until a device that had the longer interval has said that it was told the old one again.
    fn taking_back(&self) -> Vec<f64> {
        let mut took = Vec::new();
        for Rollback { at, from, .. } in &self.rollouts.rolled_back {
            let of = |said: &Said| {
                let had = said.paces.iter().rev().find(|told| told.at <= *at).filter(|told| told.interval > *from)?;
                let back = said.paces.iter().find(|told| told.at > had.at && told.at > *at && told.interval <= *from);
                let end = self.started + self.plan.scenario.duration;
                Some(back.map_or(end, |told| told.at).saturating_duration_since(*at).as_secs_f64())
            };
            took.extend(self.said.values().filter_map(of));
        }
        took
    }

    fn hostile(&self) -> f64 {
        let last: Vec<&Told> = self.said.values().filter_map(|said| said.paces.last()).collect();
        last.iter().filter(|told| told.is_hostile).count() as f64 / last.len().max(1) as f64
    }
}

/// 0 of nothing.
fn percentile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (part * values.len() as f64).ceil() as usize;
    values.get(at.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_clock_that_was_set_showed_is_found_on_the_one_that_is_not() {
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3_600));
        let start = Instant::now().checked_sub(30 * second).expect("up for so long");
        let zero = jiff::Timestamp::UNIX_EPOCH;
        // After ten seconds forward by an hour, after ten more back by two.
        let (ahead, behind) = (zero + hour + 10 * second, zero - hour + 20 * second);
        let wall = Wall(vec![(start, zero), (start + 10 * second, ahead), (start + 20 * second, behind)]);
        let found = |shown| wall.moment(shown).map(|at| at.duration_since(start).as_secs());
        assert_eq!(found(zero + 3 * second), Some(3));
        assert_eq!(found(ahead + 4 * second), Some(14));
        assert_eq!(found(behind + 5 * second), Some(25));
        assert_eq!(found(zero + 15 * second), None, "it never showed that");
        assert_eq!(found(zero - hour), None, "before the start");
    }

    fn push(seconds: u64, has_arrived: bool) -> Push {
        let (device, age) = (DeviceId([1; 16]), Duration::ZERO);
        Push { device, at: Instant::now(), age, stands_for: Duration::from_secs(seconds), has_arrived }
    }

    #[test]
    fn a_push_counts_for_the_time_that_its_moment_was_drawn_from() {
        let pushes = [push(9, false), push(1, true), push(1, true), push(1, true)];
        assert_eq!(coverage(pushes.iter()), 0.25);
        assert!(coverage([].iter()).is_nan());
    }
}
