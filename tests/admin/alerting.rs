//! Alarms that somebody still has to hear of: the API and the page.

use std::collections::BTreeMap;
use std::sync::Arc;

use flyball::admin::FleetState;
use flyball::alert::book::{AlertBook, Heard, Kept, Told};
use flyball::time::WallTime;

use crate::alert::alert;
use crate::bed::{Bed, HOSTILE, shop};
use crate::cases::Outcome;

const ALERTS: &str = "/api/v1/alerts";

/// A house that goes on with an alarm of this cohort, which one of its two receivers has heard of.
fn with_an_alarm(cohort: &str, token_file: Option<std::path::PathBuf>) -> Bed {
    let at = Some(WallTime::from_unix_ms(1_795_000_001_000));
    let told = Told { heard: Heard::Opening, at, failure: None };
    let receivers = BTreeMap::from([("alertmanager".into(), told), ("tickets".into(), Told::default())]);
    let kept = Kept { alert: Arc::new(alert(cohort)), receivers };
    let written = serde_json::to_vec(&kept).expect("JSON");
    let open_alerts = AlertBook::new(&[written], None);
    Bed::with_fleet(shop(), FleetState { open_alerts, ..FleetState::default() }, token_file)
}

pub(crate) fn none() -> Outcome {
    let bed = Bed::new(shop());
    let reply = bed.get(ALERTS);
    assert_eq!((reply.status, reply.json()), (200, serde_json::json!([])));
    assert!(!bed.get("/").body.contains("id=\"alerts\""));
    Ok(())
}

pub(crate) fn told() -> Outcome {
    let bed = with_an_alarm("carrier=a,region=north", None);
    let rows = bed.get(ALERTS).json();
    assert_eq!(rows.as_array().map(Vec::len), Some(1));
    let row = &rows[0];
    for (key, value) in [
        ("id", "carrier=a,region=north-1"),
        ("kind", "heartbeats_late"),
        ("state", "firing"),
        ("fleet", "gateways"),
        ("cohort", "carrier=a,region=north"),
        ("transport", "udp"),
        ("region", "north"),
        ("group", "team-north"),
        ("severity", "critical"),
        ("opened_at", "2026-11-18T11:06:40.000Z"),
        ("cause", "orders_ignored"),
        ("devices", "SN-1, SN-2 and 3 more"),
    ] {
        assert_eq!(row[key], value, "{key} in {row}");
    }
    for key in ["resolved_at", "resolved_because"] {
        assert!(row[key].is_null(), "{key} in {row}");
    }
    assert_eq!((row["p99_gap_ratio"].as_f64(), row["threshold"].as_f64()), (Some(9.0), Some(1.5)));
    assert_eq!(row["labels"], serde_json::json!({"carrier": "a", "region": "north"}));
    let told: Vec<_> = row["receivers"].as_array().into_iter().flatten().map(|r| (&r["name"], &r["told"])).collect();
    assert_eq!(serde_json::json!(told), serde_json::json!([["alertmanager", "firing"], ["tickets", null]]));
    Ok(())
}

pub(crate) fn shown() -> Outcome {
    let bed = with_an_alarm(HOSTILE, None);
    assert_eq!(bed.get(ALERTS).json()[0]["cohort"], HOSTILE);
    let page = bed.get("/").body;
    assert!(page.contains("id=\"alerts\"") && page.contains("Heartbeats are late"), "{page}");
    assert!(!page.contains("<script>alert") && page.contains("&lt;script&gt;alert(1)"), "{page}");
    Ok(())
}

pub(crate) fn read_by_all() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("ops.token");
    std::fs::write(&file, "ada:0123456789abcdef\n")?;
    let bed = with_an_alarm("carrier=a,region=north", Some(file));
    assert_eq!(bed.ask("POST", "/-/reload", &[]).status, 401, "writes need a token");
    for headers in [&[][..], &[("Authorization", "Bearer none")], &[("Origin", "http://evil.example")]] {
        assert_eq!(bed.ask("GET", ALERTS, headers).status, 200, "{headers:?}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        let reply = bed.ask(method, ALERTS, &[("Authorization", "Bearer 0123456789abcdef")]);
        assert_eq!((reply.status, reply.json()["error"].is_string()), (405, true), "{method}");
        assert!(reply.head.contains("allow: get,head"), "{method}: {}", reply.head);
    }
    assert_eq!(bed.get("/api/v1/alerts/x").status, 404);
    Ok(())
}
