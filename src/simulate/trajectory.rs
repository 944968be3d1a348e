//! A run as at most sixty lines of text, close together around what happens: stored beside the tests, so that a change
//! of a law shows in review as what it did.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::scenario::Scenario;
use super::trace::{Run, Second};

/// Lines of every trajectory, evenly over the run.
const EVEN: usize = 20;
/// Most lines.
const LINES_MAX: usize = 60;
/// Seconds after something happens at which a line begins.
const AFTER: [usize; 11] = [0, 5, 10, 15, 20, 25, 30, 45, 60, 90, 120];

/// The lines. Each is about the time from its moment to the next line's: nothing is left out between them.
pub fn text(scenario: &Scenario, seed: u64, run: &Run) -> String {
    let mut out = format!("{}: law {}, seed {seed}\n", scenario.name, scenario.law.as_str());
    heading(&mut out, ["from", "demand", "capacity", "offered", "lost", "budget", "probability", "commands"]);
    heading(&mut out, ["s", "spans/s", "spans/s", "spans/s", "%", "capacity", "", ""]);
    let moments = moments(scenario, run.seconds.len());
    let ends = moments.iter().skip(1).copied().chain([run.seconds.len()]);
    for (from, to) in moments.iter().zip(ends) {
        line(&mut out, *from, &run.seconds[*from..to]);
    }
    out
}

fn heading(out: &mut String, words: [&str; 8]) {
    let [a, b, c, d, e, f, g, h] = words;
    let line = format!("{a:>9} {b:>9} {c:>9} {d:>9} {e:>7} {f:>8} {g:>11} {h:>8}");
    let _ = writeln!(out, "{}", line.trim_end());
}

/// Where lines begin, rising: evenly, and after each event until the lines are used up.
fn moments(scenario: &Scenario, length: usize) -> Vec<usize> {
    let mut moments: BTreeSet<usize> = (0..EVEN).map(|i| i * length / EVEN).collect();
    let faults = scenario.faults.iter().flat_map(|fault| [Some(fault.at), fault.lasts.map(|lasts| fault.at + lasts)]);
    let events: BTreeSet<usize> = faults.flatten().chain([scenario.event_at]).map(|at| at.as_secs() as usize).collect();
    for after in AFTER {
        for event in &events {
            if moments.len() < LINES_MAX {
                moments.insert(event + after);
            }
        }
    }
    moments.into_iter().filter(|moment| *moment < length).collect()
}

fn line(out: &mut String, from: usize, seconds: &[Second]) {
    let Some(last) = seconds.last() else { return };
    let mean = |of: fn(&Second) -> f64| seconds.iter().map(of).sum::<f64>() / seconds.len() as f64;
    let (offered, lost) = (mean(|s| s.offered), mean(|s| s.lost));
    let loss = if offered > 0.0 { lost / offered * 100.0 } else { 0.0 };
    let budget = last.budget.filter(|_| last.capacity > 0.0);
    let budget = budget.map_or("-".to_owned(), |budget| format!("{:.3}", budget / last.capacity));
    let commands: u32 = seconds.iter().map(|s| s.commands).sum();
    let _ = writeln!(
        out,
        "{from:>9} {:>9.0} {:>9.0} {offered:>9.0} {loss:>7.2} {budget:>8} {:>11.4} {commands:>8}",
        mean(|s| s.demand),
        mean(|s| s.capacity),
        last.probability,
    );
}
