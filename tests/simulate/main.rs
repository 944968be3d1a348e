//! Every scenario of `chaos/`: its promise holds over all its seeds, its first run goes the way that is stored, and no
//! neighbour's law is better on it. Days of thousands of devices are tried with fewer of them.
//! `UPDATE=1 cargo test --test simulate` stores the way that runs go now; read the difference before it is committed.

mod baselines;
mod fleets;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use flyball::scenario::load;
use flyball::simulate::plan::Ran;
use libtest_mimic::{Arguments, Failed, Trial};

const SEED: u64 = 1;
/// Lost share of a load that has settled: the policy's target.
const LOST_SETTLED: f64 = 0.01;

fn main() {
    let arguments = Arguments::from_args();
    let (sampling, fleets) = (scenarios("sampling-"), scenarios("keepalive-"));
    let short: Vec<PathBuf> =
        sampling.iter().cloned().chain(fleets.iter().filter(|file| fleets::is_short(file)).cloned()).collect();
    let promises = short.iter().map(|file| trial("promise", file, promise_holds));
    let trajectories = short.iter().map(|file| trial("trajectory", file, trajectory_is_stored));
    let of_fleets = fleets::trials(&fleets);
    let baselines = sampling.iter().map(|file| trial("no_baseline_is_better", file, baselines::none_is_better));
    let against = [
        ("step-x10-local-limit", baselines::local_limit_cuts_the_worst_minute_to_a_fifth as fn(&Path) -> _),
        ("bursts-stream", baselines::commands_are_two_thirds_of_aimd),
    ];
    let against = against.map(|(name, test)| trial("against_baselines", &file_of(name), test));
    let settles = trial("every_seed_settles", &file_of("step-x5-1s"), every_seed_settles);
    let known = Trial::test("every_trajectory_is_of_a_scenario", every_trajectory_is_of_a_scenario);
    libtest_mimic::run(
        &arguments,
        promises.chain(trajectories).chain(baselines).chain(against).chain(of_fleets).chain([settles, known]).collect(),
    )
    .exit();
}

fn trial(claim: &str, file: &Path, test: fn(&Path) -> Result<(), Failed>) -> Trial {
    let file = file.to_owned();
    Trial::test(format!("{claim}::{}", name(&file)), move || test(&file))
}

/// The whole command as a user runs it; its table is the message of the failure.
fn promise_holds(file: &Path) -> Result<(), Failed> {
    let output = Command::new(env!("CARGO_BIN_EXE_flyball")).arg("simulate").arg(file).output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    Err(format!("{} ended with {}\n{}", file.display(), output.status, String::from_utf8_lossy(&text)).into())
}

/// Medians hide what goes wrong in a third of the runs: none of them may lose to the end.
fn every_seed_settles(file: &Path) -> Result<(), Failed> {
    let plan = load::load(file, None).map_err(|problems| problems.to_string())?;
    for seed in 1..=u64::from(plan.seeds()) {
        let Ran::Sampling(run) = plan.run(seed) else { return Err("is of no service".into()) };
        let end = &run.seconds[run.seconds.len() / 2..];
        let (lost, offered) = end.iter().fold((0.0, 0.0), |(lost, offered), s| (lost + s.lost, offered + s.offered));
        if lost > LOST_SETTLED * offered {
            return Err(format!("seed {seed} loses {:.3} of all in its second half", lost / offered).into());
        }
    }
    Ok(())
}

fn trajectory_is_stored(file: &Path) -> Result<(), Failed> {
    let plan = load::load(file, None).map_err(|problems| problems.to_string())?;
    if plan.name() != name(file) {
        return Err(format!("{}: its name is not {}", plan.name(), name(file)).into());
    }
    let now = plan.trajectory(SEED, &plan.run(SEED));
    let path = trajectories().join(format!("{}.txt", plan.name()));
    let stored = fs::read_to_string(&path).unwrap_or_default();
    if now == stored {
        return Ok(());
    }
    if std::env::var_os("UPDATE").is_some() {
        return Ok(fs::write(&path, now)?);
    }
    Err(format!("{} has changed; UPDATE=1 stores it\n{}", path.display(), difference(&stored, &now)).into())
}

fn every_trajectory_is_of_a_scenario() -> Result<(), Failed> {
    let known: Vec<String> = ["sampling-", "keepalive-"]
        .into_iter()
        .flat_map(scenarios)
        .map(|file| format!("{}.txt", name(&file)))
        .collect();
    for entry in fs::read_dir(trajectories())? {
        let file = entry?.file_name().into_string().map_err(|_| "a name that is no text")?;
        if !known.contains(&file) {
            return Err(format!("tests/trajectories/{file} is of no scenario in chaos/").into());
        }
    }
    Ok(())
}

/// Lines that are in one of the two only.
fn difference(stored: &str, now: &str) -> String {
    let only = |mark: &str, of: &str, other: &str| -> String {
        let other: Vec<&str> = other.lines().collect();
        of.lines().filter(|line| !other.contains(line)).map(|line| format!("{mark} {line}\n")).collect()
    };
    only("-", stored, now) + &only("+", now, stored)
}

fn scenarios(prefix: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("chaos");
    let entries = fs::read_dir(folder).expect("chaos/ is part of the tree");
    let is_scenario = |path: &PathBuf| path.extension().is_some_and(|e| e == "yaml") && stem(path).starts_with(prefix);
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.expect("a readable entry").path()).filter(is_scenario).collect();
    files.sort();
    files
}

fn file_of(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("chaos/sampling-{name}.yaml"))
}

fn trajectories() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trajectories")
}

fn stem(file: &Path) -> &str {
    file.file_stem().and_then(|stem| stem.to_str()).expect("names of scenarios are text")
}

fn name(file: &Path) -> &str {
    stem(file).trim_start_matches("sampling-").trim_start_matches("keepalive-")
}
