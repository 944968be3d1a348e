//! Rollouts in many cohorts, on no clock: how many heartbeats a bad release costs, and how often a good one is stopped.
//!
//! Drives the real [`Rollout`], with every gate, through all waves. In a round each device has one beat: it is missed
//! with the device's own probability, drawn from a beta distribution whose intraclass correlation is as told (so that
//! at 0.1 a few devices miss every third beat and most never miss one), or is late. Beats that nothing befell, nearly
//! all, are told in bulk.
//!
//! Limits: no days and nights, no devices that come and go.

use std::sync::Arc;
use std::time::Duration;

use flyball_sdk::device::id::DeviceId;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Gamma, Geometric};
use rand_pcg::Pcg64Mcg;

use super::audit::What;
use super::gate::Gate;
use super::plan::{Role, WavePolicy};
use super::rollout::Rollout;
use super::spec::{Evidence, Spec, State};
use super::stake::Gates;
use crate::time::WallTime;

const FROM: Duration = Duration::from_secs(60);
const TO: Duration = Duration::from_secs(90);
/// Gaps as ratios to the longest wait intended: in time, and late.
const GAPS: (f32, f32) = (0.95, 1.5);
/// Part of the devices that an accident befalls: less than what pauses a rollout.
const BEFALLEN: f64 = 0.03;
/// Rates under this are none: such a device misses a beat in thirty years.
const RATE_MIN: f64 = 1e-7;

/// A cohort, and what a release does to it.
#[derive(Debug, Clone, Copy)]
pub struct Population {
    /// Its devices.
    pub devices: u32,
    /// Part of the beats that are missed: under the old interval and the new one.
    pub missed: [f64; 2],
    /// Part of the beats that are late: the same.
    pub late: [f64; 2],
    /// Correlation of misses within a device.
    pub correlation: f64,
    /// Part of the rounds in which an accident on the way makes devices of both arms miss their beats together.
    pub accidents: f64,
    /// A device that misses a beat is late and not reached, too: all gates see the same accident.
    pub is_seen_by_all: bool,
}

/// How a rollout ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Where it is.
    pub state: State,
    /// The last wave, counted from 1.
    pub wave: usize,
    /// Beats of devices under the new interval, in the wave that they were new in.
    pub beats: u64,
    /// Rounds, all waves together.
    pub rounds: u64,
}

/// Many rollouts.
#[derive(Debug, Clone)]
pub struct Tally {
    runs: Vec<Run>,
}

struct World {
    population: Population,
    random: Pcg64Mcg,
    rollout: Rollout,
    /// Devices that miss beats: index and rate, by interval.
    frail: [Vec<(u32, f64)>; 2],
    /// New in this wave, and not in it.
    arms: [Vec<u32>; 2],
    start_ms: i64,
    run: Run,
}

impl Population {
    /// Beats as they should be: 99.98 % in time, one in 125 late, and a release that changes nothing.
    pub fn good(devices: u32) -> Self {
        Self { devices, missed: [0.000_2; 2], late: [0.008; 2], correlation: 0.0, accidents: 0.0, is_seen_by_all: true }
    }

    /// A release under which 99.90 % are in time, and which only one gate sees.
    pub fn canary(devices: u32) -> Self {
        Self { missed: [0.000_2, 0.001], is_seen_by_all: false, ..Self::good(devices) }
    }

    /// One rollout under the default policy.
    pub fn run(&self, seed: u64) -> Run {
        let mut world = World::new(*self, seed);
        while world.rollout.state() == State::Running {
            world.round();
        }
        world.run.state = world.rollout.state();
        world.run
    }
}

impl World {
    fn new(population: Population, seed: u64) -> Self {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let devices: Vec<DeviceId> = (0..population.devices).map(id).collect();
        let (rollout, _) = Rollout::start(spec(seed), &devices, WallTime::from_unix_ms(0));
        let old = frail(&population, population.missed[0], &mut random);
        let new = if population.missed[0] == population.missed[1] {
            old.clone()
        } else {
            frail(&population, population.missed[1], &mut random)
        };
        let run = Run { state: rollout.state(), wave: 1, beats: 0, rounds: 0 };
        let mut world =
            Self { population, random, rollout, frail: [old, new], arms: [vec![], vec![]], start_ms: 0, run };
        world.look();
        world
    }

    /// Who is in which arm now. Two rounds later it counts.
    fn look(&mut self) {
        let role = |n: &u32| self.rollout.role(id(*n));
        let (new, rest): (Vec<u32>, Vec<u32>) =
            (0..self.population.devices).filter(|n| role(n) != Role::Earlier).partition(|n| role(n) == Role::Treated);
        self.arms = [rest, new];
        self.start_ms += 2 * TO.as_millis() as i64;
        self.run.wave = self.rollout.wave().0;
    }

    fn round(&mut self) {
        let mut events = self.events();
        events.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        for arm in 0..2 {
            let befallen = events.iter().filter(|event| event.1 == arm).count();
            let quiet = self.arms[arm].len().saturating_sub(befallen) as u32;
            self.rollout.succeed(arm == 1, quiet, GAPS.0, self.at(0.0));
        }
        for (when, _, evidence) in &events {
            let happened = self.rollout.take(evidence, self.at(*when));
            if !happened.is_empty() {
                self.run.beats += (self.arms[1].len() as f64 * when) as u64;
                return;
            }
        }
        self.run.beats += self.arms[1].len() as u64;
        self.run.rounds += 1;
        self.start_ms += TO.as_millis() as i64;
        let happened = self.rollout.tick(WallTime::from_unix_ms(self.start_ms));
        if happened.iter().any(|event| event.what == What::WaveBegan) {
            self.look();
        }
    }

    /// What befalls whom, and when in the round.
    fn events(&mut self) -> Vec<(f64, usize, Evidence)> {
        let mut events = Vec::new();
        let is_accident = self.random.random::<f64>() < self.population.accidents;
        for arm in 0..2 {
            let missed = self.missed(arm, is_accident);
            let mut late = picked(&self.arms[arm], self.population.late[arm], &mut self.random);
            late.retain(|n| !missed.contains(n));
            let befallen = missed.into_iter().map(|n| (n, true)).chain(late.into_iter().map(|n| (n, false)));
            for (n, is_missed) in befallen {
                events.push((self.random.random(), arm, self.evidence(n, is_missed)));
            }
        }
        events
    }

    /// Devices of an arm that miss their beat.
    fn missed(&mut self, arm: usize, is_accident: bool) -> Vec<u32> {
        let here = &self.arms[arm];
        let mut missed = picked(here, if is_accident { BEFALLEN } else { 0.0 }, &mut self.random);
        if self.population.correlation > 0.0 {
            for (n, rate) in &self.frail[arm] {
                if self.random.random::<f64>() < *rate && here.binary_search(n).is_ok() {
                    missed.push(*n);
                }
            }
        } else {
            missed.extend(picked(here, self.population.missed[arm], &mut self.random));
        }
        missed
    }

    fn evidence(&self, n: u32, is_missed: bool) -> Evidence {
        let is_all = self.population.is_seen_by_all;
        Evidence {
            device: id(n),
            due: 1,
            confirmed: u32::from(!is_missed),
            gap_ratio: Some(if is_missed && !is_all { GAPS.0 } else { GAPS.1 }),
            is_reached: Some(!(is_missed && is_all)),
            has_adopted: true,
        }
    }

    fn at(&self, part: f64) -> WallTime {
        WallTime::from_unix_ms(self.start_ms + (part * TO.as_millis() as f64) as i64)
    }
}

impl Tally {
    /// Of these.
    pub fn of(mut runs: Vec<Run>) -> Self {
        runs.sort_unstable_by_key(|run| if run.is_stopped() { run.beats } else { u64::MAX });
        Self { runs }
    }

    /// Part of them that was rolled back.
    pub fn stopped_ratio(&self) -> f64 {
        self.ratio(Run::is_stopped)
    }

    /// Part of them that a person was asked about.
    pub fn held_ratio(&self) -> f64 {
        self.ratio(|run| run.state == State::Held)
    }

    /// Part of them that reached all devices.
    pub fn released_ratio(&self) -> f64 {
        self.ratio(|run| run.state == State::Released)
    }

    /// Beats until the stop, of those that were stopped.
    pub fn beats(&self) -> f64 {
        let stopped = self.runs.iter().filter(|run| run.is_stopped());
        let (sum, count) = stopped.fold((0, 0), |(sum, count), run| (sum + run.beats, count + 1));
        if count == 0 { f64::INFINITY } else { sum as f64 / f64::from(count) }
    }

    /// Beats until the stop in this part of all runs; without end where more were not stopped.
    pub fn beats_quantile(&self, part: f64) -> f64 {
        let at = (self.runs.len().saturating_sub(1) as f64 * part).ceil() as usize;
        self.runs.get(at).filter(|run| run.is_stopped()).map_or(f64::INFINITY, |run| run.beats as f64)
    }

    /// Rounds on average.
    pub fn rounds(&self) -> f64 {
        self.runs.iter().map(|run| run.rounds as f64).sum::<f64>() / self.runs.len().max(1) as f64
    }

    fn ratio(&self, is: impl Fn(&Run) -> bool) -> f64 {
        self.runs.iter().filter(|run| is(run)).count() as f64 / self.runs.len().max(1) as f64
    }
}

impl Run {
    /// Whether the law rolled it back.
    pub fn is_stopped(&self) -> bool {
        self.state == State::RolledBack
    }
}

fn spec(seed: u64) -> Spec {
    Spec {
        id: format!("simulated {seed}").into(),
        cohort: Arc::from("carrier=simulated"),
        from: FROM,
        to: TO,
        jitter: 0.0,
        policy: WavePolicy::default(),
        gates: Gates { devices: Gate::ALL.to_vec(), queries: Vec::new() },
        usual_failures: 0.0,
    }
}

fn id(n: u32) -> DeviceId {
    DeviceId(u128::from(n).to_be_bytes())
}

/// Each with this probability, in the time that those take that are picked.
fn picked(all: &[u32], probability: f64, random: &mut Pcg64Mcg) -> Vec<u32> {
    let mut picked = Vec::new();
    if let Ok(skip) = Geometric::new(probability) {
        let mut at = skip.sample(random) as usize;
        while let Some(n) = all.get(at).filter(|_| probability > 0.0) {
            picked.push(*n);
            at = at.saturating_add(1).saturating_add(skip.sample(random) as usize);
        }
    }
    picked
}

/// Devices whose rate is not nothing. A beta variate is `x / (x + y)` of two gamma variates, and a gamma variate of a
/// small shape `a` one of `a + 1` times `u^(1/a)` (Stuart 1962): where that power is nothing, the rest need not be
/// drawn.
fn frail(population: &Population, mean: f64, random: &mut Pcg64Mcg) -> Vec<(u32, f64)> {
    if population.correlation <= 0.0 || mean <= 0.0 {
        return Vec::new();
    }
    let both = 1.0 / population.correlation - 1.0;
    let (a, b) = (mean * both, (1.0 - mean) * both);
    let (Ok(x), Ok(y)) = (Gamma::new(a + 1.0, 1.0), Gamma::new(b, 1.0)) else { return Vec::new() };
    let mut rate = |n| {
        let power = random.random::<f64>().powf(1.0 / a);
        if power < RATE_MIN {
            return None;
        }
        let (x, y) = (x.sample(random) * power, y.sample(random));
        Some((n, x / (x + y)))
    };
    (0..population.devices).filter_map(&mut rate).collect()
}
