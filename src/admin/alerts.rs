//! `/api/v1/alerts`, and the same on the page: alarms that are open, and ends that somebody has not heard of yet.

use std::fmt::{self, Write as _};

use serde_json::{Value, json};

use super::page::{Escaped, Prose};
use crate::alert::book::{Kept, Told};
use crate::alert::payload::brief;
use crate::time::WallTime;

/// Alarms on the page, the newest first; the API has them all.
const SHOWN_MAX: usize = 50;

/// All of them.
pub(super) fn rows(kept: &[Kept]) -> Vec<Value> {
    kept.iter().map(row).collect()
}

fn row(kept: &Kept) -> Value {
    let mut row = brief(&kept.alert);
    row["receivers"] = kept.receivers.iter().map(|(name, told)| receiver(name, told)).collect();
    row
}

fn receiver(name: &str, told: &Told) -> Value {
    let failure = told.failure.as_ref();
    json!({
        "name": name,
        "told": told.heard.as_str(),
        "told_at": told.at.map(WallTime::rfc3339),
        "last_error": failure.map(|failure| &*failure.why),
        "last_error_at": failure.map(|failure| failure.at.rfc3339()),
    })
}

/// Nothing where there is none.
pub(super) fn write_alerts(html: &mut String, kept: &[Kept]) -> fmt::Result {
    if kept.is_empty() {
        return Ok(());
    }
    html.push_str("<section id=\"alerts\" class=\"banner\" role=\"status\"><h2>Heartbeats are late</h2><ul>");
    kept.iter().take(SHOWN_MAX).try_for_each(|kept| write_alert(html, kept))?;
    html.push_str("</ul>");
    if kept.len() > SHOWN_MAX {
        write!(html, "<p class=\"note\">{SHOWN_MAX} of {} alarms are shown: the newest.</p>", kept.len())?;
    }
    html.push_str("</section>\n");
    Ok(())
}

fn write_alert(html: &mut String, kept: &Kept) -> fmt::Result {
    let alert = &kept.alert;
    let (since, severity) = (alert.opened_at.rfc3339(), alert.severity.as_str());
    write!(
        html,
        "<li><b><bdi>{}</bdi></b> <code>{severity}</code> since <time>{since}</time>: ",
        Escaped(&alert.key.name)
    )?;
    let text = format!("{}. {}", alert.summary(), alert.diagnosis.text);
    write!(html, "{}", Prose(&text))?;
    let untold: Vec<&str> =
        kept.receivers.iter().filter(|(_, told)| told.failure.is_some()).map(|(name, _)| &**name).collect();
    if !untold.is_empty() {
        write!(html, " Could not be told to: {}.", Escaped(&untold.join(", ")))?;
    }
    html.push_str("</li>");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::alert::book::{Failure, Heard};
    use crate::alert::sample::alert;

    fn kept() -> Kept {
        let at = WallTime::from_unix_ms(1_795_000_001_000);
        let told = Told { heard: Heard::Opening, at: Some(at), failure: None };
        let failing = Told { failure: Some(Failure { at, why: "status 500".into() }), ..Told::default() };
        let receivers = BTreeMap::from([("alertmanager".into(), told), ("tickets".into(), failing)]);
        Kept { alert: Arc::new(alert("carrier=<a>,region=north")), receivers }
    }

    #[test]
    fn an_alarm_is_told_with_its_diagnosis_and_who_has_heard_of_it() {
        let row = &rows(&[kept()])[0];
        assert_eq!((&row["state"], &row["cause"]), (&json!("firing"), &json!("orders_ignored")));
        assert_eq!(row["devices"], "SN-1, SN-2 and 3 more");
        let at = "2026-11-18T11:06:41.000Z";
        let told =
            json!({"name": "alertmanager", "told": "firing", "told_at": at, "last_error": null, "last_error_at": null});
        let failing =
            json!({"name": "tickets", "told": null, "told_at": null, "last_error": "status 500", "last_error_at": at});
        assert_eq!(row["receivers"], json!([told, failing]));
    }

    #[test]
    fn on_the_page_a_hostile_name_stays_text_and_no_alarm_takes_no_room() {
        let mut html = String::new();
        write_alerts(&mut html, &[]).expect("a string takes all");
        assert_eq!(html, "");
        write_alerts(&mut html, &[kept()]).expect("a string takes all");
        assert!(html.contains("carrier=&lt;a&gt;") && !html.contains("<a>"), "{html}");
        assert!(html.contains("Could not be told to: tickets."), "{html}");
    }
}
