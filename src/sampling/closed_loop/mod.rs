//! Claims about the whole governor, on a small plant with fake time: services with a demand, clients that adopt at
//! once, a backend of finite capacity without a queue, raw counters read every five seconds.

mod capacity;
mod input;
mod properties;
mod reload;
mod shares;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::decision::{Decided, PolicyDecision};
use super::governor::Governor;
use super::pattern::Pattern;
use super::policy::{Policy, ServiceRule};
use super::probability::Probability;
use super::traffic::{Demand, Interval, Rate, Traffic};
use crate::time::{MonoTime, Tick, WallTime};

const TICK: Duration = Duration::from_secs(5);
const START: i64 = 1_800_000_000_000;
const SPANS: f64 = 8.0;

struct Plant {
    governor: Governor,
    seconds: u64,
    demand: Vec<(&'static str, Option<&'static str>, f64)>,
    capacity: f64,
    /// Lost whatever the load.
    constant_loss: f64,
    /// Share of the traffic whose clients sample at 0.1 whatever they are told.
    ignoring: f64,
    last: Option<PolicyDecision>,
}

impl Plant {
    fn new(policy: Policy, demand: &[(&'static str, Option<&'static str>, f64)]) -> Self {
        Self {
            governor: Governor::new(at(0), Arc::new(policy), TICK),
            seconds: 0,
            demand: demand.to_vec(),
            capacity: f64::INFINITY,
            constant_loss: 0.0,
            ignoring: 0.0,
            last: None,
        }
    }

    fn served(&self, service: &str, operation: Option<&str>) -> f64 {
        self.last.as_ref().map_or(0.1, |last| served_by(last, (service, operation)))
    }

    fn offered(&self) -> f64 {
        let traces = |(s, o, d): &(&str, Option<&str>, f64)| {
            d * ((1.0 - self.ignoring) * self.served(s, *o) + self.ignoring * 0.1)
        };
        SPANS * self.demand.iter().map(traces).sum::<f64>()
    }

    fn traffic(&self) -> Traffic {
        let over = Interval::before(at(self.seconds).wall, TICK);
        let offered = self.offered();
        let dropped = (offered - self.capacity).max(0.0).max(self.constant_loss * offered);
        Traffic {
            demand: self.demand.iter().map(|(s, o, d)| Demand::new(s, *o, *d)).collect(),
            demand_over: Some(over),
            received: Rate::new(offered, over),
            dropped: Rate::new(dropped, over),
            age: Some(Duration::ZERO),
            scrape_interval: Some(TICK),
            is_partial: false,
        }
    }

    fn tick_with(&mut self, traffic: Option<&Traffic>) -> &PolicyDecision {
        self.seconds += TICK.as_secs();
        self.last.insert(self.governor.tick(at(self.seconds), traffic, &HashSet::new()))
    }

    fn tick(&mut self) -> &PolicyDecision {
        self.seconds += TICK.as_secs();
        let traffic = self.traffic();
        self.seconds -= TICK.as_secs();
        self.tick_with(Some(&traffic))
    }

    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds / TICK.as_secs() {
            self.tick();
        }
    }

    fn loss(&self) -> f64 {
        1.0 - (self.capacity / self.offered()).min(1.0)
    }

    fn last(&self) -> &PolicyDecision {
        self.last.as_ref().expect("a tick happened")
    }

    fn budget(&self) -> f64 {
        self.last().inputs.budget_spans_per_second.expect("a budget is known")
    }
}

/// What a client with such a root span uses.
fn served_by(decision: &PolicyDecision, name: (&str, Option<&str>)) -> f64 {
    rate_of(decision, name).map_or(decision.stranger, |rate| rate.served).get()
}

/// What was decided for such a root span; `None` for a stranger's.
fn rate_of(decision: &PolicyDecision, (service, operation): (&str, Option<&str>)) -> Option<Decided> {
    let own = decision.services.iter().find(|s| &*s.service == service)?;
    let listed = own.operations.iter().find(|o| Some(&*o.operation) == operation);
    Some(listed.map_or(own.rate, |o| o.rate))
}

fn at(seconds: u64) -> Tick {
    let since = Duration::from_secs(seconds);
    Tick { mono: MonoTime::from_start(since), wall: WallTime::from_unix_ms(START).plus(since) }
}

fn p(value: f64) -> Probability {
    Probability::new(value).expect("a probability")
}

fn rule(pattern: &str) -> ServiceRule {
    ServiceRule::for_pattern(Pattern::new(pattern).expect("a pattern"))
}

fn policy() -> Policy {
    Policy::with_defaults("shop")
}

fn budgeted(spans_per_second: f64) -> Policy {
    let mut policy = policy();
    policy.budget.spans_per_second = Some(spans_per_second);
    policy.spans_per_trace = Some(SPANS);
    policy
}
