//! Keeps account of a run from the plant's own truth, and draws the score from it.

use super::law::Told;
use super::plant::Sent;
use super::scenario::{FaultKind, Scenario};
use super::score::Score;
use super::trace::{Run, Second};
use crate::sampling::allocation::{Claim, share};

/// Loss ratio of a second that has settled.
const SETTLED_LOSS: f64 = 0.01;
/// So many seconds in a row have to be settled.
const SETTLED_SECONDS: usize = 30;
/// Seconds whose mean loss makes an episode.
const EPISODE_SECONDS: usize = 10;

/// The books of one run.
#[derive(Debug)]
pub(super) struct Ledger {
    seconds: Vec<Second>,
    now: Second,
    steps: u32,
    steps_per_second: u32,
    services: Vec<Account>,
    warmup: usize,
    fair_from: usize,
    fair_to: usize,
    last: Standing,
    /// Most by which one tick raised a probability, after the warm-up.
    rise_max: f64,
    blind: Blind,
    commands: f64,
}

/// One service's account.
#[derive(Debug, Clone)]
struct Account {
    weight: f64,
    floor: f64,
    is_root: bool,
    is_surged: bool,
    /// Within the window of fairness, in spans.
    demanded: f64,
    offered: f64,
    /// Traces after the warm-up, by operation.
    traces: Vec<f64>,
}

/// What a law last said.
#[derive(Debug, Clone, Copy, Default)]
struct Standing {
    budget: Option<f64>,
    probability: f64,
}

/// How far probabilities rose while the law could see nothing.
#[derive(Debug, Clone, Default)]
struct Blind {
    since: Option<Vec<Vec<f64>>>,
    rise_max: f64,
}

impl Ledger {
    /// An empty account for each service.
    pub(super) fn new(scenario: &Scenario) -> Self {
        let account = |plan: &super::scenario::ServicePlan| {
            let rule = scenario.policy.rule_for(&plan.name);
            let is_surge =
                |kind: &FaultKind| matches!(kind, FaultKind::DemandTimes { service, .. } if *service == plan.name);
            Account {
                weight: rule.map_or(1.0, |r| r.weight),
                floor: rule.map_or(0.0, |r| r.floor_traces_per_second) * plan.spans_per_trace,
                is_root: plan.is_root,
                is_surged: scenario.faults.iter().any(|f| is_surge(&f.kind)),
                demanded: 0.0,
                offered: 0.0,
                traces: vec![0.0; plan.operations.len()],
            }
        };
        let event = scenario.event_at.as_secs() as usize;
        let window = scenario.fairness_window.map(|(from, to)| (from.as_secs() as usize, to.as_secs() as usize));
        let warmup = scenario.warmup.as_secs() as usize;
        Self {
            seconds: Vec::with_capacity(scenario.duration.as_secs() as usize),
            now: Second::default(),
            steps: 0,
            steps_per_second: 0,
            services: scenario.services.iter().map(account).collect(),
            warmup,
            fair_from: window.map_or(warmup, |(from, _)| event + from),
            fair_to: window.map_or(usize::MAX, |(_, to)| event + to),
            last: Standing::default(),
            rise_max: 1.0,
            blind: Blind { since: None, rise_max: 1.0 },
            commands: 0.0,
        }
    }

    fn is_measured(&self) -> bool {
        self.seconds.len() >= self.warmup
    }

    /// Root requests of one operation in one step, each of `spans` if sampled.
    pub(super) fn requested(&mut self, service: usize, operation: usize, Sent { requests, sampled }: Sent, spans: f64) {
        let (second, is_measured) = (self.seconds.len(), self.is_measured());
        let account = &mut self.services[service];
        if is_measured {
            account.traces[operation] += sampled;
        }
        if (self.fair_from..self.fair_to).contains(&second) {
            account.demanded += requests * spans;
            account.offered += sampled * spans;
        }
        self.now.requests += requests;
        self.now.demand += requests * spans;
    }

    /// One step of `length` seconds at the backend, in spans.
    pub(super) fn step(&mut self, length: f64, capacity: f64, offered: f64, lost: f64, served: f64) {
        self.now.capacity += capacity * length;
        self.now.offered += offered;
        self.now.lost += lost;
        self.now.served += served;
        self.steps += 1;
        self.steps_per_second = (1.0 / length).round() as u32;
        if self.steps == self.steps_per_second {
            self.steps = 0;
            let whole = std::mem::take(&mut self.now);
            self.seconds.push(Second { budget: self.last.budget, probability: self.last.probability, ..whole });
        }
    }

    /// One service is told something.
    pub(super) fn told(&mut self, service: usize, before: &[f64], after: &[f64]) {
        let rise = before.iter().zip(after).map(|(b, a)| if *b > 0.0 { a / b } else { 1.0 }).fold(1.0, f64::max);
        if self.is_measured() {
            self.rise_max = self.rise_max.max(rise);
        }
        if let Some(since) = self.blind.since.as_ref().and_then(|since| since.get(service)) {
            let rise = since.iter().zip(after).map(|(b, a)| a / b.max(1e-12)).fold(1.0, f64::max);
            self.blind.rise_max = self.blind.rise_max.max(rise);
        }
    }

    /// A tick is over.
    pub(super) fn ticked<'a>(
        &mut self,
        demand: impl Iterator<Item = &'a [f64]>,
        told: &Told,
        commands: u32,
        is_blind: bool,
    ) {
        let (mut weight, mut sum) = (0.0, 0.0);
        let roots = self.services.iter().map(|s| s.is_root);
        for ((demand, probabilities), is_root) in demand.zip(&told.probabilities).zip(roots) {
            for (d, p) in demand.iter().zip(probabilities).filter(|_| is_root) {
                weight += d;
                sum += d * p;
            }
        }
        self.last = Standing { budget: told.budget, probability: if weight > 0.0 { sum / weight } else { 0.0 } };
        self.now.commands += commands;
        if self.is_measured() {
            self.commands += f64::from(commands);
        }
        match (is_blind, &self.blind.since) {
            (true, None) => self.blind.since = Some(told.probabilities.clone()),
            (false, Some(_)) => self.blind.since = None,
            _ => {}
        }
    }

    /// The run is over.
    pub(super) fn close(self, scenario: &Scenario) -> Run {
        let seconds = &self.seconds[self.warmup.min(self.seconds.len())..];
        let event = (scenario.event_at.as_secs() as usize).saturating_sub(self.warmup).min(seconds.len());
        let settled = settled(&seconds[event..]);
        let after = &seconds[event + settled..];
        let scarce = || seconds.iter().filter(|s| s.demand > s.capacity);
        let capacity_when_scarce: f64 = scarce().map(|s| s.capacity).sum();
        let kept: f64 = scarce().map(|s| s.offered - s.lost).sum();
        let (fairness, others_share) = self.fairness();
        let minutes = seconds.len() as f64 / 60.0;
        let rarest = self.services.iter().filter(|s| s.is_root).flat_map(|s| &s.traces);
        let score = Score {
            loss_ratio: loss(seconds),
            worst_60s_loss: seconds.windows(60).map(loss).fold(0.0, f64::max),
            lost_capacity_seconds: seconds.iter().map(|s| over(s.lost, s.capacity)).sum(),
            unused_capacity_seconds: scarce().map(|s| over(s.capacity - s.served, s.capacity)).sum(),
            utilization: if capacity_when_scarce > 0.0 { kept / capacity_when_scarce } else { 1.0 },
            settle_seconds: settled as f64,
            episodes: f64::from(episodes(after)),
            overshoot: overshoot(&seconds[event..]),
            oscillation: oscillation(after),
            fairness,
            others_share,
            coverage_min: rarest.fold(f64::INFINITY, |a, b| a.min(*b)) / minutes.max(1.0 / 60.0),
            commands: self.commands,
            probability_ratio_min: probability_ratio_min(scenario, after),
            rise_max: self.rise_max,
            rise_while_blind: self.blind.rise_max,
        };
        Run { score, seconds: self.seconds }
    }

    /// Jain's index of accepted over fair share, and the same sum for the services that did not surge.
    fn fairness(&self) -> (f64, f64) {
        let from = self.fair_from.min(self.seconds.len());
        let window = &self.seconds[from..self.fair_to.clamp(from, self.seconds.len())];
        let kept = 1.0 - loss(window);
        let roots: Vec<&Account> = self.services.iter().filter(|s| s.is_root && s.demanded > 0.0).collect();
        let seconds = window.len() as f64;
        let claim =
            |s: &&Account| Claim { weight: s.weight, floor: (s.floor * seconds).min(s.demanded), ceiling: s.demanded };
        let claims: Vec<Claim> = roots.iter().map(claim).collect();
        let accepted: f64 = roots.iter().map(|s| s.offered * kept).sum();
        let fair = share(accepted, &claims).0;
        let parts = || roots.iter().zip(&fair).filter(|(_, fair)| **fair > 0.0);
        let x: Vec<f64> = parts().map(|(s, fair)| s.offered * kept / fair).collect();
        let (sum, squares): (f64, f64) = x.iter().fold((0.0, 0.0), |(s, q), x| (s + x, q + x * x));
        let jain = if squares > 0.0 { sum * sum / (x.len() as f64 * squares) } else { 1.0 };
        let others = || parts().filter(|(s, _)| !s.is_surged);
        let fair_sum: f64 = others().map(|(_, fair)| fair).sum();
        let others_share = others().map(|(s, _)| s.offered * kept).sum::<f64>();
        (jain, if fair_sum > 0.0 { others_share / fair_sum } else { 1.0 })
    }
}

fn over(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part.max(0.0) / whole } else { 0.0 }
}

fn loss(seconds: &[Second]) -> f64 {
    let (lost, offered) = seconds.iter().fold((0.0, 0.0), |(l, o), s| (l + s.lost, o + s.offered));
    over(lost, offered)
}

fn is_quiet(second: &Second) -> bool {
    second.lost <= SETTLED_LOSS * second.offered
}

/// The first second from which a whole window is quiet; the length if there is none.
fn settled(seconds: &[Second]) -> usize {
    let mut quiet = 0;
    for (i, second) in seconds.iter().enumerate() {
        quiet = if is_quiet(second) { quiet + 1 } else { 0 };
        if quiet == SETTLED_SECONDS {
            return i + 1 - SETTLED_SECONDS;
        }
    }
    seconds.len()
}

fn episodes(seconds: &[Second]) -> u32 {
    let (mut episodes, mut is_in) = (0, false);
    for window in seconds.chunks(EPISODE_SECONDS) {
        let is_lossy = loss(window) > SETTLED_LOSS;
        episodes += u32::from(is_lossy && !is_in);
        is_in = is_lossy;
    }
    episodes
}

/// From the first command after the first loss.
fn overshoot(seconds: &[Second]) -> f64 {
    let began = seconds.iter().position(|s| !is_quiet(s)).unwrap_or(seconds.len());
    let commanded = seconds[began..].iter().skip(1).skip_while(|s| s.commands == 0).skip(1);
    let budgets = commanded.filter_map(|s| s.budget.map(|b| b.min(s.demand) / s.capacity.max(1.0)));
    budgets.fold(0.0, |most: f64, ratio| most.max(ratio - 1.0))
}

fn oscillation(seconds: &[Second]) -> f64 {
    let ratios = seconds.iter().filter_map(|s| s.budget.map(|b| b / s.capacity.max(1.0)));
    let (low, high) = ratios.fold((f64::INFINITY, 0.0), |(l, h): (f64, f64), r| (l.min(r), h.max(r)));
    (high - low).max(0.0)
}

fn probability_ratio_min(scenario: &Scenario, seconds: &[Second]) -> f64 {
    let clients = &scenario.clients;
    let (min, max) = (scenario.policy.probability.min.get(), scenario.policy.probability.max.get());
    let ratio = |s: &Second| {
        let beyond = clients.ignoring * s.demand * clients.ignoring_probability;
        let obeying = (1.0 - clients.ignoring) * s.demand;
        let right = ((s.capacity - beyond) / obeying.max(1e-9)).clamp(min, max);
        s.probability / right
    };
    // The demand of one second is noisy; a minute's is not.
    let minute = |window: &[Second]| window.iter().map(ratio).sum::<f64>() / window.len() as f64;
    seconds.chunks_exact(60).map(minute).fold(f64::INFINITY, f64::min).min(10.0)
}
