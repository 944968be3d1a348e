//! Two plans beside each other, over the wire: one interval first, then each group its own, and a person ends it.

use std::process::Command;
use std::time::Duration;

use libtest_mimic::Failed;

use crate::bed::{Bed, Plan, SCRAPE};
use crate::support::child::wait_for;
use crate::support::http;
use crate::waves::{post, rollout};

const DEVICES: usize = 40;
const SOON: Duration = Duration::from_secs(90);
const A: Duration = Duration::from_millis(600);
const B: Duration = Duration::from_millis(1_000);

/// Even devices are in the north, the others in the south.
const FLEET: &str = "fleet: gateways
cohort_by: [region]
interval: {min: 600ms, max: 60s}
probes: {flows: 0}
ab_tests:
  - {name: winter, by: region, a: {groups: [north], interval: 600ms}, b: {groups: [south], interval: 1s}}
";

fn bed(fleet: String, source: String, host: u8) -> Bed {
    Bed::with(&Plan { devices: DEVICES, fleet, kept: Duration::from_secs(60), is_durable: true, source, host })
}

pub(crate) fn compared() -> Result<(), Failed> {
    let bed = bed(FLEET.to_owned(), SCRAPE.to_owned(), 6);
    let id = wait_for("the test", SOON, || rollout(&bed, None)?["id"].as_str().map(str::to_owned));
    assert!(id.starts_with("gateways-winter-"), "{id}");
    wait_for("all devices", SOON, || bed.intervals().iter().all(|interval| *interval == A).then_some(()));
    let first = rollout(&bed, Some(&id)).expect("it runs");
    assert_eq!((first["kind"].as_str(), first["wave"].as_u64()), (Some("ab"), Some(1)), "{first}");
    wait_for("the second wave", SOON, || (rollout(&bed, Some(&id))?["wave"].as_u64() == Some(2)).then_some(()));
    let is_planned = |(i, interval): (usize, &Duration)| *interval == if i % 2 == 0 { A } else { B };
    wait_for("each group to have its plan", SOON, || bed.intervals().iter().enumerate().all(is_planned).then_some(()));
    assert_eq!(bed.cohort("region=south").expect("it is there")["reason"], "ab_test");

    let admin = format!("http://{}", bed.admin());
    let report = Command::new(env!("CARGO_BIN_EXE_flyball")).args(["report", "latest", "--admin", &admin]).output()?;
    let text = String::from_utf8_lossy(&report.stdout);
    assert!(report.status.success() && text.starts_with(&format!("# AB test {id}\n")), "{report:?}");
    assert!(text.contains("| treated | region: south |"), "{text}");

    let (status, body) = post(bed.admin(), &id, "abort", r#"{"reason": "storm"}"#);
    assert_eq!((status, body["state"].as_str()), (200, Some("rolled_back")), "{body}");
    wait_for("all to be back", SOON, || bed.intervals().iter().all(|interval| *interval == A).then_some(()));
    Ok(())
}

/// In the first wave, too, it is asked, and decides nothing there.
pub(crate) fn queried() -> Result<(), Failed> {
    let answer = r#"{"status": "success", "data": {"resultType": "scalar", "result": [1700000000, "7"]}}"#;
    let prometheus = http::Server::start(|| answer.to_owned());
    let query = "interval: 1s}, queries: [{name: load, query: load, max: 5}]";
    let source = format!("{{prometheus: {{url: 'http://{}'}}}}", prometheus.address);
    let bed = bed(FLEET.replace("interval: 1s}", query), source, 7);
    let id = wait_for("the test", SOON, || rollout(&bed, None)?["id"].as_str().map(str::to_owned));
    let ended = wait_for("the test's end", SOON, || {
        rollout(&bed, Some(&id)).filter(|test| test["state"].as_str() == Some("rolled_back"))
    });
    let last = ended["history"].as_array().and_then(|steps| steps.last()).expect("a step");
    assert!(last["why"].as_str().is_some_and(|why| why.starts_with("`load` is worse")), "{last}");
    assert_eq!(last["wave"].as_u64(), Some(2), "{last}");
    Ok(())
}
