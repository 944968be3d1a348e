//! Counts pushed over OTLP to a running Flyball: by the Rust and the Python SDK, in every format and temporality, and by
//! hand where no SDK would say such a thing.

mod by_hand;
mod python;
mod rust_sdk;
#[path = "../support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};
use support::child::wait_for;
use support::flyball::Flyball;

const PATIENCE: Duration = Duration::from_secs(30);
/// Decided often, so that a test takes as long as its exporter.
const SOURCE: &str = "{otlp: {listen: '127.0.0.1:0', interval: 200ms}}";

fn main() {
    let mut arguments = Arguments::from_args();
    // The HTTP clients of the tests and of the exporter are built without one.
    rustls::crypto::ring::default_provider().install_default().expect("the first");
    // Each trial waits far more than it works.
    arguments.test_threads = arguments.test_threads.or(Some(8));
    let trials: Vec<Trial> = [rust_sdk::trials(), python::trials(), by_hand::trials()].into_iter().flatten().collect();
    libtest_mimic::run(&arguments, trials).exit();
}

/// A policy with this demand, all of it pushed.
fn policy(demand: &str) -> String {
    format!(
        "policy: shop\nsignals:\n  demand: {{{demand}, from: otlp}}\n  received: {{counter: backend.spans, from: otlp}}\n  \
         dropped: {{counter: backend.spans.dropped, from: otlp}}\n"
    )
}

/// A running Flyball to which this demand is pushed.
fn start(demand: &str) -> Flyball {
    Flyball::start(SOURCE, &policy(demand))
}

/// Where it listens for OTLP.
fn otlp(flyball: &Flyball) -> SocketAddr {
    wait_for("the OTLP address", PATIENCE, || {
        let log = flyball.log.lock().expect("not poisoned");
        let lines = log.iter().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let of_otlp = lines.filter(|line| line.get("protocol").is_some_and(|protocol| protocol == "otlp"));
        let mut addresses = of_otlp.filter_map(|line| line.get("address")?.as_str()?.parse().ok());
        addresses.next()
    })
}

/// An input of the decision on `service`, where it is known.
fn input(flyball: &Flyball, service: &str, name: &str) -> Option<f64> {
    flyball.inputs(service)?.get(name)?.as_f64()
}

/// The value of one of our own metrics with these labels.
fn metric(flyball: &Flyball, series: &str) -> f64 {
    let (_, page) = support::http::get(flyball.admin, "/metrics").expect("an answer");
    let line = page.lines().find(|line| line.starts_with(series));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
}
