//! One tick of the controller without its source: from decoded traffic to published bytes.
//!
//! Budget: 60 ms for 100,000 series on one core, decoding included, and linear in the series. Measured against itself:
//! the time a series must not grow with the number of series. Each tick moves every demand, so that every answer is
//! encoded again: the worst case.
//!
//! `cargo bench --bench decide`

use std::alloc::System;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flyball::controller::assemble::assemble;
use flyball::controller::governors::Governors;
use flyball::controller::memory::Memories;
use flyball::controller::snapshot::Snapshot;
use flyball::policy::{LoadedPolicy, PolicySet};
use flyball::sampling::policy::Policy;
use flyball::sampling::traffic::{Demand, Interval, Name, Rate, Traffic};
use flyball::source::{Counter, DemandSignal, Query, Signals, Unit};
use flyball::time::{MonoTime, Tick, WallTime};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const OPERATIONS_PER_SERVICE: usize = 20;
const TICK: Duration = Duration::from_secs(5);
const TICKS: u32 = 15;

fn main() {
    println!("{:>8}  {:>10}  {:>12}  {:>14}  {:>12}", "series", "tick", "per series", "held", "per series");
    for series in [100, 10_000, 100_000] {
        let (tick, held) = measure(series);
        let per_series = tick / u32::try_from(series).expect("small");
        println!(
            "{series:>8}  {tick:>10.2?}  {per_series:>12.0?}  {:>10.2} MiB  {:>10} B",
            held as f64 / 1048576.0,
            held / series
        );
    }
}

/// Median time of a tick and bytes held after it.
fn measure(series: usize) -> (Duration, usize) {
    let names = names(series);
    let region = Region::new(ALLOCATOR);
    let policies = PolicySet { policies: vec![policy()] };
    let mut governors = Governors::new(at(0), TICK, &policies, &Memories::default());
    let mut snapshot = Snapshot::empty(1, at(0).wall);
    let mut times: Vec<Duration> = (1..=TICKS)
        .map(|tick| {
            let now = at(tick);
            let traffic: BTreeMap<Name, Traffic> = [("shop".into(), traffic(&names, tick))].into();
            let started = Instant::now();
            let decisions = governors.tick(now, &traffic);
            snapshot = assemble(&snapshot, now.wall, &policies, decisions, HashMap::new());
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    let stats = region.change();
    let held = stats.bytes_allocated.saturating_sub(stats.bytes_deallocated);
    assert_eq!(snapshot.decisions[0].services.len(), series / OPERATIONS_PER_SERVICE);
    (times[times.len() / 2], held)
}

fn names(series: usize) -> Vec<(Name, Name)> {
    let name = |i: usize| {
        let (service, operation) = (i / OPERATIONS_PER_SERVICE, i % OPERATIONS_PER_SERVICE);
        (Name::from(format!("service-{service}")), Name::from(format!("GET /operation/{operation}")))
    };
    (0..series).map(name).collect()
}

fn traffic(names: &[(Name, Name)], tick: u32) -> Traffic {
    let over = Interval::before(at(tick).wall, TICK);
    let row = |(i, (service, operation)): (usize, &(Name, Name))| Demand {
        service: service.clone(),
        operation: Some(operation.clone()),
        per_second: 10.0 * (1.0 + f64::from(tick)) * (1 + i % 97) as f64,
        is_warming: false,
        is_stale: false,
    };
    let demand: Vec<Demand> = names.iter().enumerate().map(row).collect();
    let total: f64 = demand.iter().map(|d| d.per_second).sum();
    Traffic {
        demand,
        demand_over: Some(over),
        received: Rate::new(total * 0.1, over),
        dropped: Rate::new(0.0, over),
        age: Some(Duration::ZERO),
        scrape_interval: Some(TICK),
        is_partial: false,
    }
}

fn policy() -> LoadedPolicy {
    let mut policy = Policy::with_defaults("shop");
    policy.spans_per_trace = Some(8.0);
    policy.budget.spans_per_second = Some(100_000.0);
    let counter =
        || Query::Counter(Counter { metric: "m".into(), matchers: Vec::new(), by: Vec::new(), window: Duration::ZERO });
    let signals = Signals {
        demand: DemandSignal {
            query: counter(),
            service_label: "service".into(),
            operation_label: None,
            is_adjusted: false,
        },
        received: counter(),
        dropped: counter(),
        freshness: None,
        unit: Unit::Spans,
    };
    LoadedPolicy { sampling: Arc::new(policy), signals: Arc::new(signals) }
}

fn at(tick: u32) -> Tick {
    let since = TICK * tick;
    Tick { mono: MonoTime::from_start(since), wall: WallTime::from_unix_ms(1_800_000_000_000).plus(since) }
}
