//! What SDKs and operators are told while the source is at fault, and after.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use crate::peer::{OPAQUE_SUFFIX, Peer, Scenario};
use crate::plant::{Plant, SERVICES};
use crate::support::child::wait_for;
use crate::support::flyball::{Flyball, Home};
use crate::support::http::{self, Server};

/// For what takes a few ticks; never waited for in full when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The share of the budget: 1600 spans/s over 1000 requests/s of 8 spans.
pub(crate) const SHARE: f64 = 0.2;

const FAULT: Duration = Duration::from_secs(6);
const PROBE_INTERVAL: Duration = Duration::from_millis(50);
const PROBABILITY_MIN: f64 = 0.01;
const PROBABILITY_MAX: f64 = 0.8;
const TOLERANCE: f64 = 1.000_001;
/// Two policies ask seven queries at once, and each may hold `body_max_bytes` (32 MiB by default) before it is refused,
/// with some slack for the allocator: less than the seven bodies of 50 MB as a whole.
const MEMORY_RISE_MAX_KB: u64 = (7 + 3) * 32 * 1024;

/// Everything but the signals.
const RULES: &str = "
probability: {min: 0.01, max: 0.8, initial: 0.4, fallback: 0.05}
budget: {spans_per_second: 1600}
spans_per_trace: 8
";

/// Read as raw samples.
pub(crate) const COUNTERS: &str = "
policy: shop
signals:
  demand:   {query: 'sum by (service) (rate(requests_total[5s]))'}
  received: {query: 'sum(rate(received_total[5s]))'}
  dropped:  {query: 'sum(rate(dropped_total[5s]))'}
services: [{match: 'checkout'}, {match: 'cart'}]
";

/// Left to the server.
const OPAQUE: &str = "
policy: shop-opaque
signals:
  demand:    {query: 'max by (service) (rate(requests_total[5s]))'}
  received:  {query: 'max(rate(received_total[5s]))'}
  dropped:   {query: 'max(rate(dropped_total[5s]))'}
  freshness: {query: 'time() - max(timestamp(requests_total))'}
services: [{match: '*-opaque'}]
";

pub(crate) fn trials() -> Vec<Trial> {
    // The longest first, so that none is left alone at the end.
    let mut trials = vec![
        Trial::test("source::input_too_old_lowers_to_the_fallback_and_recovery_at_most_doubles", || {
            grows_old(0.02, 0.02)
        }),
        Trial::test("source::a_fallback_above_what_is_held_raises_nothing", || grows_old(0.7, SHARE)),
    ];
    let faults = [
        (Scenario::Gone, "unreachable", &["stale"][..]),
        (Scenario::Slow, "timeout", &["stale"]),
        (Scenario::Status500, "status", &["stale"]),
        (Scenario::Html, "malformed", &["stale"]),
        (Scenario::Huge, "too_large", &["stale"]),
        // Whichever bound a machine of this speed meets first.
        (Scenario::HugeUnannounced, "too_large|timeout", &["stale"]),
        (Scenario::PartialWithWarnings, "ok", &["partial"]),
        (Scenario::Garbage, "unreachable", &["stale"]),
        // The last samples are still in the range that raw counters are read over.
        (Scenario::EmptyResult, "ok", &["outage", "stale"]),
        (Scenario::Refused, "refused", &["stale"]),
    ]
    .into_iter()
    .map(|(scenario, outcome, reasons)| {
        Trial::test(format!("source::{scenario:?}_raises_nothing_is_named_and_is_survived"), move || {
            survives(scenario, outcome, reasons)
        })
    });
    trials.extend(faults);
    trials.push(Trial::test("source::scraped_counters_lead_to_a_decision_within_seconds", scrapes));
    trials
}

/// A policy of the tests.
pub(crate) fn policy(signals: &str) -> String {
    format!("{signals}{RULES}")
}

/// A fleet, a Prometheus API over it and a Flyball that has decided.
pub(crate) struct Bed {
    pub(crate) flyball: Flyball,
    pub(crate) peer: Peer,
    _plant: Plant,
}

impl Bed {
    /// With the policies that `rules` makes of both kinds of signals.
    fn start(rules: impl Fn(&str) -> String) -> Self {
        let plant = Plant::start();
        let peer = Peer::start(plant.counters());
        let home = Home::new(&source(&peer), &rules(COUNTERS));
        home.write("policies/opaque.yaml", &rules(OPAQUE));
        let flyball = Flyball::start_in(&Arc::new(home));
        plant.follow(flyball.http);
        let bed = Self { flyball, peer, _plant: plant };
        bed.wait_until_healthy();
        bed
    }

    fn wait_until_healthy(&self) {
        wait_for("the share of the budget, undegraded", PATIENCE, || {
            let is_share = |service: &String| {
                self.flyball.probability(service).is_some_and(|p| (SHARE * 0.9..SHARE * 1.1).contains(&p))
            };
            (self.flyball.degraded()?.is_empty() && services().iter().all(is_share)).then_some(())
        });
    }

    fn served(&self) -> BTreeMap<String, f64> {
        let of = |service: String| {
            let served = self.flyball.probability(&service).expect("an answer");
            (service, served)
        };
        services().into_iter().map(of).collect()
    }

    /// Reasons by policy.
    fn degraded_by_policy(&self) -> Vec<Option<String>> {
        let status = http::get_json(self.flyball.admin, "/status").expect("a status");
        let policies = status["policies"].as_array().expect("a list");
        policies.iter().map(|policy| policy["degraded"].as_str().map(str::to_owned)).collect()
    }

    fn memory_kb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.flyball.child.0.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

/// YAML of the source.
pub(crate) fn source(peer: &Peer) -> String {
    format!("{{prometheus: {{url: 'http://{}', poll_interval: 1s, timeout: 500ms}}}}", peer.address)
}

/// A sample of `/metrics`, by its name and labels; 0 where there is none.
pub(crate) fn metric(flyball: &Flyball, series: &str) -> f64 {
    let (status, text) = http::get(flyball.admin, "/metrics").expect("an answer");
    assert_eq!(status, 200);
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or(0.0)
}

/// Queries that ended with one of these outcomes.
fn ended(flyball: &Flyball, outcomes: &str) -> f64 {
    let count = |outcome| metric(flyball, &format!("flyball_source_queries_total{{outcome=\"{outcome}\"}}"));
    outcomes.split('|').map(count).sum()
}

fn services() -> Vec<String> {
    SERVICES.iter().flat_map(|s| [(*s).to_owned(), format!("{s}{OPAQUE_SUFFIX}")]).collect()
}

/// Asks 20 times a second for `length`, each service in turn, and judges each answer.
fn probe(
    flyball: &Flyball,
    length: Duration,
    mut judge: impl FnMut(&str, f64) -> Result<(), Failed>,
) -> Result<(), Failed> {
    let started = Instant::now();
    for service in services().iter().cycle() {
        if started.elapsed() > length {
            break;
        }
        let (status, body) = http::get(flyball.http, &format!("/sampling?service={service}")).ok_or("no answer")?;
        let strategy: serde_json::Value = serde_json::from_str(&body)?;
        let told = strategy["probabilisticSampling"]["samplingRate"].as_f64();
        match told.filter(|p| (PROBABILITY_MIN..=PROBABILITY_MAX).contains(p)) {
            Some(told) if status == 200 => judge(service, told)?,
            _ => return Err(format!("{service} got {status} {body} after {:?}", started.elapsed()).into()),
        }
        std::thread::sleep(PROBE_INTERVAL);
    }
    Ok(())
}

fn survives(scenario: Scenario, outcome: &str, reasons: &[&str]) -> Result<(), Failed> {
    let bed = Bed::start(policy);
    let (held, memory_kb) = (bed.served(), bed.memory_kb());
    let counted = ended(&bed.flyball, outcome);
    bed.peer.switch(scenario);
    let mut memory_max_kb = 0;
    probe(&bed.flyball, FAULT, |service, told| {
        memory_max_kb = memory_max_kb.max(bed.memory_kb());
        bed.flyball.degraded().ok_or("not ready")?;
        let held = held[service];
        if told > held * TOLERANCE { Err(format!("{service} rose from {held} to {told}").into()) } else { Ok(()) }
    })?;

    let named = bed.degraded_by_policy();
    let is_named = |reason: &Option<String>| reason.as_deref().is_some_and(|reason| reasons.contains(&reason));
    assert!(named.len() == 2 && named.iter().all(is_named), "degraded is {named:?}, not {reasons:?}");
    let shown = bed.flyball.degraded().ok_or("not ready")?;
    for reason in &shown {
        assert_eq!(metric(&bed.flyball, &format!("flyball_degraded{{reason=\"{reason}\"}}")), 1.0, "{reason}");
    }
    assert!(ended(&bed.flyball, outcome) > counted, "`{outcome}` stayed at {counted}");
    let rise_kb = memory_max_kb.saturating_sub(memory_kb);
    assert!(rise_kb < MEMORY_RISE_MAX_KB, "took {rise_kb} kB more");

    bed.peer.switch(Scenario::Healthy);
    bed.wait_until_healthy();
    Ok(())
}

/// With a short `max_age`: the source dies, `floor` is served, the source comes back.
fn grows_old(fallback: f64, floor: f64) -> Result<(), Failed> {
    let probability = format!("fallback: {fallback}}}\nmax_age: 5s");
    let bed = Bed::start(|signals| policy(signals).replace("fallback: 0.05}", &probability));
    let held = bed.served();
    bed.peer.switch(Scenario::Gone);
    wait_for("input that is too old", PATIENCE, || bed.flyball.degraded().filter(|reasons| *reasons == ["fallback"]));
    for (service, served) in bed.served() {
        assert!((served - floor.min(held[&service])).abs() < 0.1 * floor, "{service}: {served}, not {floor}");
    }

    let mut last = bed.served();
    bed.peer.switch(Scenario::Healthy);
    probe(&bed.flyball, FAULT, |service, told| {
        let before = last.insert(service.to_owned(), told).expect("known");
        if told > 2.0 * before * TOLERANCE { Err(format!("{service}: {before} to {told}").into()) } else { Ok(()) }
    })?;
    // The load is that of the services read raw: it answers no command to the others, whose rises wait a minute each.
    wait_for("the share of the budget where the fleet answers", PATIENCE, || {
        let is_share =
            |service: &&str| bed.flyball.probability(service).is_some_and(|p| (SHARE * 0.9..SHARE * 1.1).contains(&p));
        (bed.flyball.degraded()?.is_empty() && SERVICES.iter().all(is_share)).then_some(())
    });
    Ok(())
}

fn scrapes() -> Result<(), Failed> {
    let plant = Plant::start();
    let counters = plant.counters();
    let server = Server::start(move || counters.exposition());
    let source = format!("{{scrape: {{targets: ['http://{}/metrics'], interval: 1s}}}}", server.address);
    let flyball = Flyball::start(&source, &policy(COUNTERS));
    plant.follow(flyball.http);
    wait_for("a decision on what was scraped", Duration::from_secs(10), || {
        let is_share = |service: &&str| flyball.probability(service).is_some_and(|p| p < 0.35);
        (flyball.degraded()?.is_empty() && SERVICES.iter().all(is_share)).then_some(())
    });
    Ok(())
}
