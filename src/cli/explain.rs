//! `flyball explain`: why is a rate what it is? Asks a running Flyball's admin API and prints the answer in plain
//! lines. All prose about reasons comes from the server; this file only lays it out.

use std::fmt::{self, Write as _};
use std::time::Duration;

use serde::Deserialize;

use super::Failure;
use super::admin::Admin;
use crate::admin::text::{Plain, duration, number, percent};
use crate::time::Clock;

/// Arguments of `flyball explain`.
#[derive(Debug, clap::Args)]
pub(super) struct ExplainArgs {
    /// The service, as its SDK names it.
    service: String,
    /// One of its operations; without it, all.
    operation: Option<String>,
    #[command(flatten)]
    admin: Admin,
}

/// Runs the command.
pub(super) fn explain(arguments: ExplainArgs) -> Result<(), Failure> {
    let rows: Vec<Row> = arguments.admin.ask(&["decisions", &arguments.service], "a list of decisions")?;
    let now_unix_ms = Clock::start().now().wall.unix_ms();
    super::print(&render(&rows, arguments.operation.as_deref(), now_unix_ms))
}

/// A row of `/api/v1/decisions/SERVICE`.
#[derive(Debug, Deserialize)]
struct Row {
    policy: String,
    service: String,
    operation: Option<String>,
    probability: f64,
    served: f64,
    reason: String,
    because: String,
    what_would_change_it: String,
    mode: Option<String>,
    matched: Option<bool>,
    inputs: Inputs,
    generation: u64,
    decided_at: String,
    #[serde(default)]
    unlisted: Option<Vec<String>>,
    #[serde(default)]
    rules_without_demand: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Inputs {
    demand_per_second: Option<f64>,
    loss_ratio: Option<f64>,
    budget_spans_per_second: Option<f64>,
    spans_per_trace: Option<f64>,
    share_spans_per_second: Option<f64>,
    share_traces_per_second: Option<f64>,
    expected_traces_per_second: Option<f64>,
    budget_reason: String,
    age_seconds: Option<f64>,
}

fn render(rows: &[Row], operation: Option<&str>, now_unix_ms: i64) -> String {
    let mut text = String::new();
    for own in rows.iter().filter(|row| row.operation.is_none()) {
        let operations: Vec<&Row> =
            rows.iter().filter(|row| row.policy == own.policy && row.operation.is_some()).collect();
        let written = match operation {
            Some(name) => write_operation(&mut text, own, &operations, name, now_unix_ms),
            None => write_service(&mut text, own, &operations, now_unix_ms),
        };
        written.expect("a string takes all");
    }
    text
}

fn write_service(text: &mut String, own: &Row, operations: &[&Row], now_unix_ms: i64) -> fmt::Result {
    writeln!(text, "{}", Plain(&own.service))?;
    write_row(text, own, now_unix_ms)?;
    if !operations.is_empty() {
        write_table(text, operations)?;
    }
    let unmatched =
        operations.iter().filter(|row| row.matched == Some(false)).filter_map(|row| row.operation.as_deref());
    let hint = "an SDK sees a span's name at its start, and a metric's label seldom equals it";
    write_names(text, "Answered but never matched", hint, unmatched)?;
    let unlisted = own.unlisted.iter().flatten().map(String::as_str);
    write_names(
        text,
        "Span names that SDKs met and no answer lists",
        "they get the service's own probability",
        unlisted,
    )?;
    let unused = own.rules_without_demand.iter().map(String::as_str);
    write_names(
        text,
        "Operation rules of the policy that match no demand",
        "see `operation_label` of the demand",
        unused,
    )?;
    writeln!(text)
}

fn write_operation(text: &mut String, own: &Row, operations: &[&Row], name: &str, now_unix_ms: i64) -> fmt::Result {
    let (service, shown) = (Plain(&own.service), Plain(name));
    let Some(row) = operations.iter().find(|row| row.operation.as_deref() == Some(name)) else {
        writeln!(text, "{service}: the operation {shown} is not listed, so it gets the service's own probability.")?;
        if own.unlisted.iter().flatten().any(|met| met == name) {
            writeln!(text, "SDKs did meet root spans of that name.")?;
        }
        return write_row(text, own, now_unix_ms);
    };
    writeln!(text, "{service}: {shown}")?;
    write_row(text, row, now_unix_ms)?;
    let met = match row.matched {
        Some(true) => "SDKs met root spans of that name",
        Some(false) => "answered but never matched: no SDK met a root span of that name",
        None => "not known: no SDK of this service reports",
    };
    write_field(text, "met", met)
}

fn write_row(text: &mut String, row: &Row, now_unix_ms: i64) -> fmt::Result {
    let mode = if row.mode.as_deref() == Some("dry_run") { " (dry run)" } else { "" };
    write_field(text, "policy", &format!("{}{mode}", Plain(&row.policy)))?;
    write_field(text, "probability", &format!("{} served", number(row.served)))?;
    if row.served != row.probability {
        write_field(text, "dry run", &format!("{} would be served", number(row.probability)))?;
    }
    write_field(text, "why", &format!("{} [{}]", Plain(&row.because), Plain(&row.reason)))?;
    write_field(text, "to change it", &Plain(&row.what_would_change_it).to_string())?;
    write_field(text, "input", &input(&row.inputs))?;
    if let Some(limit) = local_limit(&row.inputs) {
        write_field(text, "local limit", &limit)?;
    }
    write_field(text, "age", &age(row, now_unix_ms))
}

fn write_field(text: &mut String, name: &str, value: &str) -> fmt::Result {
    writeln!(text, "  {name:<13} {value}")
}

fn input(inputs: &Inputs) -> String {
    let shown = |value: Option<f64>, unit: &str| {
        value.map_or_else(|| format!("unknown {unit}"), |v| format!("{} {unit}", number(v)))
    };
    let mut text = shown(inputs.demand_per_second, "requests/s");
    let loss = inputs.loss_ratio.map_or_else(|| "unknown".to_owned(), percent);
    let budget = shown(inputs.budget_spans_per_second, "spans/s");
    let spans = shown(inputs.spans_per_trace, "spans a trace");
    text.push_str(&format!("; loss {loss}; budget {budget} ({})", Plain(&inputs.budget_reason)));
    if let Some(share) = inputs.share_spans_per_second {
        text.push_str(&format!("; share {} spans/s", number(share)));
    }
    format!("{text}; {spans}")
}

/// Clients that poll never hear of it.
fn local_limit(inputs: &Inputs) -> Option<String> {
    let (share, expected) = (inputs.share_traces_per_second?, inputs.expected_traces_per_second?);
    let (share, expected) = (number(share), number(expected));
    Some(format!("clients on the push stream keep to {share} traces/s together; {expected} expected"))
}

fn age(row: &Row, now_unix_ms: i64) -> String {
    let decided = match row.decided_at.parse::<jiff::Timestamp>() {
        Ok(at) => {
            let ms = u64::try_from(now_unix_ms.saturating_sub(at.as_millisecond())).unwrap_or(0);
            format!("decided {} ago", duration(Duration::from_millis(ms)))
        }
        Err(_) => format!("decided at {}", Plain(&row.decided_at)),
    };
    let input = match row.inputs.age_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
        Some(age) => format!("from input that was {} old", duration(age)),
        None => "from input whose age the source cannot tell".to_owned(),
    };
    format!("{decided} {input} (generation {})", row.generation)
}

fn write_table(text: &mut String, operations: &[&Row]) -> fmt::Result {
    let name = |row: &Row| Plain(row.operation.as_deref().unwrap_or_default()).to_string();
    let width = operations.iter().map(|row| name(row).chars().count()).max().unwrap_or(0).clamp(9, 60);
    writeln!(
        text,
        "\n  {:<width$}  {:>11}  {:>10}  {:<12}  REASON",
        "OPERATION", "PROBABILITY", "REQUESTS/S", "MET BY SDKS"
    )?;
    for row in operations {
        let met = match row.matched {
            Some(true) => "yes",
            Some(false) => "never",
            None => "not reported",
        };
        let demand = row.inputs.demand_per_second.map_or_else(|| "unknown".to_owned(), number);
        let (name, served, reason) = (name(row), number(row.served), Plain(&row.reason));
        writeln!(text, "  {name:<width$}  {served:>11}  {demand:>10}  {met:<12}  {reason}")?;
    }
    Ok(())
}

fn write_names<'a>(text: &mut String, title: &str, hint: &str, names: impl Iterator<Item = &'a str>) -> fmt::Result {
    let mut names = names.peekable();
    if names.peek().is_none() {
        return Ok(());
    }
    writeln!(text, "\n  {title} ({hint}):")?;
    names.try_for_each(|name| writeln!(text, "    {}", Plain(name)))
}
