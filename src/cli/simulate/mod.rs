//! `flyball simulate`: scenarios on fake time, one verdict each, on the medians of many seeds.

pub(super) mod json;
pub(super) mod report;
mod runs;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::CommandFactory;
use clap::error::ErrorKind;

use self::runs::Job;
use super::Failure;
use crate::document::problem::Problems;
use crate::scenario::load::{self, LawChoice};
use crate::simulate::fleet::scenario::FleetLaw;
use crate::simulate::metrics::Measured;
use crate::simulate::plan::{Plan, Ran};
use crate::simulate::scenario::LawKind;
use crate::simulate::verdict::{Judged, is_pass, judge};

/// Most scenarios of one call.
const SCENARIOS_MAX: usize = 10_000;

/// Arguments of `flyball simulate`.
#[derive(Debug, clap::Args)]
pub(super) struct SimulateArgs {
    /// Scenario files, or folders of them.
    #[arg(required = true, value_name = "SCENARIO")]
    scenarios: Vec<PathBuf>,
    /// The law that decides, in place of the scenario's. Of sampling: adaptive, fixed, threshold, jaeger, datadog, aimd,
    /// oracle. Of fleets: adaptive, oracle, fixed-180s, fixed-180s-one-ack (any number of seconds).
    #[arg(long, value_parser = law_of)]
    law: Option<LawChoice>,
    /// Run the seeds 1 to N, and judge the medians. Default: the scenario's number.
    #[arg(long, value_name = "N", conflicts_with = "seed", value_parser = clap::value_parser!(u32).range(1..=1000))]
    seeds: Option<u32>,
    /// Run this one seed, and judge that run.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// A line of JSON for each seed, and one with the medians and the verdict.
    #[arg(long)]
    json: bool,
    /// Draw the run of the first seed. Of one scenario only.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

/// What a scenario came to.
struct Verdict {
    /// Medians, or the one seed's.
    measured: Measured,
    /// The checks on them.
    judged: Vec<Judged>,
}

/// Runs the command.
pub(super) fn simulate(arguments: SimulateArgs) -> Result<(), Failure> {
    let files = files(&arguments.scenarios)?;
    if arguments.plot.is_some() && files.len() > 1 {
        return Err(usage("--plot draws one scenario; name one file"));
    }
    let plans = load_all(&files, arguments.law, arguments.seeds)?;
    let seeds = |plan: &Plan| match arguments.seed {
        Some(seed) => vec![seed],
        None => (1..=u64::from(plan.seeds())).collect(),
    };
    let jobs: Vec<Job<'_>> =
        plans.iter().flat_map(|plan| seeds(plan).into_iter().map(move |seed| Job { plan, seed })).collect();
    let mut verdicts: Vec<Verdict> = Vec::new();
    let mut so_far: Vec<Measured> = Vec::new();
    runs::run(&jobs, |job, outcome| {
        if let (Some(path), Some(ran)) = (&arguments.plot, &outcome.ran) {
            draw(path, job, ran)?;
        }
        if arguments.json && arguments.seed.is_none() {
            super::print(&json::seed(job, &outcome.measured))?;
        }
        so_far.push(outcome.measured);
        if so_far.len() == seeds(job.plan).len() {
            let verdict = verdict(job.plan, &std::mem::take(&mut so_far));
            super::print(&if arguments.json {
                json::verdict(job.plan, arguments.seed, &verdict)
            } else {
                report::scenario(job.plan, arguments.seed, &verdict)
            })?;
            verdicts.push(verdict);
        }
        Ok(())
    })?;
    conclude(&plans, &verdicts, arguments.json)
}

fn verdict(plan: &Plan, runs: &[Measured]) -> Verdict {
    let measured = Measured::median(plan.metrics(), runs);
    Verdict { judged: judge(plan.checks(), &measured), measured }
}

/// The closing table, and the exit status.
fn conclude(plans: &[Plan], verdicts: &[Verdict], is_json: bool) -> Result<(), Failure> {
    if !is_json && plans.len() > 1 {
        super::print(&report::summary(plans, verdicts))?;
    }
    let failed: Vec<&str> = plans
        .iter()
        .zip(verdicts)
        .filter(|(_, verdict)| !is_pass(&verdict.judged))
        .map(|(plan, _)| plan.name())
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::Verdict(format!("{} of {} scenarios failed: {}", failed.len(), plans.len(), failed.join(", "))))
}

fn draw(path: &Path, job: &Job<'_>, ran: &Ran) -> Result<(), Failure> {
    let svg = job.plan.svg(job.seed, ran);
    std::fs::write(path, svg).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

/// The files themselves; of a folder, every `*.yaml` and `*.yml` directly in it, sorted.
pub(super) fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let unreadable = |error| Failure::Invalid(format!("error: {}: cannot be read: {error}", path.display()));
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
            found.extend(Some(path).filter(|path| is_yaml && path.is_file()));
        }
        if found.is_empty() {
            return Err(Failure::Invalid(format!("error: {}: the folder holds no *.yaml file", path.display())));
        }
        found.sort();
        files.extend(found);
    }
    if files.len() > SCENARIOS_MAX {
        return Err(Failure::Invalid(format!("error: more than {SCENARIOS_MAX} scenarios")));
    }
    Ok(files)
}

/// All scenarios, or all errors of all of them.
fn load_all(files: &[PathBuf], law: Option<LawChoice>, seeds: Option<u32>) -> Result<Vec<Plan>, Failure> {
    let (mut plans, mut problems) = (Vec::new(), Problems::default());
    for file in files {
        match load::load(file, law) {
            Ok(mut plan) => {
                plan.set_seeds(seeds.unwrap_or(plan.seeds()));
                plans.push(plan);
            }
            Err(found) => problems.0.extend(found.0),
        }
    }
    if problems.0.is_empty() { Ok(plans) } else { Err(Failure::Invalid(problems.to_string())) }
}

fn law_of(name: &str) -> Result<LawChoice, String> {
    LawChoice::of(name).ok_or_else(|| {
        let sampling = LawKind::ALL.map(LawKind::as_str).join(", ");
        format!("no such law; of sampling known are {sampling}; of fleets {}", FleetLaw::KNOWN)
    })
}

/// Wrong usage that clap cannot know: the answer is like its own.
fn usage(message: &str) -> Failure {
    let mut command = super::Arguments::command();
    command.build();
    let command = command.find_subcommand_mut("simulate").expect("the command that runs");
    Failure::Usage(command.error(ErrorKind::ArgumentConflict, message))
}
