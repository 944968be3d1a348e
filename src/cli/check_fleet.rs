//! What `flyball check` says of the second loop: where devices are answered, and how each fleet may be paced.

use std::fmt::Write as _;

use super::check::row;
use crate::config::{AlertsConfig, FleetConfig};
use crate::document::values::format_duration;
use crate::keepalive::policy::{AbPlans, Fleet, Pin, SecondAck, Waves};
use crate::time::WallTime;

/// Pins that are printed for each fleet.
const PINS_SHOWN: usize = 50;

/// Where devices are answered, and how many.
pub(super) fn doors(fleet: &FleetConfig) -> String {
    let mut text = String::new();
    let door = |name: &str, address: Option<std::net::SocketAddr>| Some(format!("{name} {}", address?));
    let doors: Vec<String> =
        [door("heartbeat", fleet.heartbeat), door("grpc", fleet.grpc)].into_iter().flatten().collect();
    if doors.is_empty() {
        row(&mut text, "fleet", "no door: cohorts are learnt from the monitor, and nobody is told");
    } else {
        let (devices, sessions) = (fleet.devices, fleet.sessions_max);
        let keys: Vec<String> = fleet.keys.iter().flat_map(|file| file.keys.ids()).map(|id| id.to_string()).collect();
        let bounds = format!("{devices} devices, {sessions} sessions");
        row(&mut text, "fleet", &format!("{}; {bounds}; key ids {}", doors.join(", "), keys.join(" ")));
    }
    text
}

/// Whom a cohort's alarm is told to.
pub(super) fn told(alerts: &AlertsConfig) -> String {
    let mut text = String::new();
    let alertmanager = alerts.alertmanager.iter().map(|one| format!("alertmanager {}", one.url));
    let webhooks = alerts.webhooks.iter().map(|hook| {
        let matches: Vec<String> = hook.matches.iter().map(|(key, glob)| format!("{key} \"{glob}\"")).collect();
        let which = if matches.is_empty() { "every alarm".to_owned() } else { matches.join(", ") };
        format!("webhook {} {} ({which})", hook.name, hook.url)
    });
    for (i, line) in alertmanager.chain(webhooks).enumerate() {
        row(&mut text, if i == 0 { "alerts" } else { "" }, &line);
    }
    row(
        &mut text,
        "",
        &format!("{} regions with a group, {} messages a minute to each", alerts.groups.len(), alerts.rate),
    );
    text
}

/// What one fleet file means.
pub(super) fn paces(fleet: &Fleet) -> String {
    let mut text = String::new();
    let matches: Vec<String> = fleet.matches.iter().map(|(key, glob)| format!("{key} \"{glob}\"")).collect();
    row(&mut text, "devices", if matches.is_empty() { "all" } else { "with the labels below" });
    matches.iter().for_each(|line| row(&mut text, "", line));
    let by = if fleet.cohort_by.is_empty() { "nothing: one cohort".to_owned() } else { fleet.cohort_by.join(", ") };
    row(&mut text, "cohort_by", &by);
    let i = &fleet.interval;
    let (min, max) = (format_duration(i.min), format_duration(i.max));
    row(&mut text, "interval", &format!("{min} to {max}, safety {}, jitter {}", i.safety, i.jitter));
    let p = &fleet.probes;
    let probes = match p.flows {
        0 => "none: learnt from what ends by itself".to_owned(),
        flows => format!(
            "{flows} flows, {} of the devices while learning, {} while watching, {} packets a day",
            p.devices_learning, p.devices_watching, p.packets_per_day
        ),
    };
    row(&mut text, "probes", &probes);
    let second = match fleet.second_ack {
        SecondAck::After(silence) => format!("after silences over {}", format_duration(silence)),
        SecondAck::Off => "off".to_owned(),
    };
    row(&mut text, "second_ack", &second);
    let alarm = fleet.alarm.map_or("off".to_owned(), |alarm| {
        let lasting = format_duration(alarm.lasting);
        format!("p99 gap at {} x the intended wait for {lasting}, over at {}", alarm.p99_gap, alarm.recover)
    });
    row(&mut text, "alarm", &alarm);
    row(&mut text, "release", if fleet.is_longer_released { "at_once" } else { "hold: nothing longer goes out" });
    waves(&mut text, fleet.waves.as_ref());
    ab_tests(&mut text, &fleet.ab_tests);
    pins(&mut text, &fleet.pins);
    text
}

fn waves(text: &mut String, waves: Option<&Waves>) {
    let Some(Waves { policy, gates, queries }) = waves else {
        row(text, "waves", "off: each device has a longer interval when it has shown that it bears it");
        return;
    };
    let percent: Vec<String> = policy.percent.iter().map(|part| format!("{part} %")).collect();
    let (hold, max) = (policy.hold_intervals, format_duration(policy.max_hold));
    row(text, "waves", &format!("{}, each for {hold} intervals and {max} at most", percent.join(", ")));
    let gates: Vec<&str> = gates.0.iter().map(|gate| gate.as_str()).collect();
    row(text, "", &format!("gates {}", gates.join(", ")));
    for query in queries {
        row(text, "", &format!("query {}", query.spec.name));
    }
}

fn ab_tests(text: &mut String, tests: &[AbPlans]) {
    for (i, test) in tests.iter().enumerate() {
        let [a, b] = test
            .plans
            .each_ref()
            .map(|plan| format!("{} {} at {}", test.by, plan.groups.join("+"), format_duration(plan.interval)));
        let held = format!("held {} intervals to {}", test.hold_intervals, format_duration(test.max_hold));
        row(text, if i == 0 { "ab_tests" } else { "" }, &format!("{}: {a} beside {b}; {held}", test.name));
    }
}

fn pins(text: &mut String, pins: &[Pin]) {
    for (i, pin) in pins.iter().take(PINS_SHOWN).enumerate() {
        let cohort: Vec<String> = pin.cohort.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let until = pin.until.map_or("removed".to_owned(), WallTime::rfc3339);
        let mut line = format!("{} at {}", cohort.join(","), format_duration(pin.nat_timeout));
        let _ = write!(line, " until {until} ({})", pin.reason);
        row(text, if i == 0 { "pins" } else { "" }, &line);
    }
    if pins.len() > PINS_SHOWN {
        row(text, "", &format!("and {} more", pins.len() - PINS_SHOWN));
    }
}
