//! One policy's governor: it is given `now` and what a source saw, and returns a complete decision. All memory of the
//! sampling loop is here; the rules are in the leaves beside it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::budget::{BudgetLoop, Limits, Pipeline};
use super::decision::{BudgetReason, Decided, PolicyDecision, PolicyInputs, Reason};
use super::effect::{Adoption, Effect, Load, Visibility};
use super::guard::{Ground, Guard};
use super::law::{Want, Wanted, adaptive, threshold};
use super::memory::Memory;
use super::policy::{AdaptiveConstants, Bounds, Law, Mode, Policy};
use super::probability::Probability;
use super::report;
use super::roster::{Roster, Service};
use super::settle::{Bars, settle};
use super::spans::SpansPerTrace;
use super::traffic::{Name, Rate, Traffic};
use crate::time::Tick;

/// Part of the headroom that a fall of the wanted probability may use up before it is a command.
const SLACK: f64 = 0.5;
/// Used share of the budget under which, for two ticks, every rise is worth a command.
const WELL_USED: f64 = 0.975;
/// The dead band then.
const NARROW_BAND: f64 = 0.02;
/// Relative rise of the load that held probabilities cause, beside three standard deviations of noise, that is a surge.
const SURGE: f64 = 0.05;
/// Demand measured over more than so many scrape intervals lags too much to be led.
const LEAD_MAX_INTERVALS: u32 = 2;

/// The state of one policy between ticks.
#[derive(Debug, Clone)]
pub struct Governor {
    policy: Arc<Policy>,
    guard: Guard,
    roster: Roster,
    budget: BudgetLoop,
    effect: Effect,
    spans: SpansPerTrace,
    inputs: PolicyInputs,
    degraded: Option<Reason>,
    is_recovering: bool,
    /// Root traces/s that the last decision meant to sample, at the demand of its time.
    meant: Option<f64>,
    /// The last decision left too much of the budget unused.
    was_underused: bool,
}

/// What one fresh tick is decided from.
#[derive(Debug, Clone, Copy)]
struct Fresh<'a> {
    now: Tick,
    traffic: &'a Traffic,
    no_rise: Option<Reason>,
    /// Root traces/s that what is served now should sample at the new demand.
    sampled: f64,
    /// The demand rose, more than by chance.
    is_surging: bool,
}

impl Governor {
    /// Knows nothing yet. `poll_interval` is the time between two ticks.
    pub fn new(now: Tick, policy: Arc<Policy>, poll_interval: Duration) -> Self {
        Self {
            guard: Guard::new(now, poll_interval),
            roster: Roster::default(),
            budget: BudgetLoop::new(now, &policy.budget),
            effect: Effect::new(now.wall),
            spans: SpansPerTrace::new(policy.spans_per_trace),
            inputs: PolicyInputs::default(),
            degraded: None,
            is_recovering: false,
            meant: None,
            was_underused: false,
            policy,
        }
    }

    /// Takes up what an earlier process knew. Before the first tick.
    pub fn restore(&mut self, now: Tick, memory: &Memory) {
        self.budget.restore(now, &self.policy.budget, memory.budget);
        self.spans.restore(memory.spans_per_trace);
        for service in &memory.services {
            self.roster.restore(now.mono, &self.policy, service);
        }
        // What is served now is as old as the memory: rises after it are rises after a hold.
        self.is_recovering = !memory.services.is_empty();
        self.degraded = self.is_recovering.then_some(Reason::Restored);
    }

    /// What a later process needs to know.
    pub fn memory(&self) -> Memory {
        Memory {
            budget: self.budget.memory(&self.policy.budget),
            spans_per_trace: self.spans.get(),
            services: self.roster.services().iter().map(Service::memory).collect(),
        }
    }

    /// Goes on under another version of the same policy: what was learnt stays, unless the number behind it changed.
    pub fn replace_policy(&mut self, now: Tick, policy: Arc<Policy>) {
        if policy.budget != self.policy.budget {
            let memory = self.budget.memory(&self.policy.budget);
            self.budget = BudgetLoop::new(now, &policy.budget);
            self.budget.restore(now, &policy.budget, memory);
        }
        if policy.spans_per_trace != self.policy.spans_per_trace {
            self.spans = SpansPerTrace::new(policy.spans_per_trace);
        }
        let is_dry_run = policy.mode == Mode::DryRun;
        if is_dry_run && self.policy.mode == Mode::Active {
            self.freeze(now);
        }
        if policy.law != self.policy.law && !is_dry_run {
            self.roster.unlist_operations();
        }
        self.roster.reassign(&policy);
        self.policy = policy;
        let bounds = self.policy.probability;
        self.roster.services_mut().iter_mut().for_each(|s| s.clamp(bounds, is_dry_run));
    }

    /// A dry run begins: what no law decided, pins and answers to services that are no roots, is served on as well.
    fn freeze(&mut self, now: Tick) {
        let stranger = report::stranger(&self.policy, &self.roster, self.degraded);
        for service in self.roster.services_mut() {
            if let Some((told, _)) = report::set_apart(&self.policy, service, stranger, now) {
                service.rate.served = told;
                service.operations.iter_mut().for_each(|o| o.is_listed = false);
            }
        }
    }

    /// One tick. `traffic` is `None` when the source did not answer; services in `taken` belong to policies before.
    pub fn tick(&mut self, now: Tick, traffic: Option<&Traffic>, taken: &HashSet<Name>) -> PolicyDecision {
        let ground = self.guard.judge(now, traffic, self.policy.max_age);
        match (ground, traffic) {
            (Ground::Fresh { no_rise }, Some(traffic)) => {
                let stranger = report::stranger(&self.policy, &self.roster, self.degraded);
                self.roster.observe(now.mono, &self.policy, &traffic.demand, taken, stranger);
                self.degraded = no_rise;
                self.decide(now, traffic, no_rise);
            }
            (Ground::Hold(reason), _) => self.hold(reason),
            (Ground::Fallback, _) => self.fall_back(now),
            _ => {}
        }
        if self.policy.law == Law::Fixed {
            self.fix();
        }
        self.inputs.age = Some(self.guard.age(now));
        report::decision(now, &self.policy, &self.roster, self.inputs, self.degraded, taken)
    }

    fn decide(&mut self, now: Tick, traffic: &Traffic, no_rise: Option<Reason>) {
        self.look_ahead(traffic);
        self.inputs.demand_per_second = Some(self.governed().filter_map(|s| s.demand).sum());
        self.inputs.received_per_second = traffic.received.map(Rate::per_second);
        self.inputs.loss_ratio = traffic.loss_ratio();
        let before = self.sampled_per_second(now);
        let (wanted, bars) = match self.policy.law {
            Law::Adaptive(constants) => {
                let is_surging = self.is_surge(before, traffic);
                self.adaptive(&Fresh { now, traffic, no_rise, sampled: before, is_surging }, constants)
            }
            Law::Threshold(constants) => {
                let loss = traffic.loss_ratio().unwrap_or(0.0);
                let bounds = self.policy.probability;
                (self.uniform(now, |d| threshold::threshold(&constants, &bounds, d, loss)), Bars::only(no_rise))
            }
            // Settled at every tick, with input or without.
            Law::Fixed => return,
        };
        self.settle(&wanted, bars);
        let after = self.sampled_per_second(now);
        self.effect.command(now.wall, before, after);
        self.meant = Some(after);
    }

    fn look_ahead(&mut self, traffic: &Traffic) {
        let seconds = traffic.demand_over.map_or(0.0, |over| over.length().as_secs_f64()).max(1e-3);
        let is_sharp = traffic.scrape_interval.is_some_and(|i| seconds <= (i * LEAD_MAX_INTERVALS).as_secs_f64());
        let leads = is_sharp && self.effect.adoption() == Some(Adoption::Prompt);
        self.roster.services_mut().iter_mut().for_each(|service| service.look_ahead(seconds, leads));
    }

    /// Whether the held probabilities would sample more at the new demand than they were meant to, and not by chance.
    fn is_surge(&self, sampled: f64, traffic: &Traffic) -> bool {
        let seconds = traffic.demand_over.map_or(0.0, |over| over.length().as_secs_f64()).max(1e-3);
        self.meant.is_some_and(|meant| sampled > meant * (1.0 + SURGE) + 3.0 * (meant / seconds).sqrt())
    }

    /// Every governed root that has demand and no pin: those that a law decides on.
    fn is_free(&self, now: Tick, service: &Service) -> bool {
        let rule = service.rule(&self.policy);
        rule.is_root && rule.active_pin(now.wall).is_none() && service.demand.is_some_and(|d| d > 0.0)
    }

    fn governed(&self) -> impl Iterator<Item = &Service> {
        self.roster.services().iter().filter(|s| s.rule(&self.policy).is_root)
    }

    /// Root traces/s that what is served now should sample.
    fn sampled_per_second(&self, now: Tick) -> f64 {
        let is_active = self.policy.mode == Mode::Active;
        let sampled = |service: &Service| match report::active_pin(&self.policy, service, now) {
            Some(pin) if is_active => service.demand.unwrap_or(0.0) * pin.probability.get(),
            _ => service.sampled_per_second(),
        };
        self.governed().map(sampled).sum()
    }

    fn uniform(&self, now: Tick, want: impl Fn(f64) -> Want) -> Vec<Option<Wanted>> {
        let of = |service: &Service| {
            let want = want(service.demand?);
            let wanted = || Wanted::uniform(service, service.rule(&self.policy), want.probability, want.reason);
            self.is_free(now, service).then(wanted)
        };
        self.roster.services().iter().map(of).collect()
    }

    /// The law that needs no input: every service, whether its demand is known or not.
    fn fix(&mut self) {
        let initial = self.policy.probability.initial;
        let of = |service: &Service| Some(Wanted::uniform(service, service.rule(&self.policy), initial, Reason::Fixed));
        let wanted: Vec<_> = self.roster.services().iter().map(of).collect();
        self.settle(&wanted, Bars::only(None));
    }

    fn adaptive(&mut self, fresh: &Fresh<'_>, constants: AdaptiveConstants) -> (Vec<Option<Wanted>>, Bars) {
        let visibility = self.observe_pipeline(fresh, constants);
        self.inputs.budget_spans_per_second = self.budget.spans_per_second();
        self.inputs.budget_reason = self.budget.reason();
        self.inputs.spans_per_trace = self.spans.get();
        let awaiting = (!visibility.is_visible()).then_some(Reason::AwaitingEffect);
        let mut bars = Bars {
            no_rise: fresh.no_rise.or(awaiting),
            is_recovering: self.is_recovering,
            dead_band: constants.dead_band,
            slack: 0.0,
        };
        let wanted = match (self.budget.spans_per_second(), self.spans.get()) {
            (Some(budget), Some(spans)) => {
                bars.slack = self.budget.slack(&self.limits(constants), SLACK);
                let is_underused = self.reckoned_per_second() * spans < WELL_USED * budget;
                let was_underused = std::mem::replace(&mut self.was_underused, is_underused);
                // A probe that nobody follows proves nothing, and one followed in leaps overshoots by them.
                if was_underused && is_underused || self.budget.reason() == BudgetReason::Probing {
                    bars.dead_band = bars.dead_band.min(NARROW_BAND);
                }
                self.allocate(fresh.now, budget, spans)
            }
            _ => self.learning(fresh.now),
        };
        (wanted, bars)
    }

    fn reckoned_per_second(&self) -> f64 {
        self.governed().map(Service::reckoned_per_second).sum()
    }

    /// Lets one fresh tick's pipeline facts into the budget and into spans a trace.
    fn observe_pipeline(&mut self, fresh: &Fresh<'_>, constants: AdaptiveConstants) -> Visibility {
        let Fresh { now, traffic, no_rise, sampled, is_surging } = *fresh;
        let (Some(received), Some(loss_ratio)) = (traffic.received, traffic.loss_ratio()) else {
            return Visibility::Adopting;
        };
        let expected = self.spans.get().map(|spans| spans * sampled);
        let load = Load { over: received.over(), received: received.per_second(), expected, sampled };
        let visibility = self.effect.judge(now.wall, load);
        if !is_surging {
            self.spans.learn(visibility, self.effect.is_complete(now.wall), received.per_second(), sampled);
        }
        let seen = Pipeline {
            over: received.over(),
            received: received.per_second(),
            noise: load.noise(),
            loss_ratio,
            visibility,
            adoption: self.effect.adoption(),
            expected: expected.unwrap_or(0.0),
            is_surging,
            is_wanted: self.is_more_wanted(now),
            may_rise: no_rise.is_none() && !self.is_recovering,
        };
        let limits = self.limits(constants);
        self.budget.step(now, &seen, &limits);
        visibility
    }

    fn limits(&self, constants: AdaptiveConstants) -> Limits {
        Limits { budget: self.policy.budget, loss_target: self.policy.loss_target, headroom: constants.headroom }
    }

    fn is_more_wanted(&self, now: Tick) -> bool {
        let max = self.policy.probability.max;
        self.roster.services().iter().any(|s| self.is_free(now, s) && s.rate.probability < max)
    }

    fn allocate(&self, now: Tick, budget: f64, spans_per_trace: f64) -> Vec<Option<Wanted>> {
        let free: Vec<&Service> = self.roster.services().iter().filter(|s| self.is_free(now, s)).collect();
        let pinned = |service: &Service| {
            let pin = report::active_pin(&self.policy, service, now)?;
            Some(service.demand.unwrap_or(0.0) * pin.probability.get() * spans_per_trace)
        };
        let taken: f64 = self.governed().filter_map(pinned).sum();
        let (budget, unproven) = ((budget - taken).max(0.0), self.budget.unproven());
        let mut allocated =
            adaptive::allocate(&self.policy, &free, adaptive::Shared { budget, unproven, spans_per_trace });
        let mut allocated = allocated.drain(..);
        self.roster.services().iter().map(|s| if self.is_free(now, s) { allocated.next() } else { None }).collect()
    }

    fn learning(&self, now: Tick) -> Vec<Option<Wanted>> {
        let of = |service: &Service| {
            let rule = service.rule(&self.policy);
            let hold = || Wanted::uniform(service, rule, service.rate.probability, Reason::LearningSpansPerTrace);
            self.is_free(now, service).then(hold)
        };
        self.roster.services().iter().map(of).collect()
    }

    fn settle(&mut self, wanted: &[Option<Wanted>], bars: Bars) {
        let is_dry_run = self.policy.mode == Mode::DryRun;
        let bounds = self.policy.probability;
        let mut was_limited = false;
        for (service, wanted) in self.roster.services_mut().iter_mut().zip(wanted) {
            let Some(wanted) = wanted else {
                service.rest();
                continue;
            };
            let own =
                if service.is_stale { Some(Reason::Stale) } else { service.is_warming.then_some(Reason::Warming) };
            let is_recovering = bars.is_recovering || service.returning > 0;
            let bars = Bars { no_rise: bars.no_rise.or(own), is_recovering, ..bars };
            let decide = |held: Decided, want: Want| {
                let is_fixed = matches!(want.reason, Reason::Fixed | Reason::FixedOperation);
                let mut settled = if is_fixed { want } else { settle(&bounds, held.probability, want, &bars) };
                if let Some(own) = own.filter(|_| !is_fixed && settled.probability == held.probability) {
                    settled.reason = own;
                }
                held.decided(settled, is_dry_run)
            };
            service.list(wanted, is_dry_run, decide);
            service.rate = decide(service.rate, wanted.rate);
            service.share = wanted.share;
            let is_limited = service.rates().any(|rate| rate.reason == Reason::Recovering);
            service.returning -= u8::from(!is_limited && service.returning > 0);
            was_limited |= is_limited;
            service.local = wanted.share_alone.map(|share| service.local_share(share));
        }
        self.is_recovering = self.is_recovering && (was_limited || bars.no_rise.is_some());
    }

    fn hold(&mut self, reason: Reason) {
        self.degraded = Some(reason);
        if self.policy.law != Law::Fixed {
            self.is_recovering = true;
            self.roster.services_mut().iter_mut().for_each(|s| s.hold(reason));
        }
    }

    fn fall_back(&mut self, now: Tick) {
        self.effect.resume(now.wall);
        let is_fixed = self.policy.law == Law::Fixed;
        // What needs no input does not fall back for the lack of it.
        self.degraded = Some(if is_fixed { Reason::Stale } else { Reason::Fallback });
        if !is_fixed {
            self.is_recovering = true;
            let (fallback, is_dry_run) = (self.policy.probability.fallback, self.policy.mode == Mode::DryRun);
            self.roster.services_mut().iter_mut().for_each(|s| s.fall_back(fallback, is_dry_run));
        }
    }
}

impl Bars {
    fn only(no_rise: Option<Reason>) -> Self {
        Self { no_rise, is_recovering: false, dead_band: 0.0, slack: 0.0 }
    }
}

impl Decided {
    fn decided(self, want: Want, is_dry_run: bool) -> Self {
        let served = if is_dry_run { self.served } else { want.probability };
        Self { probability: want.probability, served, reason: want.reason }
    }

    fn fallen_back(self, fallback: Probability, is_dry_run: bool) -> Self {
        self.decided(Want { probability: self.probability.min(fallback), reason: Reason::Fallback }, is_dry_run)
    }
}

impl Service {
    /// No law decides on it now: it has no demand, or the demand is zero.
    fn rest(&mut self) {
        self.share = None;
        self.local = None;
        self.rate.reason = match self.demand {
            _ if self.rate.reason == Reason::Initial => Reason::Initial,
            Some(_) => Reason::Idle,
            None => Reason::Vanished,
        };
    }

    fn hold(&mut self, reason: Reason) {
        for rate in self.rates() {
            if rate.reason != Reason::FixedOperation {
                rate.reason = reason;
            }
        }
    }

    fn fall_back(&mut self, fallback: Probability, is_dry_run: bool) {
        for rate in self.rates() {
            if rate.reason != Reason::FixedOperation {
                *rate = rate.fallen_back(fallback, is_dry_run);
            }
        }
    }

    /// What holds must be within the bounds in force, also where no fresh input lets a law decide anew. A dry run's
    /// bounds are not served.
    fn clamp(&mut self, bounds: Bounds, is_dry_run: bool) {
        for rate in self.rates().filter(|rate| rate.reason != Reason::FixedOperation) {
            rate.probability = rate.probability.clamp(bounds.min, bounds.max);
            if !is_dry_run {
                rate.served = rate.served.clamp(bounds.min, bounds.max);
            }
        }
    }

    fn rates(&mut self) -> impl Iterator<Item = &mut Decided> {
        std::iter::once(&mut self.rate).chain(self.operations.iter_mut().map(|o| &mut o.rate))
    }

    fn list(&mut self, wanted: &Wanted, is_dry_run: bool, decide: impl Fn(Decided, Want) -> Decided) {
        // An operation that rests keeps what it held, and stays listed: its next burst must not find the service's
        // own, possibly higher, probability.
        let mut is_wanted = vec![false; self.operations.len()];
        for (i, want) in &wanted.operations {
            is_wanted[*i] = true;
            let operation = &mut self.operations[*i];
            // One that was not listed was served the service's own probability until now.
            let held = if operation.is_listed { operation.rate } else { self.rate };
            operation.rate = decide(held, *want);
            operation.is_listed = true;
        }
        for (operation, is_wanted) in self.operations.iter_mut().zip(is_wanted) {
            if !is_wanted && operation.demand.is_some_and(|d| d > 0.0) {
                // Would get the service's own; a dry run serves on what it was told.
                operation.is_listed &= is_dry_run;
                operation.rate = decide(operation.rate, wanted.rate);
            } else if !is_wanted && operation.is_listed {
                operation.rate.reason = Reason::Idle;
            }
        }
    }
}
