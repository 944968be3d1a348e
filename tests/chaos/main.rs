//! One scenario, two worlds: each shipped scenario that can be run for real is run on fake time and for real, by the commands
//! that users have, and the two results are compared metric by metric. The simulator is only worth what this says. And
//! whatever ends a run, nothing of it is left.
//!
//! It takes seven minutes on two cores, and root. Most of a run is waiting, so that two go on at a time. What needs a machine
//! of its own shares one, which comes last: its processor may be emulated, and what goes on beside it needs little of the
//! real one. `UPDATE=1 cargo test --test chaos` writes the table of `docs/validation.md`.

mod clock;
mod leftovers;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod tolerance;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::sync::Mutex;

use flyball::lab::Netem;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use serde_json::Value;

use crate::support::peers::is_strict;
use crate::table::Row;
use crate::tolerance::TOLERANCES;

/// Every scenario that is compared, and what it needs, in the order of the table.
const SCENARIOS: [(&str, Needs); 12] = [
    ("nat-aging", Needs::Nothing),
    ("unreplied-trap", Needs::Nothing),
    ("carrier-change", Needs::Nothing),
    ("power-cut", Needs::Nothing),
    ("nat-reboot", Needs::Nothing),
    ("server-restart", Needs::Nothing),
    ("bad-canary", Needs::Nothing),
    ("server-killed-in-wave-2", Needs::Nothing),
    ("prometheus-outage", Needs::Nothing),
    ("clock-step", Needs::Machine),
    ("lossy-uplink", Needs::Netem),
    ("netem-storm", Needs::Netem),
];
/// Runs for real of a scenario at most: one in some tens is too far from the simulator's median, or misses a limit, where other
/// work has the cores, since a test that is asked late has expired. Both are told, in the table too.
const RUNS_MAX: u32 = 2;
/// Exit status of what cannot run on this machine.
const CANNOT: i32 = 5;
/// Exit status of a run that missed a limit of its scenario.
const MISSED: i32 = 4;

/// What a scenario needs to be run for real.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Nothing that a kernel with namespaces has not; one needs the program `prometheus`.
    Nothing,
    /// A kernel with netem.
    Netem,
    /// A machine that is thrown away.
    Machine,
}

static ROWS: Mutex<Vec<Row>> = Mutex::new(Vec::new());

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let has_netem = Netem::missing().is_none();
    let is_for_machine = |needs| needs == Needs::Machine || (needs == Needs::Netem && !has_netem);
    let (there, here): (Vec<_>, Vec<_>) = SCENARIOS.into_iter().partition(|(_, needs)| is_for_machine(*needs));
    let names = |list: Vec<(&'static str, Needs)>| list.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let there = names(there);
    let mut trials = vec![
        Trial::test("every_scenario_is_compared", every_scenario_is_compared),
        Trial::test("a_step_of_the_clock_is_refused_outside_of_a_machine", clock::refused),
        support::lab::trial("nothing_is_left_after_sigkill", leftovers::killed),
        support::lab::trial("nothing_is_left_after_sigint_and_no_verdict_is_given", leftovers::interrupted),
    ];
    trials.extend(names(here).into_iter().map(|name| compared(name, vec![name], false)));
    trials.push(compared(&format!("in_a_machine::{}", there.join("+")), there, true));
    let conclusion = libtest_mimic::run(&arguments, trials);
    let mut rows = std::mem::take(&mut *ROWS.lock().expect("not poisoned"));
    rows.sort_by_key(|row| SCENARIOS.iter().position(|(name, _)| *name == row.scenario));
    println!("{}", table::text(&rows));
    if std::env::var_os("UPDATE").is_some() && !conclusion.has_failed() {
        table::store(&rows);
    }
    conclusion.exit_code()
}

/// Where this machine cannot run them, ignored with its reason, and failed where strict.
fn compared(name: &str, scenarios: Vec<&'static str>, is_in_machine: bool) -> Trial {
    Trial::ignorable_test(format!("one_scenario_two_worlds::{name}"), move || {
        match two_worlds(&scenarios, is_in_machine)? {
            None => Ok(Completion::Completed),
            Some(reason) if is_strict() => Err(reason.into()),
            Some(reason) => Ok(Completion::ignored_with(reason)),
        }
    })
}

/// Why they cannot be run for real here, if they cannot.
fn two_worlds(scenarios: &[&'static str], is_in_machine: bool) -> Result<Option<String>, Failed> {
    let files: Vec<PathBuf> = scenarios.iter().map(|name| file_of(name)).collect();
    let simulated = flyball(&["simulate", "--json"]).args(&files).output()?;
    let simulated = lines(&simulated, &[0])?;
    let mut far = Vec::new();
    for run in 1..=RUNS_MAX {
        let mut real = flyball(&["chaos", "run", "--json"]);
        let output = real.args(is_in_machine.then_some("--vm")).args(&files).output()?;
        if output.status.code() == Some(CANNOT) && run == 1 {
            return Ok(Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        let real = lines(&output, &[0, MISSED])?;
        match distance(scenarios, &simulated, &real, (run, is_in_machine))? {
            None if output.status.success() => return Ok(None),
            None => far.push(format!("run {run} misses a limit\n{}", String::from_utf8_lossy(&output.stdout))),
            Some(why) => far.push(format!("run {run}: {why}")),
        }
        eprintln!("{}", far[far.len() - 1]);
    }
    Err(far.join("; ").into())
}

/// Keeps all that can be compared; what is too far apart.
fn distance(
    scenarios: &[&'static str],
    simulated: &[Value],
    real: &[Value],
    (run, is_in_machine): (u32, bool),
) -> Result<Option<String>, Failed> {
    let mut far = Vec::new();
    for scenario in scenarios {
        // A scenario's last line has the medians.
        let of = |lines: &[Value]| lines.iter().rfind(|line| line["scenario"] == *scenario).cloned();
        let (Some(simulated), Some(real)) = (of(simulated), of(real)) else {
            return Err(format!("{scenario}: a world has no line of it").into());
        };
        let rows = compare(scenario, (run, is_in_machine), &simulated, &real)?;
        far.extend(rows.iter().filter(|row| !row.is_near).map(|row| {
            let Row { metric, simulated, real, .. } = row;
            format!("{scenario}: {metric}: {simulated:.4} simulated, {real:.4} for real")
        }));
        ROWS.lock().expect("not poisoned").extend(rows);
    }
    Ok((!far.is_empty()).then(|| far.join("; ")))
}

/// Each metric that both worlds have and that is compared.
fn compare(
    scenario: &'static str,
    (run, is_in_machine): (u32, bool),
    simulated: &Value,
    real: &Value,
) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for tolerance in TOLERANCES.iter().filter(|tolerance| tolerance.is_for(is_in_machine)) {
        let metric = tolerance.metric;
        let value = |line: &Value| line["metrics"][metric].as_f64();
        let (simulated, real) = match (value(simulated), value(real)) {
            (Some(simulated), Some(real)) => (simulated, real),
            // One of the other loop's.
            (None, None) => continue,
            _ => return Err(format!("{scenario}: only one world has {metric}")),
        };
        let is_near = tolerance.is_near(simulated, real);
        rows.push(Row { scenario, metric, run, simulated, real, is_near });
    }
    let is_any = !rows.is_empty();
    is_any.then_some(rows).ok_or_else(|| format!("{scenario}: the worlds have no metric in common that is compared"))
}

fn flyball(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flyball"));
    command.args(arguments);
    command
}

/// The lines of JSON of what ended as it may.
fn lines(output: &Output, statuses: &[i32]) -> Result<Vec<Value>, String> {
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.code().is_some_and(|status| statuses.contains(&status)) {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("ended with {}\n{text}{said}", output.status));
    }
    let line = |line: &str| serde_json::from_str(line).map_err(|error| format!("{line}: {error}"));
    text.lines().map(line).collect()
}

/// A file that is not the simulator's own (`keepalive-*`), and is over within minutes (not `sampling-*`), is in the list.
fn every_scenario_is_compared() -> Result<(), Failed> {
    for entry in std::fs::read_dir(folder())? {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let is_own = stem.starts_with("sampling-") || stem.starts_with("keepalive-");
        let is_scenario = path.extension().is_some_and(|extension| extension == "yaml") && !is_own;
        if is_scenario && !SCENARIOS.iter().any(|(name, _)| *name == stem) {
            return Err(format!("chaos/{stem}.yaml is compared with nothing: add it to SCENARIOS").into());
        }
    }
    Ok(())
}

fn file_of(name: &str) -> PathBuf {
    folder().join(format!("{name}.yaml"))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("chaos")
}
