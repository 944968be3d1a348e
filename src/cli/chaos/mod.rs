//! `flyball chaos`: scenarios in real time: fleets on the real kernel, sampling on a real Prometheus server.

mod junit;
mod list;
mod progress;
mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use self::progress::ProgressLine;
use self::report::Outcome;
use super::Failure;
use super::simulate::{files, json};
use crate::chaos::{ChaosError, Settings, World, vm};
use crate::document::problem::Problems;
use crate::scenario::load;
use crate::simulate::verdict::judge;

/// A virtual machine without KVM starts within this, with time for a first download.
const MACHINE_STARTS_WITHIN: Duration = Duration::from_secs(600);
/// Of what a scenario lasts, so many times: starting its processes takes long where the processor is emulated.
const MACHINE_SLOWER: u32 = 3;

/// Arguments of `flyball chaos`.
#[derive(Debug, clap::Args)]
pub(super) struct ChaosArgs {
    #[command(subcommand)]
    command: ChaosCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ChaosCommand {
    /// Run scenarios for real: fleets behind this kernel's own NAT with the real server and real devices, which needs root;
    /// sampling with the real server and a real Prometheus.
    Run(RunArgs),
    /// Name the scenarios of a folder, and what each shows.
    List(list::ListArgs),
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// Scenario files, or folders of them. Of a folder, those that a kernel can run.
    #[arg(required = true, value_name = "SCENARIO")]
    scenarios: Vec<PathBuf>,
    /// Run in a throw-away virtual machine with Debian's kernel: for what this kernel has not, such as netem, and for what
    /// would befall this whole machine.
    #[arg(long)]
    vm: bool,
    /// A line of JSON for each scenario, and nothing else on standard output.
    #[arg(long)]
    json: bool,
    /// Write the verdicts as JUnit does.
    #[arg(long, value_name = "F")]
    junit: Option<PathBuf>,
    /// Draws the moments of the pushes that measure coverage. What else is chance is the kernel's.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// Runs the command.
pub(super) fn chaos(arguments: ChaosArgs) -> Result<(), Failure> {
    match arguments.command {
        ChaosCommand::Run(arguments) => run_all(&arguments),
        ChaosCommand::List(arguments) => list::list(&arguments),
    }
}

fn run_all(arguments: &RunArgs) -> Result<(), Failure> {
    let plans = load_all(arguments)?;
    if arguments.vm && !vm::is_inside() {
        return in_machine(arguments, &plans);
    }
    let program = std::env::current_exe().context("cannot tell which program this is")?;
    let settings = Settings { program, seed: arguments.seed, owns_machine: vm::is_inside() };
    let lacking = plans.iter().find_map(|plan| Some((plan, plan.missing(&settings)?)));
    if let Some((plan, lacks)) = lacking {
        return Err(Failure::Machine(format!("{} cannot run here: {lacks}", plan.name())));
    }
    let stop = Arc::new(AtomicBool::new(false));
    stop_at_signal(Arc::clone(&stop))?;
    let mut outcomes = Vec::new();
    for plan in &plans {
        let outcome = one(plan, &settings, &stop)?;
        super::print(&if arguments.json { json_line(&outcome, arguments.seed) } else { report::scenario(&outcome) })?;
        outcomes.push(outcome);
        if let Some(file) = &arguments.junit {
            // After each: what comes later may be interrupted.
            std::fs::write(file, junit::xml(&outcomes)).with_context(|| format!("cannot write {}", file.display()))?;
        }
    }
    conclude(&outcomes, arguments.json)
}

/// The same command in a machine of its own; what is wrong with the files was said here.
fn in_machine(arguments: &RunArgs, plans: &[World]) -> Result<(), Failure> {
    let words = std::env::args_os().skip(1).filter(|word| word != "--vm");
    let lasts: Duration = plans.iter().map(|plan| plan.duration()).sum();
    let files = arguments.junit.iter().cloned().collect();
    let limit = MACHINE_STARTS_WITHIN + lasts * MACHINE_SLOWER;
    let request = vm::Request { program: None, arguments: words.collect(), files, limit };
    match vm::run(&request) {
        Ok(0) => Ok(()),
        Ok(status) => Err(Failure::Elsewhere(status)),
        Err(error) if error.is_missing() => Err(Failure::Machine(format!("{:#}", anyhow::Error::from(error)))),
        Err(error) => Err(Failure::Runtime(error.into())),
    }
}

fn one<'p>(plan: &'p World, settings: &Settings, stop: &AtomicBool) -> Result<Outcome<'p>, Failure> {
    let mut line = ProgressLine::new(plan.name());
    let ran = plan.run(settings, stop, &mut |progress| line.show(progress));
    line.wipe();
    let ran = ran.map_err(|error| failure(plan.name(), error))?;
    Ok(Outcome { plan, judged: judge(plan.checks(), &ran.measured), ran })
}

fn failure(name: &str, error: ChaosError) -> Failure {
    match error {
        ChaosError::Monitor(_) | ChaosError::Machine(_) => Failure::Machine(format!("{name}: {error}")),
        error => Failure::Runtime(anyhow::Error::from(error).context(name.to_owned())),
    }
}

fn json_line(outcome: &Outcome<'_>, seed: u64) -> String {
    let plan = outcome.plan;
    let head = json::Head { scenario: plan.name(), law: &plan.law(), seed: Some(seed), world: "chaos" };
    json::line(&head, &outcome.ran.measured, &outcome.judged)
}

/// The closing table, and the exit status.
fn conclude(outcomes: &[Outcome<'_>], is_json: bool) -> Result<(), Failure> {
    if !is_json && outcomes.len() > 1 {
        super::print(&report::summary(outcomes))?;
    }
    let failed: Vec<&str> =
        outcomes.iter().filter(|outcome| !outcome.is_pass()).map(|outcome| outcome.plan.name()).collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::Verdict(format!("{} of {} scenarios failed: {}", failed.len(), outcomes.len(), failed.join(", "))))
}

/// Every plan, or every error of every file.
fn load_all(arguments: &RunArgs) -> Result<Vec<World>, Failure> {
    let (mut plans, mut problems, mut unfit) = (Vec::new(), Problems::default(), Vec::new());
    for file in files(&arguments.scenarios)? {
        let is_named = arguments.scenarios.contains(&file);
        match load::load(&file, None) {
            Err(found) => problems.0.extend(found.0),
            Ok(plan) => match World::of(&plan) {
                Ok(plan) => plans.push(plan),
                // Of a folder, what only a simulator can run is left to it.
                Err(_) if !is_named => {}
                Err(reasons) => unfit.extend(reasons.iter().map(|why| format!("error: {}: {why}", file.display()))),
            },
        }
    }
    let invalid: Vec<String> =
        (!problems.0.is_empty()).then(|| problems.to_string()).into_iter().chain(unfit).collect();
    if !invalid.is_empty() {
        return Err(Failure::Invalid(invalid.join("\n")));
    }
    if plans.is_empty() {
        return Err(Failure::Invalid("error: the folder holds no scenario that can be run for real".to_owned()));
    }
    Ok(plans)
}

/// The first SIGINT or SIGTERM has the run taken down; after a second one the kernel does it.
fn stop_at_signal(stop: Arc<AtomicBool>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let signalled = runtime.block_on(async { super::run::until_signal() })?;
    let wait = move || {
        runtime.block_on(signalled.cancelled());
        stop.store(true, Ordering::Relaxed);
        runtime.block_on(std::future::pending::<()>());
    };
    let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(wait);
    thread.map(|_| ()).map_err(|error| Failure::Runtime(anyhow::Error::from(error).context("no thread")))
}

/// A time in whole seconds, for people.
fn whole_seconds(time: Duration) -> String {
    format!("{} s", time.as_secs())
}

/// Whether a moment is so long ago.
fn is_over(since: Option<Instant>, time: Duration) -> bool {
    since.is_none_or(|at| at.elapsed() >= time)
}
