//! The plant and its clock: a fixed step moves demand, clients and backend; scrapes and ticks happen at their times.

use std::time::Duration;

use flyball_sdk::Roots;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Poisson};
use rand_pcg::Pcg64Mcg;

use super::backend::Backend;
use super::clients::Fleet;
use super::demand::Course;
use super::law::{self, Law, Seen, Told, Truth, operation_name};
use super::ledger::Ledger;
use super::scenario::{Clients, FaultKind, LawKind, Scenario, Shape};
use super::scrape::{Scraper, Trouble, WallClock};
use super::trace::Run;
use crate::sampling::phase::Phase;
use crate::sampling::traffic::{Name, Traffic};
use crate::time::{MonoTime, Tick, WallTime};

/// Steps a second. Delays and phases are rounded up to a step.
pub(super) const STEPS_PER_SECOND: u64 = 5;
/// Wall time at the start of every run.
const START_MS: i64 = 1_800_000_000_000;
/// Above this mean a Poisson count is drawn from the normal distribution, which is as good there and faster.
const NORMAL_ABOVE: f64 = 50.0;

/// Runs one scenario under one law with one seed.
pub fn run(scenario: &Scenario, kind: LawKind, seed: u64) -> Run {
    let mut plant = Plant::with(scenario, seed, |capacity| law::new(kind, scenario, tick(0.0, 0), capacity));
    let steps = scenario.duration.as_secs() * STEPS_PER_SECOND;
    for step in 0..steps {
        plant.step(step as f64 / STEPS_PER_SECOND as f64);
    }
    plant.close()
}

pub(super) struct Plant<'a> {
    scenario: &'a Scenario,
    random: Pcg64Mcg,
    services: Vec<Service>,
    /// Service and operation of each demand counter.
    names: Vec<Vec<(Name, Option<Name>)>>,
    capacity: Course,
    backend: Backend,
    is_drop_counter_there: bool,
    scraper: Scraper,
    law: Box<dyn Law>,
    told: Told,
    truth: Truth,
    ticks: Ticks,
    ledger: Ledger,
}

#[derive(Debug)]
struct Service {
    course: Course,
    fleet: Fleet,
    parts: Vec<f64>,
    spans_per_trace: f64,
    is_root: bool,
    /// Requests so far, by operation.
    requests: Vec<f64>,
    /// What the newest step brought, by operation.
    sent: Vec<Sent>,
}

/// Requests of one operation in one step, and how many were sampled.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sent {
    /// All of them.
    pub requests: f64,
    /// Those that became traces.
    pub sampled: f64,
}

/// When the controller ticks.
#[derive(Debug)]
struct Ticks {
    interval: f64,
    next_at: f64,
    /// Follows the scrapes, as the controller's does.
    phase: Option<Phase>,
    newest: Option<WallTime>,
    is_new: bool,
}

/// What is wrong now.
#[derive(Debug, Default)]
struct Weather {
    trouble: Trouble,
    is_outage: bool,
    lost_anyway: f64,
    capacity_times: f64,
    clock_offset_ms: i64,
}

impl<'a> Plant<'a> {
    /// Under the law that is made for the capacity at the start.
    pub(super) fn with(scenario: &'a Scenario, seed: u64, law: impl FnOnce(f64) -> Box<dyn Law>) -> Self {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let duration = scenario.duration.as_secs_f64();
        // Demand is drawn first, so that all laws meet the same.
        let courses: Vec<Course> =
            scenario.services.iter().map(|s| Course::draw(&s.demand, duration, &mut random)).collect();
        let mut capacity = Course::draw(&scenario.backend.capacity, duration, &mut random);
        let initial = scenario.policy.probability.initial.get();
        let services: Vec<Service> = scenario
            .services
            .iter()
            .zip(courses)
            .map(|(plan, course)| Service {
                course,
                fleet: Fleet::new(&scenario.clients, plan.operations.len(), initial, &mut random),
                parts: plan.operations.clone(),
                spans_per_trace: plan.spans_per_trace,
                is_root: plan.is_root,
                requests: vec![0.0; plan.operations.len()],
                sent: vec![Sent::default(); plan.operations.len()],
            })
            .collect();
        let mut counters: Vec<usize> = services.iter().map(|s| s.parts.len()).collect();
        counters.push(2);
        let scraper = Scraper::new(&scenario.scrape, &counters, &mut random);
        let ticks = Ticks::new(scenario, &mut random);
        let at_start = capacity.at(0.0);
        let zeros = || services.iter().map(|s| vec![0.0; s.parts.len()]).collect();
        Self {
            names: scenario.services.iter().map(names).collect(),
            backend: Backend::new(at_start * scenario.backend.queue.as_secs_f64()),
            is_drop_counter_there: scenario.backend.has_drop_counter,
            law: law(at_start),
            told: Told {
                probabilities: services.iter().map(|s| vec![initial; s.parts.len()]).collect(),
                shares: vec![None; services.len()],
                budget: None,
            },
            truth: Truth { demand: zeros(), capacity: at_start, sampled: zeros() },
            ticks,
            ledger: Ledger::new(scenario),
            scenario,
            random,
            services,
            capacity,
            scraper,
        }
    }

    /// What came of it.
    pub(super) fn close(self) -> Run {
        self.ledger.close(self.scenario)
    }

    /// Requests so far, by service and operation.
    pub(super) fn requests(&self) -> impl Iterator<Item = (&[(Name, Option<Name>)], &[f64])> {
        self.names.iter().zip(&self.services).map(|(names, service)| (&names[..], &service.requests[..]))
    }

    /// Spans offered, and those dropped where there is a counter of them.
    pub(super) fn spans(&self) -> (f64, Option<f64>) {
        (self.backend.received, self.is_drop_counter_there.then_some(self.backend.dropped))
    }

    pub(super) fn step(&mut self, t: f64) {
        let weather = self.weather(t);
        self.send(t, &weather);
        self.scrape(t, &weather);
        if t + 1e-9 >= self.ticks.next_at {
            self.tick(t, &weather);
        }
    }

    fn weather(&self, t: f64) -> Weather {
        let mut weather = Weather { capacity_times: 1.0, ..Weather::default() };
        let is_now = |at: Duration, lasts: Option<Duration>| {
            t >= at.as_secs_f64() && lasts.is_none_or(|lasts| t < (at + lasts).as_secs_f64())
        };
        for fault in self.scenario.faults.iter().filter(|f| is_now(f.at, f.lasts)) {
            match fault.kind {
                FaultKind::PrometheusOutage => {
                    weather.is_outage = true;
                    weather.trouble.is_dead = true;
                }
                FaultKind::DeadExporters => weather.trouble.is_dead = true,
                FaultKind::FrozenMetrics => weather.trouble.is_frozen = true,
                FaultKind::CapacityTimes(factor) => weather.capacity_times *= factor,
                FaultKind::ConstantLoss(ratio) => weather.lost_anyway = ratio,
                FaultKind::ClockJump(seconds) => weather.clock_offset_ms += (seconds * 1000.0) as i64,
                FaultKind::DemandTimes { .. } => {}
            }
        }
        weather
    }

    /// One step of requests through the fleets into the backend.
    fn send(&mut self, t: f64, weather: &Weather) {
        const STEP: f64 = 1.0 / STEPS_PER_SECOND as f64;
        let clients = &self.scenario.clients;
        let mut offered = 0.0;
        for (index, service) in self.services.iter_mut().enumerate() {
            let rate = service.course.at(t) * surge(self.scenario, index, t);
            service.fleet.step(t, &mut self.random);
            let requests = rate * STEP;
            match clients.has_local_limit && service.is_root {
                true => service.send_limited(t, requests, clients, &mut self.random),
                false => service.send(requests, clients, &mut self.random),
            }
            for (operation, sent) in service.sent.iter().enumerate() {
                self.truth.demand[index][operation] = rate * service.parts[operation];
                service.requests[operation] += sent.requests;
                self.truth.sampled[index][operation] += sent.sampled;
                offered += sent.sampled * service.spans_per_trace;
                if service.is_root {
                    self.ledger.requested(index, operation, *sent, service.spans_per_trace);
                }
            }
        }
        let capacity = self.capacity.at(t) * weather.capacity_times;
        self.truth.capacity = capacity;
        let served = self.backend.served;
        let lost = self.backend.step(offered, capacity * STEP, weather.lost_anyway);
        self.is_drop_counter_there |= lost > 0.0;
        self.ledger.step(STEP, capacity, offered, lost, self.backend.served - served);
    }

    fn scrape(&mut self, t: f64, weather: &Weather) {
        let (services, backend, has_drops) = (&self.services, &self.backend, self.is_drop_counter_there);
        let read = |target: usize, values: &mut Vec<Option<f64>>| match services.get(target) {
            Some(service) => values.extend(service.requests.iter().map(|r| Some(*r))),
            None => values.extend([Some(backend.received), has_drops.then_some(backend.dropped)]),
        };
        self.ticks.is_new |= self.scraper.step(t, weather.trouble, &mut self.random, read);
    }

    fn tick(&mut self, t: f64, weather: &Weather) {
        let traffic: Option<Traffic> = (!weather.is_outage).then(|| {
            let clock = WallClock { zero: WallTime::from_unix_ms(START_MS), offset_ms: weather.clock_offset_ms };
            self.scraper.traffic(t, clock, &self.names)
        });
        let seen = Seen {
            now: tick(t, weather.clock_offset_ms),
            traffic: traffic.as_ref(),
            is_new: std::mem::take(&mut self.ticks.is_new),
            truth: &self.truth,
        };
        self.law.tick(&seen, &mut self.told);
        self.ticks.plan(t, traffic.as_ref());
        let mut commands = 0;
        for (index, service) in self.services.iter_mut().enumerate().filter(|(_, s)| s.is_root) {
            let told = &self.told.probabilities[index];
            self.ledger.told(index, service.fleet.told(), told);
            commands += u32::from(service.fleet.tell(t, told, self.told.shares[index]));
        }
        let is_blind = weather.is_outage || weather.trouble.is_dead || weather.trouble.is_frozen;
        let demand = self.truth.demand.iter().map(|by_operation| by_operation.as_slice());
        self.ledger.ticked(demand, &self.told, commands, is_blind);
    }
}

impl Ticks {
    fn new(scenario: &Scenario, random: &mut Pcg64Mcg) -> Self {
        let interval = scenario.tick.as_secs_f64();
        Self {
            interval,
            next_at: random.random::<f64>() * interval,
            phase: scenario.scrape.is_locked.then(|| Phase::new(scenario.tick)),
            newest: None,
            is_new: false,
        }
    }

    /// A tick was at `t`; when is the next?
    fn plan(&mut self, t: f64, traffic: Option<&Traffic>) {
        let Some(phase) = &mut self.phase else {
            self.next_at += self.interval;
            return;
        };
        let now = MonoTime::from_start(Duration::from_secs_f64(t));
        let newest = traffic.and_then(|traffic| traffic.demand_over).map(|over| over.to);
        let is_new = newest.is_some() && newest != self.newest;
        self.newest = newest.or(self.newest);
        let age = traffic.and_then(|traffic| traffic.age);
        phase.observe(now, age, traffic.and_then(|traffic| traffic.scrape_interval), is_new);
        self.next_at = t + phase.next_poll(now).since(now).as_secs_f64();
    }
}

impl Service {
    /// One step in which all instances do as they were told: `requests` are due on average.
    fn send(&mut self, requests: f64, clients: &Clients, random: &mut Pcg64Mcg) {
        for (operation, sent) in self.sent.iter_mut().enumerate() {
            let told = self.fleet.mean()[operation];
            let p = (1.0 - clients.ignoring) * told + clients.ignoring * clients.ignoring_probability;
            *sent = Sent::draw(requests * self.parts[operation], if self.is_root { p } else { 0.0 }, random);
        }
    }

    /// One step in which each instance limits itself.
    fn send_limited(&mut self, t: f64, requests: f64, clients: &Clients, random: &mut Pcg64Mcg) {
        let now = Duration::from_secs_f64(t);
        self.sent.fill(Sent::default());
        for instance in self.fleet.instances_mut() {
            let Some(limit) = &mut instance.limit else { continue };
            let (factor, mut roots) = (limit.factor(), Roots::default());
            for (operation, sent) in self.sent.iter_mut().enumerate() {
                let due = requests * self.parts[operation] * instance.load;
                let p = instance.adopted[operation];
                let obeying = Sent::draw(due * (1.0 - clients.ignoring), p * factor, random);
                let ignoring = Sent::draw(due * clients.ignoring, clients.ignoring_probability, random);
                roots = roots.and(Roots::uniform(obeying.requests, p));
                sent.requests += obeying.requests + ignoring.requests;
                sent.sampled += obeying.sampled + ignoring.sampled;
            }
            limit.observe_many(now, roots);
        }
    }
}

impl Sent {
    /// Thinning: sampled and not sampled are independent.
    fn draw(requests: f64, p: f64, random: &mut Pcg64Mcg) -> Self {
        let sampled = count(requests * p, random);
        Self { requests: sampled + count(requests * (1.0 - p), random), sampled }
    }
}

fn surge(scenario: &Scenario, index: usize, t: f64) -> f64 {
    let name = &scenario.services[index].name;
    let factor = |fault: &super::scenario::Fault| match &fault.kind {
        FaultKind::DemandTimes { service, factor } if service == name => {
            let from = fault.at.as_secs_f64();
            let is_now = t >= from && fault.lasts.is_none_or(|lasts| t < from + lasts.as_secs_f64());
            if is_now { *factor } else { 1.0 }
        }
        _ => 1.0,
    };
    scenario.faults.iter().map(factor).product()
}

fn names(plan: &super::scenario::ServicePlan) -> Vec<(Name, Option<Name>)> {
    let is_told_apart = plan.operations.len() > 1;
    (0..plan.operations.len()).map(|i| (plan.name.clone(), is_told_apart.then(|| operation_name(i)))).collect()
}

fn tick(t: f64, offset_ms: i64) -> Tick {
    let since = Duration::from_secs_f64(t);
    let wall = WallTime::from_unix_ms(START_MS + offset_ms).plus(since);
    Tick { mono: MonoTime::from_start(since), wall }
}

/// A Poisson count.
fn count(mean: f64, random: &mut Pcg64Mcg) -> f64 {
    if mean <= 0.0 {
        return 0.0;
    }
    if mean > NORMAL_ABOVE {
        let normal: f64 = rand_distr::StandardNormal.sample(random);
        return (mean + mean.sqrt() * normal).round().max(0.0);
    }
    Poisson::new(mean).map_or(0.0, |poisson| poisson.sample(random))
}

/// Whether nothing about a plant changes over time: its oscillation means something.
pub fn is_constant(scenario: &Scenario) -> bool {
    let shapes = scenario.services.iter().flat_map(|s| &s.demand).chain(&scenario.backend.capacity);
    let is_constant = |shape: &Shape| matches!(shape, Shape::Constant(_));
    let changes = |kind: &FaultKind| matches!(kind, FaultKind::CapacityTimes(_) | FaultKind::DemandTimes { .. });
    shapes.into_iter().all(is_constant) && !scenario.faults.iter().any(|f| changes(&f.kind))
}
