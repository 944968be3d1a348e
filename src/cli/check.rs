//! `flyball check`: the configuration and all policies, every error at once, and a summary of what they mean.

use std::fmt::Write;
use std::path::PathBuf;

use super::Failure;
use super::check_fleet::{doors, paces, told};
use super::intervals::FleetArgs;
use crate::config::{self, SourceConfig, Sources};
use crate::document::problem::Problem;
use crate::document::values::format_duration;
use crate::monitor::settings::Settings as MonitorSettings;
use crate::policy::{DEFAULT_FLEET, SourceKind, SourceKinds};
use crate::sampling::policy::{Budget, Law, Mode, Policy, ServiceRule};
use crate::source::{Query, Signals, Unit};
use crate::time::WallTime;

/// Service rules that are printed for each policy.
const RULES_SHOWN: usize = 50;

/// Arguments of `flyball check`.
#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// The configuration file. Default: flyball.yaml in the working folder, if it is there.
    #[arg(long, env = "FLYBALL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Ask the source each query once, and say what came of it. Ends with 1 where a query fails.
    #[arg(long)]
    online: bool,
    #[command(flatten)]
    fleet: FleetArgs,
}

/// Runs the command.
pub(super) fn check(arguments: CheckArgs) -> Result<(), Failure> {
    if let Some(file) = &arguments.fleet.fleet {
        return super::intervals::check(file, arguments.config.as_deref(), &arguments.fleet);
    }
    let (config, policies) = super::settings::load(arguments.config.as_deref())?;
    let kinds = SourceKinds::of(&config.config.source);

    let mut text = settings(&config);
    for (policy, file) in policies.set.policies.iter().zip(&policies.files) {
        let _ = writeln!(text, "\npolicy {}  ({})", policy.sampling.name, file.display());
        text += &governs(&policy.sampling);
        text += &signals(&policy.signals, kinds);
    }
    for (fleet, file) in policies.set.fleets.iter().zip(&policies.fleet_files) {
        let _ = writeln!(text, "\nfleet {}  ({})", fleet.name, file.display());
        text += &paces(fleet);
    }
    if config.config.fleet.is_some() && policies.set.fleets.is_empty() {
        let _ = writeln!(text, "\nfleet {DEFAULT_FLEET}  (no fleet file: every device, every default)");
    }
    text += &warnings(config.warnings.iter().chain(&policies.warnings));
    super::print(&text)?;
    if arguments.online { super::online::ask(&config.config.source, &policies.set) } else { Ok(()) }
}

fn settings(loaded: &config::load::Loaded) -> String {
    let config = &loaded.config;
    let file = loaded.file.as_ref().map_or("environment only".to_owned(), |file| file.display().to_string());
    let grpc: Vec<String> = config.serve.grpc.iter().map(ToString::to_string).collect();
    let state = config.state.as_ref().map_or("memory only".to_owned(), |path| path.display().to_string());
    let mut text = String::new();
    let _ = writeln!(text, "config {file}");
    for (i, source) in sources(&config.source).iter().enumerate() {
        row(&mut text, if i == 0 { "source" } else { "" }, source);
    }
    row(&mut text, "serve", &format!("http {}, grpc {}", config.serve.http, grpc.join(" ")));
    row(&mut text, "admin", &config.admin.listen.to_string());
    row(&mut text, "state", &state);
    config.monitor.iter().for_each(|watched| row(&mut text, "monitor", &monitor(watched)));
    config.fleet.iter().for_each(|fleet| text += &doors(fleet));
    config.alerts.iter().for_each(|alerts| text += &told(alerts));
    text
}

fn monitor(watched: &MonitorSettings) -> String {
    let ports: Vec<String> = watched.ports.iter().map(ToString::to_string).collect();
    let (prefixes, cohorts) = (watched.prefixes.rows.len(), watched.prefixes.names.len());
    format!(
        "{}, ports {}, key {}; gap {}, {} devices; prefixes {prefixes}, cohorts {cohorts}",
        watched.interfaces.join(" "),
        ports.join(" "),
        watched.key,
        format_duration(watched.gap),
        watched.devices,
    )
}

fn sources(sources: &Sources) -> Vec<String> {
    let asked = sources.asked.as_ref().map(|source| match source {
        SourceConfig::Prometheus(p) => {
            let (every, timeout) = (format_duration(p.poll_interval), format_duration(p.timeout));
            format!("prometheus {} every {every}, timeout {timeout}", p.url)
        }
        SourceConfig::Scrape(s) => {
            let (every, timeout) = (format_duration(s.interval), format_duration(s.timeout));
            format!("scrape of {} target(s) every {every}, timeout {timeout}", s.targets.len())
        }
    });
    let otlp = sources.otlp.as_ref().map(|otlp| match &asked {
        Some(_) => format!("otlp pushed to {}", otlp.listen),
        None => format!("otlp pushed to {}, decided every {}", otlp.listen, format_duration(otlp.interval)),
    });
    asked.iter().chain(&otlp).cloned().collect()
}

fn governs(policy: &Policy) -> String {
    let mut text = String::new();
    let mode = match policy.mode {
        Mode::Active => "active",
        Mode::DryRun => "dry_run: decides and explains, serves what was served before",
    };
    row(&mut text, "law", &law(&policy.law));
    row(&mut text, "mode", mode);
    let p = &policy.probability;
    let bounds = format!("{} to {}, initial {}, fallback {}", p.min, p.max, p.initial, p.fallback);
    row(&mut text, "probability", &bounds);
    row(&mut text, "max_age", &format_duration(policy.max_age));
    row(&mut text, "loss_target", &policy.loss_target.to_string());
    row(&mut text, "budget", &budget(&policy.budget, policy.spans_per_trace));
    if policy.claims_services {
        for (i, rule) in policy.services.iter().take(RULES_SHOWN).enumerate() {
            row(&mut text, if i == 0 { "services" } else { "" }, &service(rule));
        }
        if policy.services.len() > RULES_SHOWN {
            row(&mut text, "", &format!("and {} more", policy.services.len() - RULES_SHOWN));
        }
    } else {
        row(&mut text, "services", "all that demand names, each a root of weight 1");
    }
    text
}

fn law(law: &Law) -> String {
    match law {
        Law::Adaptive(c) => format!("adaptive (headroom {}, dead_band {})", c.headroom, c.dead_band),
        Law::Threshold(c) => format!(
            "threshold (loss {}, gain {}, demand_per_second {}, floor {})",
            c.loss, c.gain, c.demand_per_second, c.floor
        ),
        Law::Fixed => "fixed (probability.initial for all)".to_owned(),
    }
}

fn budget(budget: &Budget, spans_per_trace: Option<f64>) -> String {
    let spans = spans_per_trace.map_or("measured".to_owned(), |spans| spans.to_string());
    let amount = match budget.spans_per_second {
        Some(fixed) => format!("{fixed} spans/s"),
        None => format!("auto, {} to {} spans/s", budget.min, budget.max),
    };
    format!("{amount}, spans_per_trace {spans}")
}

fn service(rule: &ServiceRule) -> String {
    let mut text = format!("\"{}\"", rule.pattern);
    if rule.is_root {
        let _ = write!(text, " weight {}", rule.weight);
    } else {
        text += " no root: an answer and no share";
    }
    if rule.floor_traces_per_second > 0.0 {
        let _ = write!(text, ", floor {} traces/s", rule.floor_traces_per_second);
    }
    if let Some(pin) = &rule.pin {
        let until = pin.until.map_or("removed".to_owned(), WallTime::rfc3339);
        let _ = write!(text, ", pinned to {} until {until} ({})", pin.probability, pin.reason);
    }
    for operation in &rule.operations {
        let _ = match operation.probability {
            Some(fixed) => write!(text, ", operation \"{}\" fixed at {fixed}", operation.pattern),
            None => write!(text, ", operation \"{}\" weight {}", operation.pattern, operation.weight),
        };
    }
    text
}

fn signals(signals: &Signals, kinds: SourceKinds) -> String {
    let unit = match signals.unit {
        Unit::Spans => "spans",
        Unit::Traces => "traces",
    };
    let demand = &signals.demand;
    let operation = demand.operation_label.as_ref().map_or(String::new(), |label| format!(", operation in {label}"));
    let labels = format!("; service in {}{operation}", demand.service_label);
    let mut text = String::new();
    row(&mut text, "demand", &format!("{}{labels}", question(&demand.query)));
    row(&mut text, "received", &format!("{}, in {unit}", question(&signals.received)));
    row(&mut text, "dropped", &format!("{}, in {unit}", question(&signals.dropped)));
    let is_opaque = matches!(demand.query, Query::Opaque { .. });
    match (&signals.freshness, is_opaque) {
        (Some(promql), _) => row(&mut text, "freshness", promql),
        (None, true) => row(&mut text, "freshness", "none: a dead exporter is not seen; set signals.freshness"),
        (None, false) if demand.query.is_pushed() => row(&mut text, "freshness", "of the points themselves"),
        (None, false) if kinds.asked == Some(SourceKind::Scrape) => {}
        (None, false) => row(&mut text, "freshness", "of the samples themselves"),
    }
    text
}

fn question(query: &Query) -> String {
    match query {
        Query::Counter(counter) => format!("counter (raw samples) {}", counter.metric),
        Query::Pushed(counter) => format!("pushed over OTLP {}", counter.metric),
        Query::Opaque { promql, window } if window.is_zero() => format!("opaque (no window) {promql}"),
        Query::Opaque { promql, window } => {
            format!("opaque (window {} = dead time) {promql}", format_duration(*window))
        }
    }
}

fn warnings<'a>(warnings: impl Iterator<Item = &'a Problem>) -> String {
    let lines: Vec<String> = warnings.map(|warning| format!("warning: {}\n", warning.line())).collect();
    if lines.is_empty() { "\nno warnings\n".to_owned() } else { format!("\n{}", lines.concat()) }
}

pub(super) fn row(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "  {name:<12} {value}");
}
