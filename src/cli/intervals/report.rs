//! What is printed: cohorts, then the devices that offend and those that are warned of, bounded; `--json` has them all.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::judge::{Finding, Judged, Judgement};
use super::known::{Certainty, Knowledge};
use super::rows::{Group, Row, Rows};
use crate::admin::text::Plain;
use crate::document::values::format_duration;
use crate::keepalive::cohort::{Transport, UNKNOWN};

/// Devices and cohorts that are shown one by one.
const SHOWN: usize = 20;
/// RFC 4787, REQ-5: a NAT must not forget a UDP binding sooner. Many do, from 30 s on.
const UDP_LEAST: Duration = Duration::from_secs(120);
/// RFC 5382, REQ-5: nor an established connection.
const TCP_LEAST: Duration = Duration::from_secs(7_440);

/// For people.
pub(super) fn text(file: &Path, rows: &Rows, judged: &Judged<'_>, knowledge: &Knowledge) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}: {}", file.display(), counted(rows.rows.len()));
    let sources = if knowledge.sources.is_empty() { "nothing".to_owned() } else { knowledge.sources.join(", ") };
    let _ = writeln!(text, "known from {sources}\n");
    cohorts(&mut text, judged);
    devices(&mut text, rows, judged, "would lose their binding", |finding| finding == Finding::Loses);
    let is_warned = |finding| matches!(finding, Finding::Unproven | Finding::Tight | Finding::OutOfBounds);
    devices(&mut text, rows, judged, "are warned of", is_warned);
    unknown(&mut text, judged);
    if judged.loses + judged.warned + judged.unknown == 0 {
        text += "\nall of them are fine\n";
    }
    text
}

fn cohorts(text: &mut String, judged: &Judged<'_>) {
    let mut groups: Vec<&Judgement<'_>> = judged.groups.iter().collect();
    groups.sort_by_key(|group| (usize::MAX - group.loses, usize::MAX - group.warned));
    let shown = &groups[..groups.len().min(SHOWN)];
    let names: Vec<String> = shown.iter().map(|judgement| name(judgement.group)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).clamp(6, 60);
    let _ = writeln!(
        text,
        "  {:<width$}  {:<9}  {:<8}  {:>10}  {:>8}  {:>8}  {:>8}",
        "COHORT", "TRANSPORT", "KNOWN", "LIFETIME", "DEVICES", "LOSE", "SET"
    );
    for (group, name) in shown.iter().zip(names) {
        let known = group.known.map_or("unknown", |known| known.certainty.as_str());
        let lifetime = group.known.map_or("?".to_owned(), |known| short(known.lower));
        let set = group.advice().map_or("?".to_owned(), short);
        let (transport, devices, loses) = (group.group.transport, group.devices, group.loses);
        let _ = writeln!(
            text,
            "  {name:<width$}  {transport:<9}  {known:<8}  {lifetime:>10}  {devices:>8}  {loses:>8}  {set:>8}"
        );
    }
    if groups.len() > SHOWN {
        let _ = writeln!(text, "  and {} more cohorts; --json names all", groups.len() - SHOWN);
    }
}

fn devices(text: &mut String, rows: &Rows, judged: &Judged<'_>, what: &str, is_meant: impl Fn(Finding) -> bool) {
    let meant = || rows.rows.iter().zip(&judged.findings).filter(|(_, finding)| is_meant(**finding));
    let count = meant().count();
    if count == 0 {
        return;
    }
    let _ = writeln!(text, "\n{count} of {} {what}:", counted(rows.rows.len()));
    for (row, finding) in meant().take(SHOWN) {
        let _ = writeln!(
            text,
            "  line {}: {}: {}",
            row.line,
            Plain(&row.device),
            because(row, *finding, &judged.groups[row.group])
        );
    }
    if count > SHOWN {
        let _ = writeln!(text, "  and {} more; --json names all", count - SHOWN);
    }
}

fn because(row: &Row, finding: Finding, group: &Judgement<'_>) -> String {
    let Some(known) = group.known else { return "nothing is known of its NAT".to_owned() };
    let (lower, upper) = (short(known.lower), short(known.upper));
    let cohort = Plain(&known.cohort);
    let limit = match known.certainty {
        Certainty::Learning if finding == Finding::Loses => {
            format!("NATs of {cohort} keep a binding for {upper} at most")
        }
        Certainty::Learning => format!("NATs of {cohort} have outlived {lower} so far"),
        Certainty::Pinned => format!("NATs of {cohort} keep a binding for {lower}"),
        _ => format!("NATs of {cohort} keep a binding for {lower} to {upper}"),
    };
    let rule = match finding {
        Finding::OutOfBounds => {
            let (min, max) = (short(group.bounds.min), short(group.bounds.max));
            return format!("{}: the fleet's interval is {min} to {max}", wait(row));
        }
        Finding::Tight => "; too little room for a beat that is late",
        _ => "",
    };
    format!("{}: {limit} ({}){rule}; {}", wait(row), Plain(&known.evidence), advice(group))
}

fn advice(group: &Judgement<'_>) -> String {
    let Some(advice) = group.advice() else { return String::new() };
    let floor = group.bounds.min;
    if group.is_bounded && advice < floor {
        return format!("set {}, and the fleet's interval.min ({}) to that", short(advice), short(floor));
    }
    format!("set {} at most", short(advice))
}

fn wait(row: &Row) -> String {
    match row.longest == row.interval {
        true => short(row.interval),
        false => format!("{}, with jitter up to {}", short(row.interval), short(row.longest)),
    }
}

/// Devices of which nothing can be said, by cohort: a warning each, and what NATs are like in general.
fn unknown(text: &mut String, judged: &Judged<'_>) {
    let groups: Vec<&Judgement<'_>> = judged.groups.iter().filter(|group| group.known.is_none()).collect();
    if groups.is_empty() {
        return;
    }
    text.push('\n');
    for group in groups.iter().take(SHOWN) {
        let (least, rfc) = least(group.group.transport);
        let is_within = if group.longest > least { "longer than" } else { "within" };
        let _ = writeln!(
            text,
            "warning: {} ({}): nothing is known of the NATs of {}; up to {}, {is_within} the {} that {rfc}",
            name(group.group),
            group.group.transport,
            counted(group.devices),
            short(group.longest),
            short(least),
        );
    }
    if groups.len() > SHOWN {
        let _ = writeln!(text, "warning: and {} more cohorts of which nothing is known", groups.len() - SHOWN);
    }
}

pub(super) fn counted(devices: usize) -> String {
    format!("{devices} device{}", if devices == 1 { "" } else { "s" })
}

fn least(transport: Transport) -> (Duration, &'static str) {
    match transport {
        Transport::Udp => (UDP_LEAST, "RFC 4787 asks of a NAT (many keep a binding for 30s only)"),
        Transport::Tcp => (TCP_LEAST, "RFC 5382 asks of a NAT (many keep a connection for minutes only)"),
    }
}

fn name(group: &Group) -> String {
    if group.labels.is_empty() {
        return UNKNOWN.to_owned();
    }
    let parts: Vec<String> = group.labels.iter().map(|(key, value)| format!("{key}={}", Plain(value))).collect();
    parts.join(",")
}

/// Down to a tenth of a second: more is noise in what was learnt.
fn short(length: Duration) -> String {
    format_duration(Duration::from_millis(length.as_millis() as u64 / 100 * 100))
}

/// For programs: everything, in one object.
pub(super) fn json(file: &Path, rows: &Rows, judged: &Judged<'_>, knowledge: &Knowledge) -> String {
    let cohorts: Vec<Value> = judged.groups.iter().map(cohort).collect();
    let of = |wanted: &dyn Fn(Finding) -> bool| -> Vec<Value> {
        let meant = rows.rows.iter().zip(&judged.findings).filter(|(_, finding)| wanted(**finding));
        meant.map(|(row, finding)| device(row, *finding, &judged.groups[row.group])).collect()
    };
    let is_warned = |finding| matches!(finding, Finding::Unproven | Finding::Tight | Finding::OutOfBounds);
    json!({
        "file": file.display().to_string(),
        "known_from": knowledge.sources,
        "devices": rows.rows.len(),
        "offending": judged.loses,
        "warned": judged.warned,
        "unknown": judged.unknown,
        "cohorts": cohorts,
        "offenders": of(&|finding| finding == Finding::Loses),
        "warnings": of(&is_warned),
        "unknowns": of(&|finding| finding == Finding::Unknown),
    })
    .to_string()
}

fn cohort(group: &Judgement<'_>) -> Value {
    json!({
        "cohort": name(group.group),
        "transport": group.group.transport.as_str(),
        "known": group.known.map_or("unknown", |known| known.certainty.as_str()),
        "known_as": group.known.map(|known| &known.cohort),
        "lower_bound_s": group.known.map(|known| known.lower.as_secs_f64()),
        "upper_bound_s": group.known.map(|known| known.upper.as_secs_f64()),
        "evidence": group.known.map(|known| &known.evidence),
        "set_s": group.advice().map(|advice| advice.as_secs_f64()),
        "devices": group.devices,
        "offending": group.loses,
        "warned": group.warned,
    })
}

fn device(row: &Row, finding: Finding, group: &Judgement<'_>) -> Value {
    json!({
        "device": row.device,
        "line": row.line,
        "finding": finding.as_str(),
        "cohort": name(group.group),
        "interval_s": row.interval.as_secs_f64(),
        "longest_s": row.longest.as_secs_f64(),
        "limit_s": group.known.map(|known| known.limit().as_secs_f64()),
        "set_s": group.advice().map(|advice| advice.as_secs_f64()),
        "because": because(row, finding, group),
    })
}
