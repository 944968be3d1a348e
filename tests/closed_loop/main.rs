//! The whole loop against a real Prometheus server: it scrapes a workload, Flyball reads it, the workload obeys.

#[path = "../support/mod.rs"]
mod support;
mod workload;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed};
use support::child::wait_for;
use support::flyball::Flyball;
use support::http;
use support::peers::needing;
use support::prometheus::Prometheus;
use workload::Workload;

const PATIENCE: Duration = Duration::from_secs(90);

/// The recognised form: raw samples are read.
const COUNTERS: &str = "
policy: shop
signals:
  demand:   {query: 'sum by (service, operation) (rate(http_server_requests_total[10s]))', service_label: service, operation_label: operation}
  received: {query: 'sum(rate(traces_received_total[10s]))', unit: spans}
  dropped:  {query: 'sum(rate(traces_dropped_total[10s]))'}
probability: {initial: 0.5}
";

/// The same, as expressions that only the server can evaluate, with the freshness that they cannot tell.
const OPAQUE: &str = "
policy: shop
signals:
  demand:   {query: 'sum by (service) (rate(http_server_requests_total[10s])) * 1', service_label: service}
  received: {query: 'sum(rate(traces_received_total[10s])) * 1'}
  dropped:  {query: '(sum(rate(traces_dropped_total[10s])) or vector(0)) + (sum(traces_dropped_total unless traces_dropped_total offset 10s) or vector(0)) / 10'}
  freshness: {query: 'time() - max(timestamp(http_server_requests_total))'}
probability: {initial: 0.5}
";

fn main() {
    let mut arguments = Arguments::from_args();
    // Each trial waits far more than it works.
    arguments.test_threads = arguments.test_threads.or(Some(8));
    let trials = vec![
        needing("prometheus", "a_tenfold_surge_is_followed_and_loss_falls_under_its_target", surge),
        needing("prometheus", "probabilities_do_not_rise_after_the_workload_died_raw_counters", || {
            death(COUNTERS, "stale")
        }),
        needing("prometheus", "probabilities_do_not_rise_after_the_workload_died_opaque_queries", || {
            // Once the samples have left the server's window, neither demand nor the pipeline exists any more.
            death(OPAQUE, "outage")
        }),
        needing("prometheus", "the_first_burst_of_loss_ever_is_seen_raw_counters", || first_burst(COUNTERS)),
        needing("prometheus", "the_first_burst_of_loss_ever_is_seen_opaque_queries", || first_burst(OPAQUE)),
        needing("prometheus", "a_prometheus_that_dies_is_survived", outage),
        needing("prometheus", "ticks_lock_to_the_scrape_raw_counters", || locked(COUNTERS)),
        needing("prometheus", "ticks_lock_to_the_scrape_opaque_queries", || locked(OPAQUE)),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn house(policy: &str, demand: f64, capacity: f64) -> (Workload, Prometheus, Flyball) {
    let workload = Workload::start(demand, capacity);
    let prometheus = Prometheus::scraping(workload.target());
    let source = format!("{{prometheus: {{url: 'http://{}', poll_interval: 1s, timeout: 1s}}}}", prometheus.address);
    let flyball = Flyball::start(&source, policy);
    workload.follow(flyball.http);
    (workload, prometheus, flyball)
}

/// Waits until the loop has demand and decides on it.
fn wait_until_it_decides(flyball: &Flyball) {
    wait_for("a decision on measured demand", PATIENCE, || {
        flyball.inputs("checkout")?.get("spans_per_trace")?.as_f64()
    });
}

fn surge() -> Result<(), Failed> {
    let (workload, _prometheus, flyball) = house(COUNTERS, 200.0, 2_000.0);
    wait_for("everything to be sampled", PATIENCE, || flyball.probability("checkout").filter(|p| *p == 1.0));
    workload.change(|state| state.demand = 2_000.0);
    wait_for("the probability to follow", Duration::from_secs(20), || {
        flyball.probability("checkout").filter(|p| (0.05..=0.13).contains(p))
    });
    std::thread::sleep(Duration::from_secs(5));
    let loss = workload.loss_over(Duration::from_secs(10));
    if loss > 0.01 {
        return Err(format!("loss {loss} above its target").into());
    }
    Ok(())
}

fn death(policy: &str, named: &str) -> Result<(), Failed> {
    let (mut workload, _prometheus, flyball) = house(policy, 2_000.0, 2_000.0);
    wait_until_it_decides(&flyball);
    wait_for("a measured capacity", PATIENCE, || flyball.probability("checkout").filter(|p| *p < 0.2));
    let before = flyball.probability("checkout").ok_or("no answer")?;
    workload.metrics = None;
    let died = Instant::now();
    while died.elapsed() < Duration::from_secs(20) {
        let now = flyball.probability("checkout").ok_or("no answer")?;
        if now > before * 1.000_001 {
            return Err(format!("rose from {before} to {now} on dead data after {:?}", died.elapsed()).into());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    match flyball.degraded() {
        Some(reasons) if reasons == [named] => Ok(()),
        other => Err(format!("degraded is {other:?}, not {named}").into()),
    }
}

fn first_burst(policy: &str) -> Result<(), Failed> {
    let (workload, _prometheus, flyball) = house(policy, 50.0, f64::INFINITY);
    wait_until_it_decides(&flyball);
    // The counter is born at 500: `rate()` of it never shows those.
    workload.change(|state| state.dropped = Some(500.0));
    wait_for("the loss to be seen", Duration::from_secs(15), || {
        flyball.inputs("checkout")?.get("loss_ratio")?.as_f64().filter(|loss| *loss > 0.01)
    });
    Ok(())
}

/// Scrapes and polls every 5 s. A free-running loop decides on samples of any age up to the scrape interval.
fn locked(policy: &str) -> Result<(), Failed> {
    let policy = policy.replace("[10s]", "[20s]").replace("offset 10s", "offset 20s");
    let workload = Workload::start(200.0, 2_000.0);
    let prometheus = Prometheus::scraping_every(5, workload.target());
    let source = format!("{{prometheus: {{url: 'http://{}', poll_interval: 5s, timeout: 3s}}}}", prometheus.address);
    let flyball = Flyball::start(&source, &policy);
    let decided = || {
        let rows = http::get_json(flyball.admin, "/api/v1/decisions/checkout")?;
        let age = rows.get(0)?.get("inputs")?.get("age_seconds")?.as_f64()?;
        Some((rows.get(0)?.get("decided_at")?.as_str()?.to_owned(), age))
    };
    wait_for("the lock", PATIENCE, || decided().filter(|(_, age)| *age < 0.5));
    let mut ages = BTreeMap::new();
    wait_for("six more decisions", PATIENCE, || {
        ages.extend(decided());
        (ages.len() > 6).then_some(())
    });
    // One scrape may come late; the delay is learnt from it.
    let late = ages.values().filter(|age| **age >= 1.0).count();
    if late > 1 {
        return Err(format!("decided on old samples: {ages:?}, degraded: {:?}", flyball.degraded()).into());
    }
    Ok(())
}

fn outage() -> Result<(), Failed> {
    let (_workload, prometheus, flyball) = house(COUNTERS, 200.0, 2_000.0);
    wait_until_it_decides(&flyball);
    drop(prometheus);
    wait_for("the outage to be named", Duration::from_secs(20), || {
        flyball.degraded().filter(|reasons| reasons == &["stale"])
    });
    flyball.probability("checkout").ok_or("no answer without Prometheus")?;
    Ok(())
}
