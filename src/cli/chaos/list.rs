//! `flyball chaos list`: the scenarios of a folder, where each can run, and what it shows.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::super::Failure;
use super::super::simulate::files;
use crate::chaos::World;
use crate::document::problem::Problems;
use crate::document::values::format_duration;
use crate::scenario::load;
use crate::simulate::plan::Plan;

/// Arguments of `flyball chaos list`.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Scenario files, or folders of them.
    #[arg(default_value = "chaos", value_name = "SCENARIO")]
    scenarios: Vec<PathBuf>,
}

/// Prints a line a scenario.
pub(super) fn list(arguments: &ListArgs) -> Result<(), Failure> {
    let (mut rows, mut problems) = (Vec::new(), Problems::default());
    for file in files(&arguments.scenarios)? {
        match load::load(&file, None) {
            Ok(plan) => rows.push(Row::of(&file, &plan)),
            Err(found) => problems.0.extend(found.0),
        }
    }
    if !problems.0.is_empty() {
        return Err(Failure::Invalid(problems.to_string()));
    }
    // What this command can run comes first.
    rows.sort_by_key(|row| row.worlds == SIMULATED);
    super::super::print(&table(&rows))
}

const SIMULATED: &str = "simulate";

struct Row {
    file: String,
    worlds: &'static str,
    takes: String,
    about: String,
}

impl Row {
    fn of(file: &Path, plan: &Plan) -> Self {
        Self {
            file: file.display().to_string(),
            worlds: World::of(plan).map_or(SIMULATED, |world| worlds(&world)),
            takes: format_duration(plan.duration()),
            about: plan.about().to_owned(),
        }
    }
}

fn worlds(world: &World) -> &'static str {
    match world {
        World::Sampling(_) => "simulate, Prometheus",
        World::Fleet(plan) if plan.sets_clock() => "simulate, --vm",
        World::Fleet(plan) if plan.needs_netem => "simulate, netem",
        World::Fleet(_) => "simulate, kernel",
    }
}

fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.file.len()).max().unwrap_or(0).max(8);
    let mut text = format!("{:<width$}  {:<20}  {:>8}  shows\n", "scenario", "runs in", "lasts");
    for Row { file, worlds, takes, about } in rows {
        let _ = writeln!(text, "{}", format!("{file:<width$}  {worlds:<20}  {takes:>8}  {about}").trim_end());
    }
    text
}
