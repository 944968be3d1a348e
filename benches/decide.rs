//! One tick of the controller, from the body that a Prometheus server sends to the bytes that clients are sent.
//!
//! Budget: 60 ms for 100,000 series on one core, and linear in the series. Measured against itself: the time a series
//! must not grow with the number of series. Each tick moves every demand, so that every answer is encoded again: the
//! worst case. The bodies look like a server's: `sum by (…) (rate(…))` is an instant vector, a raw counter a range
//! vector of three samples with the target's labels.
//!
//! `cargo bench --bench decide`

use std::alloc::System;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flyball::controller::assemble::assemble;
use flyball::controller::governors::Governors;
use flyball::controller::memory::Memories;
use flyball::controller::snapshot::Snapshot;
use flyball::policy::{LoadedPolicy, PolicySet};
use flyball::sampling::policy::Policy;
use flyball::sampling::traffic::{Name, Traffic};
use flyball::source::{Counter, DemandSignal, Query, Replay, ReplayedPoll, Signals, Unit};
use flyball::time::{MonoTime, Tick, WallTime};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const OPERATIONS_PER_SERVICE: usize = 20;
const INSTANCES_PER_SERVICE: usize = 10;
/// Of the budget: enough for some operations to be sampled whole, too little for most.
const SPANS_PER_SERIES: f64 = 200.0;
const TICK: Duration = Duration::from_secs(5);
const TICKS: u32 = 15;
const BUDGET: Duration = Duration::from_millis(60);

/// How demand is read.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    /// The server computes the rates.
    Vector,
    /// Raw samples, three a series.
    Matrix,
}

/// Medians over the ticks.
struct Measured {
    body_bytes: usize,
    read: Duration,
    decide: Duration,
    publish: Duration,
    all: Duration,
    held: usize,
}

fn main() {
    println!(
        "{:>7} {:>8}  {:>9}  {:>9}  {:>9}  {:>9}  {:>9}  {:>10}  {:>10}",
        "", "series", "body", "read", "decide", "publish", "all", "per series", "held"
    );
    let vector = [100, 10_000, 100_000].map(|series| show("vector", series, &measure(Shape::Vector, series)));
    for series in [100, 2_000, 20_000] {
        show("matrix", series, &measure(Shape::Matrix, series));
    }
    let verdict = if vector[2] <= BUDGET { "within" } else { "MISSES" };
    println!("{verdict} the budget of {BUDGET:?} for 100,000 series of a vector");
}

fn show(shape: &str, series: usize, measured: &Measured) -> Duration {
    let Measured { body_bytes, read, decide, publish, all, held } = *measured;
    println!(
        "{shape:>7} {series:>8}  {:>5.2} MiB  {read:>9.2?}  {decide:>9.2?}  {publish:>9.2?}  {all:>9.2?}  {:>7.0?}  {:>6.2} MiB",
        body_bytes as f64 / 1_048_576.0,
        all / u32::try_from(series).expect("small"),
        held as f64 / 1_048_576.0,
    );
    all
}

fn measure(shape: Shape, series: usize) -> Measured {
    let policies = PolicySet { policies: vec![policy(shape, series)], fleets: Vec::new() };
    let bodies: Vec<ReplayedPoll> = (1..=TICKS).map(|tick| poll(shape, series, tick)).collect();
    let region = Region::new(ALLOCATOR);
    let mut replay = Replay::new(&policies.policies[0].signals, series);
    let mut governors = Governors::new(at(0), TICK, &policies, &Memories::default());
    let mut snapshot = Snapshot::empty(1, at(0).wall);
    let mut times: [Vec<Duration>; 4] = Default::default();
    for (tick, body) in (1..=TICKS).zip(&bodies) {
        let (now, started) = (at(tick), Instant::now());
        let traffic = replay.read(body, now).expect("a server's answer");
        let read = started.elapsed();
        let traffic: BTreeMap<Name, Traffic> = [("shop".into(), traffic)].into();
        let decisions = governors.tick(now, &traffic);
        let decided = started.elapsed();
        snapshot = assemble(&snapshot, now.wall, &policies, decisions, HashMap::new());
        drop(traffic);
        let all = started.elapsed();
        times.iter_mut().zip([read, decided - read, all - decided, all]).for_each(|(times, time)| times.push(time));
    }
    let stats = region.change();
    assert_eq!(snapshot.decisions[0].services.len(), series.div_ceil(per_service(shape)));
    let [read, decide, publish, all] = times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    });
    let held = stats.bytes_allocated.saturating_sub(stats.bytes_deallocated);
    Measured { body_bytes: bodies[0].demand.len(), read, decide, publish, all, held }
}

fn per_service(shape: Shape) -> usize {
    if shape == Shape::Vector { OPERATIONS_PER_SERVICE } else { OPERATIONS_PER_SERVICE * INSTANCES_PER_SERVICE }
}

fn poll(shape: Shape, series: usize, tick: u32) -> ReplayedPoll {
    let total = |value: f64| match shape {
        Shape::Vector => vector(tick, [(String::new(), value)].into_iter()),
        Shape::Matrix => matrix(tick, [("\"job\":\"collector\",\"instance\":\"c:1\"".to_owned(), value)].into_iter()),
    };
    let rate = |i: usize| 10.0 * (1.0 + f64::from(tick)) * (1 + i % 97) as f64 / 3.0;
    let demand = match shape {
        Shape::Vector => vector(tick, (0..series).map(|i| (vector_labels(i), rate(i)))),
        Shape::Matrix => matrix(tick, (0..series).map(|i| (matrix_labels(i), rate(i)))),
    };
    ReplayedPoll { demand, received: total((0..series).map(rate).sum::<f64>() * 0.1), dropped: total(0.0) }
}

fn vector_labels(i: usize) -> String {
    let (service, operation) = (i / OPERATIONS_PER_SERVICE, i % OPERATIONS_PER_SERVICE);
    format!("\"operation\":\"GET /api/v1/operation/{operation}\",\"service\":\"service-{service}\"")
}

fn matrix_labels(i: usize) -> String {
    let (service, operation) = (i / per_service(Shape::Matrix), i % OPERATIONS_PER_SERVICE);
    let instance = i / OPERATIONS_PER_SERVICE % INSTANCES_PER_SERVICE;
    format!(
        "\"__name__\":\"http_server_requests_total\",\"instance\":\"10.0.{}.{instance}:8080\",\"job\":\"shop\",\
         \"method\":\"GET\",\"operation\":\"GET /api/v1/operation/{operation}\",\"service\":\"service-{service}\"",
        service % 256
    )
}

fn vector(tick: u32, rows: impl Iterator<Item = (String, f64)>) -> Bytes {
    let at = at(tick).wall.unix_ms() as f64 / 1000.0;
    answer("vector", rows.map(|(labels, value)| format!("{{\"metric\":{{{labels}}},\"value\":[{at},\"{value}\"]}}")))
}

/// Counters that have risen by `value` a second for ever, scraped just now and twice before.
fn matrix(tick: u32, rows: impl Iterator<Item = (String, f64)>) -> Bytes {
    let sample = |back: u32, rate: f64| {
        let at = at(tick).wall.minus(TICK * back).unix_ms() as f64 / 1000.0;
        format!("[{at},\"{}\"]", (rate * 5.0 * f64::from(tick + 2 - back)).round())
    };
    let samples = |rate: f64| [2, 1, 0].map(|back| sample(back, rate)).join(",");
    answer("matrix", rows.map(|(labels, rate)| format!("{{\"metric\":{{{labels}}},\"values\":[{}]}}", samples(rate))))
}

fn answer(result_type: &str, rows: impl Iterator<Item = String>) -> Bytes {
    let mut body = format!("{{\"status\":\"success\",\"data\":{{\"resultType\":\"{result_type}\",\"result\":[");
    for (i, row) in rows.enumerate() {
        write!(body, "{}{row}", if i > 0 { "," } else { "" }).expect("a string grows");
    }
    body.push_str("]}}");
    body.into()
}

fn policy(shape: Shape, series: usize) -> LoadedPolicy {
    let mut policy = Policy::with_defaults("shop");
    policy.spans_per_trace = Some(8.0);
    policy.budget.spans_per_second = Some(SPANS_PER_SERIES * series as f64);
    policy.budget.max = f64::MAX;
    let query = |metric: &str, by: &[&str]| match shape {
        Shape::Vector => Query::Opaque { promql: metric.into(), window: TICK },
        Shape::Matrix => {
            let by = by.iter().map(|label| (*label).to_owned()).collect();
            Query::Counter(Counter { metric: metric.into(), matchers: Vec::new(), by, window: TICK * 4 })
        }
    };
    let signals = Signals {
        demand: DemandSignal {
            query: query("http_server_requests_total", &["service", "operation"]),
            service_label: "service".into(),
            operation_label: Some("operation".into()),
            is_adjusted: false,
        },
        received: query("received_total", &[]),
        dropped: query("dropped_total", &[]),
        freshness: None,
        unit: Unit::Spans,
    };
    LoadedPolicy { sampling: Arc::new(policy), signals: Arc::new(signals) }
}

fn at(tick: u32) -> Tick {
    let since = TICK * tick;
    Tick { mono: MonoTime::from_start(since), wall: WallTime::from_unix_ms(1_800_000_000_798).plus(since) }
}
