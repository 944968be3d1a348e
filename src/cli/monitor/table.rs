//! What it all came to: a row a cohort, and the monitor's own troubles in a line of their own.

use std::fmt::Write as _;
use std::time::Duration;

use super::line::seconds;
use crate::monitor::histogram::RESOLVED_FROM;
use crate::monitor::view::{Cohort, Longest, View};

const HEADINGS: [&str; 11] = [
    "devices",
    "from",
    "to",
    "rebound",
    "migrated",
    "gap p50",
    "gap p99",
    "longest",
    "missed",
    "tcp ended",
    "unreachable",
];

/// The table and the line.
pub(super) fn table(view: &View) -> String {
    let cohorts = view.cohorts();
    if cohorts.is_empty() {
        return format!("no packet of a device was counted\n{}", troubles(view));
    }
    let all = view.all();
    let rows = cohorts.iter().copied().chain((cohorts.len() > 1).then_some(&all));
    rows_of(rows) + &troubles(view)
}

/// Any rows under the headings.
pub(super) fn rows_of<'a>(cohorts: impl IntoIterator<Item = &'a Cohort>) -> String {
    let names = |cohort: &Cohort| cohort.name.to_string();
    let mut rows = vec![("cohort".to_owned(), HEADINGS.map(str::to_owned))];
    rows.extend(cohorts.into_iter().map(|cohort| (names(cohort), cells(cohort))));
    let first = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let width = |i: usize| rows.iter().map(|(_, cells)| cells[i].len()).max().unwrap_or(0);
    let widths: [usize; HEADINGS.len()] = std::array::from_fn(width);
    let mut text = String::new();
    for (name, cells) in &rows {
        let _ = write!(text, "{name:<first$}");
        for (cell, width) in cells.iter().zip(widths) {
            let _ = write!(text, "  {cell:>width$}");
        }
        text.push('\n');
    }
    text
}

fn cells(cohort: &Cohort) -> [String; HEADINGS.len()] {
    let totals = &cohort.totals;
    let quantile = |q| cohort.gap(q).map_or_else(none, resolved);
    [
        cohort.devices.map_or_else(none, |devices| devices.to_string()),
        totals.from.to_string(),
        totals.to.to_string(),
        totals.rebindings.to_string(),
        totals.migrations.to_string(),
        quantile(0.5),
        quantile(0.99),
        cohort.longest().map_or_else(none, longest),
        totals.missed.to_string(),
        totals.connections.to_string(),
        totals.unreachable.to_string(),
    ]
}

/// A quantile as exactly as it is known.
fn resolved(gap: Duration) -> String {
    if gap < RESOLVED_FROM { format!("<{}", seconds(RESOLVED_FROM)) } else { seconds(gap) }
}

fn longest(longest: Longest) -> String {
    match longest {
        Longest::Exactly(time) => seconds(time),
        Longest::Below(time) => format!("<{}", seconds(time)),
        Longest::Beyond(time) => format!(">{}", seconds(time)),
    }
}

fn none() -> String {
    "-".to_owned()
}

/// What the monitor itself did not manage; empty where all went well.
pub(super) fn troubles(view: &View) -> String {
    let (troubles, evicted) = (view.troubles(), view.census().map_or(0, |census| census.evicted));
    let all = [
        ("events lost (the ring buffer was full)", troubles.lost_records),
        ("devices evicted (the map is too small: raise `--devices`)", evicted),
        ("devices or addresses not stored", troubles.not_stored),
        ("packets not measured (their device was busy on another CPU)", troubles.contended),
        ("packets to addresses of no known device", troubles.unknown_egress),
        ("events of an unknown kind", view.unreadable()),
    ];
    let told: Vec<String> =
        all.iter().filter(|(_, count)| *count > 0).map(|(what, count)| format!("{what} {count}")).collect();
    if told.is_empty() { String::new() } else { format!("monitor: {}\n", told.join(", ")) }
}
