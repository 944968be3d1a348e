//! From signal to action, end to end: the real server, the SDK's devices over real sockets, a real Alertmanager, and
//! webhooks that are slow, gone, refusing and malformed.

mod bed;
mod peer;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};

use bed::{Bed, COHORT};
use peer::{Answer, Peer};
use support::alertmanager::{Alertmanager, PROGRAM};
use support::child::wait_for;
use support::peers::needing;

/// An alarm of seconds, a scan of five, and a busy machine.
const TOLD_WITHIN: Duration = Duration::from_secs(60);
const FLOOR: Duration = Duration::from_millis(400);
/// Six times the longest wait that is ordered; two beats that ignore an order come before the alarm opens: the answer to
/// the first tells of none where the cohort is new, and the one after it does.
const IGNORING: Duration = Duration::from_secs(3);

fn main() {
    let trials = vec![
        needing(PROGRAM, "alertmanager_hears_of_devices_that_ignore_orders_and_that_they_are_well_again", ignoring),
        Trial::test("a_cohort_that_goes_silent_is_told_to_every_webhook_however_it_behaves", silent),
        needing(PROGRAM, "an_alarm_outlives_the_process_that_opened_it_and_its_end_is_told", restarted),
        Trial::test("an_alarm_that_the_policy_does_not_watch_after_a_restart_is_over", unwatched),
        Trial::test("a_device_that_is_switched_off_is_no_alarm_of_its_cohort", one_off),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn ignoring() -> Result<(), Failed> {
    let alertmanager = Alertmanager::start();
    let bed = Bed::start(
        &format!(
            "{{alertmanager: {{url: 'http://{}', resend: 1s}}, groups: {{north: team-north}}, link: 'http://flyball.example.net/'}}",
            alertmanager.address
        ),
        "15s",
    );
    let _obedient = bed.devices(0..10, 1, FLOOR);
    let ignoring = bed.devices(10..12, 1, IGNORING);
    let alert = wait_for("the alert", TOLD_WITHIN, || alertmanager.active().into_iter().next());
    let (labels, annotations) = (&alert["labels"], &alert["annotations"]);
    assert_eq!(labels["alertname"], "FlyballHeartbeatsLate");
    assert_eq!(
        (&labels["cohort"], &labels["group"], &labels["region"]),
        (&COHORT.into(), &"team-north".into(), &"north".into())
    );
    assert_eq!((&labels["severity"], &annotations["cause"]), (&"warning".into(), &"orders_ignored".into()), "{alert}");
    let diagnosis = annotations["diagnosis"].as_str().expect("text");
    assert!(diagnosis.contains("2 ignore their orders (firmware 4.3: 2)"), "{diagnosis}");
    let devices = annotations["devices"].as_str().expect("text");
    let worst: Vec<&str> = devices.split(", ").take(2).collect();
    assert!(worst.contains(&"SN-10") && worst.contains(&"SN-11"), "{devices}");
    // It stays for as long as it is told again: three times the time that it would last by itself.
    let id = alert["fingerprint"].clone();
    let until = std::time::Instant::now() + Duration::from_secs(9);
    while std::time::Instant::now() < until {
        assert_eq!(alertmanager.active().first().map(|alert| alert["fingerprint"].clone()), Some(id.clone()));
        std::thread::sleep(Duration::from_millis(500));
    }
    drop(ignoring);
    let _repaired = bed.devices(10..12, 2, FLOOR);
    wait_for("the alert to be over", TOLD_WITHIN, || alertmanager.active().is_empty().then_some(()));
    let metrics = bed.metrics();
    assert!(metrics.contains("flyball_alerts_open 0"), "{metrics}");
    assert!(metrics.contains("flyball_alerts_sent_total{receiver=\"alertmanager\"} 2"), "{metrics}");
    Ok(())
}

fn silent() -> Result<(), Failed> {
    let steady = Peer::start(Vec::new());
    let slow = Peer::start(vec![Answer::Slow; 2]);
    let refusing = Peer::start(vec![Answer::Refusing(500), Answer::Refusing(429)]);
    let malformed = Peer::start(vec![Answer::Malformed; 2]);
    let rejecting = Peer::start(vec![Answer::Refusing(400)]);
    let southern = Peer::start(Vec::new());
    let gone = peer::free_port();
    let named = [
        ("steady", steady.address, "north"),
        ("slow", slow.address, "n*"),
        ("refusing", refusing.address, "*"),
        ("malformed", malformed.address, "*"),
        ("rejecting", rejecting.address, "*"),
        ("gone", gone, "*"),
        ("southern", southern.address, "south"),
    ];
    let webhooks: Vec<String> = named
        .iter()
        .map(|(name, to, region)| {
            format!("{{name: {name}, url: 'http://{to}/hook', match: {{region: '{region}'}}, secret_file: secret, timeout: 300ms}}")
        })
        .collect();
    let bed = Bed::start(&format!("{{webhooks: [{}]}}", webhooks.join(", ")), "1s");
    let devices = bed.devices(0..6, 1, FLOOR);
    bed.wait_for_devices(6);
    drop(devices);
    let told = wait_for("the steady one to be told", TOLD_WITHIN, || steady.taken().into_iter().next());
    let body = &told.body;
    assert_eq!((&body["state"], &body["cohort"], &body["group"]), (&"firing".into(), &COHORT.into(), &"north".into()));
    assert_eq!((&body["cause"], &body["severity"]), (&"unreachable".into(), &"critical".into()), "{body}");
    let scanned = body["devices"].as_array().expect("a list");
    let mut serials: Vec<&str> = scanned.iter().filter_map(|device| device["serial"].as_str()).collect();
    serials.sort_unstable();
    assert_eq!(serials, ["SN-0", "SN-1", "SN-2", "SN-3", "SN-4", "SN-5"], "{body}");
    assert!(scanned.iter().all(|device| device["reach"] == "silent" && device["firmware"] == "4.0"), "{body}");
    let returned = Peer::start_at(gone, Vec::new());
    for (name, peer) in [("slow", &slow), ("refusing", &refusing), ("malformed", &malformed), ("gone", &returned)] {
        let late = wait_for(name, TOLD_WITHIN, || peer.taken().into_iter().next());
        assert_eq!((&late.id, &late.body), (&told.id, body), "{name}");
    }
    let _devices = bed.devices(0..6, 2, FLOOR);
    for (name, peer) in [("steady", &steady), ("slow", &slow), ("refusing", &refusing), ("gone", &returned)] {
        wait_for(name, TOLD_WITHIN, || (peer.states() == ["firing", "resolved"]).then_some(()));
    }
    wait_for("the end, by whom took no opening", TOLD_WITHIN, || (rejecting.states() == ["resolved"]).then_some(()));
    assert!(southern.taken().is_empty(), "it asked for another region");
    let metrics = bed.metrics();
    for (receiver, reason) in
        [("slow", "timeout"), ("refusing", "status"), ("malformed", "unreachable"), ("rejecting", "rejected")]
    {
        let series = format!("flyball_alerts_failed_total{{receiver=\"{receiver}\",reason=\"{reason}\"}}");
        assert!(metrics.contains(&series), "{series} in {metrics}");
    }
    Ok(())
}

fn restarted() -> Result<(), Failed> {
    let alertmanager = Alertmanager::start();
    let (steady, gone) = (Peer::start(Vec::new()), peer::free_port());
    let mut bed = Bed::start_durable(
        &format!(
            "{{alertmanager: {{url: 'http://{}', resend: 1s}}, webhooks: [\
             {{name: steady, url: 'http://{}/', secret_file: secret}}, {{name: gone, url: 'http://{gone}/', secret_file: secret}}]}}",
            alertmanager.address, steady.address
        ),
        "1s",
    );
    let devices = bed.devices(0..6, 1, FLOOR);
    bed.wait_for_devices(6);
    drop(devices);
    let told = wait_for("the opening", TOLD_WITHIN, || steady.taken().into_iter().next());
    let fingerprint = wait_for("the alert", TOLD_WITHIN, || alertmanager.active().first()?.get("fingerprint").cloned());
    let before = wait_for("the failure of the one that is gone", TOLD_WITHIN, || {
        bed.alerts().into_iter().find(|alert| !alert["receivers"][1]["last_error"].is_null())
    });
    assert_eq!((&before["id"], &before["opened_at"]), (&told.body["id"], &told.body["opened_at"]), "{before}");
    let receivers: Vec<(&str, Option<&str>)> = (0..3)
        .map(|i| &before["receivers"][i])
        .map(|receiver| (receiver["name"].as_str().expect("a name"), receiver["told"].as_str()))
        .collect();
    assert_eq!(receivers, [("alertmanager", Some("firing")), ("gone", None), ("steady", Some("firing"))]);

    let home = bed.kill();
    bed.flyball = support::flyball::Flyball::start_in(&home);
    let restored = bed.alerts();
    assert_eq!((restored.len(), &restored[0]["id"]), (1, &before["id"]), "{restored:?}");
    assert!(bed.metrics().contains("flyball_alerts_open 1"), "it is still open");
    let returned = Peer::start_at(gone, Vec::new());
    let late = wait_for("the opening, by the one that was gone", TOLD_WITHIN, || returned.taken().into_iter().next());
    assert_eq!((&late.id, &late.body), (&told.id, &told.body), "as it was found before the restart");
    // Alertmanager would have ended it by itself three seconds after the last word of the process that is gone.
    let until = std::time::Instant::now() + Duration::from_secs(5);
    while std::time::Instant::now() < until {
        assert_eq!(alertmanager.active().first().map(|alert| alert["fingerprint"].clone()), Some(fingerprint.clone()));
        std::thread::sleep(Duration::from_millis(250));
    }
    let _devices = bed.devices(0..6, 2, FLOOR);
    for (name, peer) in [("steady", &steady), ("gone", &returned)] {
        wait_for(name, TOLD_WITHIN, || (peer.states() == ["firing", "resolved"]).then_some(()));
        let over = &peer.taken()[1].body;
        assert_eq!((&over["id"], &over["resolved_because"]), (&told.body["id"], &"recovered".into()), "{over}");
    }
    wait_for("the alert to be over", TOLD_WITHIN, || alertmanager.active().is_empty().then_some(()));
    wait_for("nothing to be left", TOLD_WITHIN, || bed.alerts().is_empty().then_some(()));
    assert!(bed.metrics().contains("flyball_alerts_open 0"));
    Ok(())
}

fn unwatched() -> Result<(), Failed> {
    let steady = Peer::start(Vec::new());
    let alerts = format!("{{webhooks: [{{name: steady, url: 'http://{}/', secret_file: secret}}]}}", steady.address);
    let mut bed = Bed::start_durable(&alerts, "1s");
    let devices = bed.devices(0..6, 1, FLOOR);
    bed.wait_for_devices(6);
    drop(devices);
    wait_for("the opening", TOLD_WITHIN, || steady.taken().into_iter().next());
    let home = bed.kill();
    let file = home.path().join("policies/fleet.yaml");
    let fleet = std::fs::read_to_string(file).expect("there").replace("{p99_gap: 1.5, for: 1s}", "off");
    home.write("policies/fleet.yaml", &fleet);
    bed.flyball = support::flyball::Flyball::start_in(&home);
    wait_for("its end", TOLD_WITHIN, || (steady.states() == ["firing", "resolved"]).then_some(()));
    assert_eq!(steady.taken()[1].body["resolved_because"], "not_watched");
    Ok(())
}

fn one_off() -> Result<(), Failed> {
    let steady = Peer::start(Vec::new());
    let bed = Bed::start(
        &format!("{{webhooks: [{{name: steady, url: 'http://{}/', secret_file: secret}}]}}", steady.address),
        "1s",
    );
    let _devices = bed.devices(0..5, 1, FLOOR);
    let one = bed.devices(5..6, 1, FLOOR);
    bed.wait_for_devices(6);
    drop(one);
    // Present are only those whose beats come: the one is known to be absent, and the alarm's time passes on top of that.
    bed.wait_for_devices(5);
    let until = std::time::Instant::now() + Duration::from_secs(4);
    while std::time::Instant::now() < until {
        assert!(bed.metrics().contains("flyball_alerts_open 0"));
        std::thread::sleep(Duration::from_millis(250));
    }
    assert!(steady.taken().is_empty());
    Ok(())
}
