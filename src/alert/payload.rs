//! What receivers read: the body of a webhook, and the alerts of Alertmanager's API v2.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};
use url::Url;

use super::told::{Alert, KIND};
use crate::keepalive::alarm::health::DeviceHealth;
use crate::keepalive::alarm::watch::End;
use crate::time::WallTime;

/// Devices that an annotation names; a webhook has all that were scanned.
const NAMED_MAX: usize = 20;
/// Of the body of a webhook: grows where a field changes its meaning.
const VERSION: u32 = 1;
const ALERTNAME: &str = "FlyballHeartbeatsLate";
const UNKNOWN: &str = "unknown";

/// A device in the body of a webhook.
#[derive(Serialize)]
struct DeviceRow<'a> {
    device: String,
    serial: Option<&'a str>,
    firmware: Option<&'a str>,
    last_seen: String,
    silent_s: f64,
    gap_s: f64,
    intended_s: f64,
    gap_ratio: f64,
    rebindings: u32,
    reach: &'static str,
    pace: &'static str,
    ignores_orders: bool,
}

/// What the audit keeps of it, and the API tells: all but the devices, of which the worst are named.
pub(crate) fn brief(alert: &Alert) -> Value {
    let mut brief = webhook(&Alert { devices: Vec::new(), ..alert.clone() }, None);
    brief["devices"] = json!(named(alert));
    brief
}

/// The body of a webhook.
pub(super) fn webhook(alert: &Alert, link: Option<&Url>) -> Value {
    let devices: Vec<DeviceRow<'_>> = alert.devices.iter().map(|device| row(device, alert.scanned_at)).collect();
    json!({
        "version": VERSION,
        "id": &*alert.id,
        "kind": KIND,
        "state": alert.state(),
        "fleet": alert.fleet.as_deref(),
        "cohort": &*alert.key.name,
        "transport": alert.key.transport.as_str(),
        "labels": alert.labels.iter().map(|(key, value)| (key.to_string(), json!(&**value))).collect::<Map<_, _>>(),
        "region": alert.region(),
        "group": &*alert.group,
        "severity": alert.severity,
        "opened_at": alert.opened_at.rfc3339(),
        "resolved_at": alert.resolved_at.map(WallTime::rfc3339),
        "resolved_because": alert.end.map(End::as_str),
        "p99_gap_ratio": rounded(alert.p99_gap),
        "threshold": alert.threshold,
        "cause": alert.diagnosis.cause.as_str(),
        "summary": alert.summary(),
        "diagnosis": alert.diagnosis.text,
        "nat": nat(alert),
        "scanned_at": alert.scanned_at.rfc3339(),
        "overdue": alert.diagnosis.overdue,
        "reachable": alert.diagnosis.reachable,
        "ignoring_orders": alert.diagnosis.ignoring,
        "devices": devices,
        "devices_more": alert.devices_more,
        "link": link.map(Url::as_str),
    })
}

fn row(device: &DeviceHealth, scanned_at: WallTime) -> DeviceRow<'_> {
    DeviceRow {
        device: device.device.to_string(),
        serial: device.serial.as_deref(),
        firmware: device.firmware.as_deref(),
        last_seen: scanned_at.minus(device.silent_for).rfc3339(),
        silent_s: device.silent_for.as_secs_f64(),
        gap_s: device.gap.as_secs_f64(),
        intended_s: device.intended.as_secs_f64(),
        gap_ratio: rounded(device.ratio()),
        rebindings: device.rebindings,
        reach: device.reach.as_str(),
        pace: device.pace.as_str(),
        ignores_orders: device.pace != crate::keepalive::alarm::health::Obedience::AsTold,
    }
}

fn nat(alert: &Alert) -> Value {
    let Some(nat) = &alert.nat else { return Value::Null };
    json!({
        "verdict": nat.verdict.as_str(),
        "lower_bound_s": nat.lower_bound.as_secs_f64(),
        "upper_bound_s": nat.upper_bound.as_secs_f64(),
        "interval_s": nat.interval.as_secs_f64(),
    })
}

/// One alert of Alertmanager's; it is over at `ends_at` unless it is sent again before.
pub(super) fn alertmanager(alert: &Alert, link: Option<&Url>, lasting: Duration, now: WallTime) -> Value {
    let ends_at = alert.resolved_at.unwrap_or_else(|| now.plus(lasting));
    let mut annotations = json!({
        "summary": alert.summary(),
        "diagnosis": alert.diagnosis.text,
        "cause": alert.diagnosis.cause.as_str(),
        "devices": named(alert),
    });
    if let Some(link) = link {
        annotations["link"] = json!(link.as_str());
    }
    let mut body = json!({
        "labels": {
            "alertname": ALERTNAME,
            "cohort": &*alert.key.name,
            "transport": alert.key.transport.as_str(),
            "fleet": alert.fleet.as_deref().unwrap_or(UNKNOWN),
            "region": alert.region().unwrap_or(UNKNOWN),
            "group": &*alert.group,
            "severity": alert.severity,
        },
        "annotations": annotations,
        "startsAt": alert.opened_at.rfc3339(),
        "endsAt": ends_at.rfc3339(),
    });
    if let Some(link) = link {
        body["generatorURL"] = json!(link.as_str());
    }
    body
}

/// The worst devices by their serials, and how many more there are.
fn named(alert: &Alert) -> String {
    let names: Vec<String> = alert.devices.iter().take(NAMED_MAX).map(Alert::name_of).collect();
    let more = alert.devices.len().saturating_sub(NAMED_MAX) as u64 + alert.devices_more;
    if more > 0 { format!("{} and {more} more", names.join(", ")) } else { names.join(", ") }
}

fn rounded(ratio: f64) -> f64 {
    (ratio * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::super::sample::alert;
    use super::*;

    #[test]
    fn a_webhook_has_the_whole_scan() {
        let body = webhook(&alert("carrier=a,region=north"), None);
        assert_eq!(
            (&body["state"], &body["group"], &body["region"]),
            (&json!("firing"), &json!("team-north"), &json!("north"))
        );
        let device = &body["devices"][0];
        assert_eq!((&device["serial"], &device["reach"]), (&json!("SN-1"), &json!("silent")));
        assert_eq!(device["last_seen"], WallTime::from_unix_ms(1_795_000_000_000 - 900_000).rfc3339());
        assert_eq!(body["devices"][1]["ignores_orders"], json!(true));
        assert_eq!((&body["devices_more"], &body["resolved_at"]), (&json!(3), &Value::Null));
    }

    #[test]
    fn alertmanager_is_told_when_it_ends_unless_it_is_told_again() {
        let (alert, now) = (alert("carrier=a,region=north"), WallTime::from_unix_ms(1_795_000_000_000));
        let body = alertmanager(&alert, None, Duration::from_secs(180), now);
        assert_eq!(body["endsAt"], "2026-11-18T11:09:40.000Z");
        assert_eq!(body["annotations"]["devices"], "SN-1, SN-2 and 3 more");
        assert_eq!(body["labels"]["severity"], "critical");
        let over = alertmanager(&alert.resolved(now, End::Recovered), None, Duration::from_secs(180), now);
        assert_eq!((&over["endsAt"], &over["labels"]), (&json!(now.rfc3339()), &body["labels"]));
    }
}
