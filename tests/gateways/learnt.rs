//! From a gateway's test to its interval: the real server, and clients of another make that run what they are ordered.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use flyball::proto::flyball_v1::probe_result::Outcome;
use flyball::proto::flyball_v1::{Beat, ProbeOrder, ProbeResult, device_message, server_message};
use libtest_mimic::Trial;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::peer::{KEY_ID, MASTER, Session, channel, device, hello};
use crate::support::flyball::{Flyball, Home};
use crate::support::http;
use crate::trial;

const DEVICES: u8 = 12;
/// How long the NAT on the way keeps a connection.
const KEPT: Duration = Duration::from_millis(3_000);
/// Tries of a test, all of which came back over the main connection.
const CONTROLS: u32 = 3;
const POLL: Duration = Duration::from_millis(200);

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("what_gateways_test_is_learnt_and_comes_back_as_their_interval", learnt)]
}

fn start() -> Flyball {
    let home = Arc::new(Home::new("{scrape: {targets: ['http://127.0.0.1:9/metrics']}}", ""));
    std::fs::remove_file(home.path().join("policies/shop.yaml")).expect("there");
    // Without second acks too: a connection is never an unreplied binding.
    home.write(
        "policies/fleet.yaml",
        "fleet: gateways\ncohort_by: [carrier]\ninterval: {min: 400ms, max: 60s}\nsecond_ack: off\n\
         probes: {packets_per_day: 100000}\n",
    );
    let digits: String = MASTER.iter().map(|byte| format!("{byte:02x}")).collect();
    home.write("keys", &format!("{KEY_ID}:{digits}\n"));
    home.configure("fleet: {grpc: '127.0.0.1:0', master_key_file: keys}\n");
    Flyball::start_in(&home)
}

async fn learnt() {
    let flyball = tokio::task::block_in_place(start);
    let (mut gateways, mut told) = (JoinSet::new(), Vec::new());
    for number in 0..DEVICES {
        let (tell, interval) = watch::channel(Duration::ZERO);
        gateways.spawn(gateway(flyball.address("gateways"), number, tell));
        told.push(interval);
    }
    let cohort = cohort(&flyball, "carrier=a").await;
    let number = |key: &str| cohort[key].as_f64().unwrap_or_else(|| panic!("{key} in {cohort}"));
    let kept = KEPT.as_secs_f64();
    assert!(number("lower_bound_s") <= kept && kept <= number("upper_bound_s"), "{cohort}");
    assert!(number("interval_s") + number("jitter_s") < kept, "{cohort}");
    assert_eq!((cohort["transport"].as_str(), cohort["devices"].as_u64()), (Some("tcp"), Some(DEVICES.into())));
    assert!(cohort["evidence"]["survived"].as_u64() > Some(0) && cohort["evidence"]["expired"].as_u64() > Some(0));
    for interval in &mut told {
        interval.wait_for(|told| told.as_secs_f64() > 0.5 * kept).await.expect("the gateway runs");
    }
    let ignored = "flyball_gateway_probes_ignored_total 0";
    let metrics = http::get(flyball.admin, "/metrics").map(|(_, body)| body).unwrap_or_default();
    assert!(metrics.lines().any(|line| line == ignored), "every result was of an order: {metrics}");
}

/// The cohort, once it is learnt.
async fn cohort(flyball: &Flyball, name: &str) -> serde_json::Value {
    loop {
        let cohorts = http::get_json(flyball.admin, "/api/v1/cohorts").unwrap_or_default();
        let cohort = cohorts.as_array().and_then(|all| all.iter().find(|cohort| cohort["cohort"] == name));
        if let Some(cohort) = cohort.filter(|cohort| cohort["verdict"] == "learnt") {
            return cohort.clone();
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Beats at its order, and runs the tests that it is given, for ever.
async fn gateway(server: SocketAddr, number: u8, tell: watch::Sender<Duration>) {
    let channel = channel(server).await;
    let mut session = Session::open(&channel, hello(device(number), "a")).await.expect("a session");
    let (mut interval, mut said, mut sequence) = (Duration::from_secs(1), Instant::now(), 0);
    let mut tests: Vec<(Instant, ProbeResult)> = Vec::new();
    loop {
        let ended = async {
            match tests.iter().map(|(at, _)| *at).min() {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            heard = session.next() => match heard {
                server_message::Kind::Order(order) => {
                    interval = Duration::from_millis(order.interval_ms.into());
                    tell.send_replace(interval);
                    session.ack(order.generation).await;
                }
                // It takes the place of the one before.
                server_message::Kind::ProbeOrder(order) => tests = results(&order).collect(),
                server_message::Kind::BeatAnswer(_) => continue,
            },
            () = ended => {
                let now = Instant::now();
                for (_, result) in tests.extract_if(.., |(at, _)| *at <= now) {
                    session.result(result).await;
                }
            }
            () = sleep_until(said + interval) => {
                sequence += 1;
                session.say(device_message::Kind::Beat(Beat { sequence })).await;
            }
        }
        said = Instant::now();
    }
}

/// What its tests will show, and when.
fn results(order: &ProbeOrder) -> impl Iterator<Item = (Instant, ProbeResult)> {
    let (now, id) = (Instant::now(), order.id);
    (0..).zip(&order.silences_ms).map(move |(flow, silence_ms)| {
        let silence = Duration::from_millis(u64::from(*silence_ms));
        let outcome = if silence < KEPT { Outcome::Survived } else { Outcome::Expired };
        (now + silence, ProbeResult { id, flow, outcome: outcome.into(), controls: CONTROLS })
    })
}
