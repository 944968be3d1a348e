//! `flyball check --online`: each query of each policy asked once, and what came of it.

use std::fmt::Write;

use anyhow::{Context as _, anyhow};

use super::Failure;
use crate::config::Sources;
use crate::error_chain::chain;
use crate::policy::PolicySet;
use crate::source::{self, OnlineQuery, OnlineReport};
use crate::telemetry::metrics::Metrics;
use crate::time::Clock;

/// Asks, prints, and fails where any query did.
pub(super) fn ask(source: &Sources, policies: &PolicySet) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let failed = runtime.block_on(async {
        let clock = Clock::start();
        let mut source = source::connect(source, Metrics::default()).context("source")?;
        let mut failed = 0;
        for policy in &policies.policies {
            let report = source.ask(&policy.signals, &clock).await;
            failed += report.queries.iter().filter(|query| query.result.is_err()).count();
            super::print(&text(&policy.sampling.name, &report))?;
        }
        Ok::<usize, Failure>(failed)
    })?;
    if failed > 0 {
        return Err(Failure::Runtime(anyhow!("{failed} of the queries failed: see above")));
    }
    Ok(())
}

fn text(policy: &str, report: &OnlineReport) -> String {
    let mut text = format!("\nasked for policy {policy}\n");
    for query in &report.queries {
        let _ = writeln!(text, "  {:<12} {}", query.signal, query.promql);
        let _ = writeln!(text, "  {:<12} {}", "", query.reading.as_str());
        let _ = writeln!(text, "  {:<12} {}", "", outcome(query));
        for hint in &query.hints {
            let _ = writeln!(text, "  {:<12} hint: {hint}", "");
        }
    }
    text
}

fn outcome(query: &OnlineQuery) -> String {
    match &query.result {
        Err(error) => format!("FAILED: {}", chain(error)),
        Ok(result) => {
            let sample = result.sample.as_ref().map_or(String::new(), |sample| format!(", such as {sample}"));
            let warnings = match result.warnings {
                0 => String::new(),
                n => format!("; the server gave {n} warning(s): the answer may be a part"),
            };
            format!("{} series{sample}{warnings}", result.series)
        }
    }
}
