//! Longer intervals go out in waves, over the wire: people are obeyed, a process that was killed is gone on from, and what
//! the NAT does not bear is taken back, although nothing but a datagram that does not pass shows it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use libtest_mimic::Failed;
use serde_json::Value;

use crate::bed::{Bed, Plan, SCRAPE};
use crate::support::child::wait_for;
use crate::support::http;

const DEVICES: usize = 40;
const SOON: Duration = Duration::from_secs(60);
const OLD: Duration = Duration::from_millis(600);

/// Waves, and a pin at so many seconds, or none.
fn fleet(pin: Option<&str>) -> String {
    let pins = pin.map_or_else(String::new, |timeout| {
        format!("pins: [{{cohort: {{carrier: a}}, nat_timeout: {timeout}, reason: told so}}]\n")
    });
    format!(
        "fleet: gateways\ncohort_by: [carrier]\ninterval: {{min: 600ms, max: 60s}}\nsecond_ack: off\n\
         probes: {{flows: 0}}\nwaves: {{percent: [20, 50, 100], max_hold: 10m}}\n{pins}"
    )
}

fn bed(kept: Duration, host: u8) -> Bed {
    bed_with(SCRAPE.to_owned(), fleet(None), kept, host)
}

fn bed_with(source: String, fleet: String, kept: Duration, host: u8) -> Bed {
    let bed = Bed::with(&Plan { devices: DEVICES, source, fleet, kept, is_durable: true, host });
    wait_for("all devices", SOON, || {
        bed.cohort("carrier=a").filter(|cohort| cohort["devices"].as_u64() == Some(DEVICES as u64))
    });
    bed
}

pub(crate) fn killed() -> Result<(), Failed> {
    let mut bed = bed(Duration::from_secs(60), 2);
    let pinned = Duration::from_millis(1_500);
    bed.replace_fleet(&fleet(Some("2s")));
    let id = wait_for("a rollout", SOON, || rollout(&bed, None)?["id"].as_str().map(str::to_owned));
    let new = |bed: &Bed| -> Vec<usize> { (0..DEVICES).filter(|i| bed.intervals()[*i] == pinned).collect() };
    wait_for("the first wave", SOON, || (new(&bed).len() == 8).then_some(()));
    assert_eq!(bed.cohort("carrier=a").expect("it is there")["reason"], "rollout");
    let (status, body) = post(bed.admin(), &id, "promote", r#"{"reason": "it looks well"}"#);
    assert_eq!((status, body["wave"].as_u64()), (200, Some(2)), "{body}");
    wait_for("the second wave", SOON, || (new(&bed).len() == 20).then_some(()));
    let treated = new(&bed);
    let last = events(bed.admin(), "0", 2).last().map(|(number, ..)| number.clone()).expect("some");

    bed.is_killed_and_starts_again();
    let resumed = wait_for("the rollout", SOON, || rollout(&bed, Some(&id)));
    assert_eq!((resumed["wave"].as_u64(), resumed["state"].as_str()), (Some(2), Some("running")), "{resumed}");
    wait_for("its devices", SOON, || (rollout(&bed, Some(&id))?["devices_new"].as_u64() == Some(20)).then_some(()));
    wait_for("evidence after it", SOON, || {
        let gates = rollout(&bed, Some(&id))?["gates"].clone();
        (gates[0]["treated"]["outcomes"].as_u64()? > 20).then_some(())
    });
    assert_eq!(new(&bed), treated, "the same devices");

    let (status, _) = post(bed.admin(), "none", "abort", "");
    assert_eq!(status, 404);
    let (status, body) = post(bed.admin(), &id, "abort", "");
    assert_eq!((status, body["state"].as_str()), (200, Some("rolled_back")), "{body}");
    let back = |bed: &Bed| bed.intervals().iter().all(|interval| *interval == OLD);
    wait_for("all to be back", OLD * 2, || back(&bed).then_some(()));
    assert_eq!(post(bed.admin(), &id, "promote", "").0, 409);
    let steps: Vec<(String, String)> = rollout(&bed, Some(&id)).expect("it is kept")["history"]
        .as_array()
        .expect("steps")
        .iter()
        .map(|step| (step["what"].as_str().unwrap_or("").to_owned(), step["who"].as_str().unwrap_or("").to_owned()))
        .collect();
    let step = |what: &str, who: &str| (what.to_owned(), who.to_owned());
    assert_eq!(steps, [step("wave_began", "law"), step("wave_began", "local"), step("rolled_back", "local")]);
    let since = events(bed.admin(), &last, 1);
    assert_eq!((since[0].1.as_str(), since[0].2["what"].as_str()), ("rollout", Some("rolled_back")), "{since:?}");
    Ok(())
}

pub(crate) fn taken_back() -> Result<(), Failed> {
    let kept = Duration::from_secs(2);
    let bed = bed(kept, 3);
    // 1.5 times what the NAT bears. It gives the same port again, so that no beat shows anything.
    bed.replace_fleet(&fleet(Some("3s")));
    let record = wait_for("the rollback", SOON * 2, || {
        rollout(&bed, None).filter(|rollout| rollout["state"].as_str() == Some("rolled_back"))
    });
    assert_eq!(record["wave"].as_u64(), Some(1), "{record}");
    // A device whose binding is gone hears it with its next beat, the others at once.
    wait_for("all to be back", kept, || bed.intervals().iter().all(|interval| *interval == OLD).then_some(()));
    let record = rollout(&bed, record["id"].as_str()).expect("it is kept");
    let why = record["history"].as_array().and_then(|steps| steps.last()).expect("a step")["why"].clone();
    assert!(why.as_str().is_some_and(|why| why.contains("coverage")), "{record}");
    assert_eq!(bed.cohort("carrier=a").expect("it is there")["reason"], "rolled_back");
    assert!(bed.metrics().contains("flyball_rollouts{state=\"rolled_back\"} 1"), "{}", bed.metrics());
    Ok(())
}

/// With a query whose value must not be above 5.
fn asked(pin: Option<&str>) -> String {
    let query = "queries: [{name: load, query: 'load{cohort=\"$cohort\"}', max: 5}]";
    fleet(pin).replace("max_hold: 10m", &format!("max_hold: 10m, {query}"))
}

fn of_query(rollout: &Value) -> Option<Value> {
    rollout["gates"].as_array()?.iter().find(|gate| gate["name"] == "load").cloned()
}

pub(crate) fn queried() -> Result<(), Failed> {
    let answer = r#"{"status": "success", "data": {"resultType": "scalar", "result": [1700000000, "7"]}}"#;
    let prometheus = http::Server::start(|| answer.to_owned());
    let source = format!("{{prometheus: {{url: 'http://{}'}}}}", prometheus.address);
    let bed = bed_with(source, asked(None), Duration::from_secs(60), 4);
    bed.replace_fleet(&asked(Some("2s")));
    let record = wait_for("the rollback", SOON, || {
        rollout(&bed, None).filter(|rollout| rollout["state"].as_str() == Some("rolled_back"))
    });
    let gate = of_query(&record).expect("it is asked");
    assert_eq!(
        (gate["verdict"].as_str(), gate["query"]["last"]["treated"].as_f64()),
        (Some("fail"), Some(7.0)),
        "{gate}"
    );
    Ok(())
}

pub(crate) fn unanswered() -> Result<(), Failed> {
    let bed = bed_with(SCRAPE.to_owned(), asked(None), Duration::from_secs(60), 5);
    bed.replace_fleet(&asked(Some("2s")));
    let record = wait_for("a verdict", SOON, || {
        rollout(&bed, None).filter(|rollout| rollout["verdict"].as_str() == Some("error"))
    });
    assert_eq!((record["state"].as_str(), record["wave"].as_u64()), (Some("running"), Some(1)), "{record}");
    Ok(())
}

/// The rollout of this id with everything, or the newest.
pub(crate) fn rollout(bed: &Bed, id: Option<&str>) -> Option<Value> {
    match id {
        Some(id) => http::get_json(bed.admin(), &format!("/api/v1/rollouts/{id}")),
        None => http::get_json(bed.admin(), "/api/v1/rollouts")?.get(0).cloned(),
    }
}

pub(crate) fn post(admin: SocketAddr, id: &str, command: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(admin).expect("it listens");
    let length = body.len();
    let head = format!("POST /api/v1/rollouts/{id}/{command} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n");
    write!(stream, "{head}Content-Length: {length}\r\n\r\n{body}").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, serde_json::from_str(body).unwrap_or_default())
}

/// The first rollout events after this number: number, kind, data.
fn events(admin: SocketAddr, after: &str, count: usize) -> Vec<(String, String, Value)> {
    let mut stream = TcpStream::connect(admin).expect("it listens");
    stream.set_read_timeout(Some(SOON)).expect("set");
    write!(stream, "GET /api/v1/events HTTP/1.1\r\nHost: {admin}\r\nLast-Event-ID: {after}\r\n\r\n").expect("sent");
    let (mut events, mut number, mut kind) = (Vec::new(), String::new(), String::new());
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        if let Some(id) = line.strip_prefix("id: ") {
            number = id.to_owned();
        } else if let Some(event) = line.strip_prefix("event: ") {
            kind = event.to_owned();
        } else if let Some(data) = line.strip_prefix("data: ").filter(|_| kind == "rollout") {
            events.push((number.clone(), kind.clone(), serde_json::from_str(data).expect("JSON")));
            if events.len() == count {
                return events;
            }
        }
    }
    panic!("only {events:?}")
}
