//! An event as a JSON line: the contract's fields, and `missed` where packets of a gap did not arrive.

use serde::Serialize;

use crate::monitor::event::{Event, EventKind};

#[derive(Serialize)]
struct Line<'a> {
    event: &'static str,
    device: Option<String>,
    cohort: &'a str,
    gap_ms: Option<u64>,
    from: Option<String>,
    to: String,
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    missed: Option<u32>,
}

/// The line, its end included.
pub(super) fn line(event: &Event) -> String {
    let is_gap = matches!(event.kind, EventKind::Gap | EventKind::Jump);
    let line = Line {
        event: event.kind.as_str(),
        device: event.device.map(|device| device.to_string()),
        cohort: &event.cohort,
        gap_ms: event.gap.map(|gap| u64::try_from((gap.as_nanos() + 500_000) / 1_000_000).unwrap_or(u64::MAX)),
        from: (event.kind != EventKind::New).then(|| event.path.from.to_string()),
        to: event.path.to.to_string(),
        at: event.at.rfc3339(),
        missed: (is_gap && event.missed > 0).then_some(event.missed),
    };
    let mut text = serde_json::to_string(&line).expect("strings and numbers only");
    text.push('\n');
    text
}
