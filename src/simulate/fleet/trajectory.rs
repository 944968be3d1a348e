//! A run of a fleet as at most forty lines of text, close together at the start and after what happens.

use std::fmt::Write;

use super::scenario::FleetScenario;
use super::trace::{FleetRun, Stretch};

/// Lines at the start, and after each fault, that are one stretch long.
const CLOSE: usize = 6;
/// Lines over the whole run.
const EVEN: usize = 20;
/// Most lines.
const LINES_MAX: usize = 40;

/// The lines. Each is about the time from the line before it: nothing is left out between them.
pub fn text(scenario: &FleetScenario, seed: u64, run: &FleetRun) -> String {
    let mut out = format!("{}: law {}, seed {seed}\n", scenario.name, scenario.law.name());
    let _ = writeln!(
        out,
        "{:>9} {:>9} {:>10} {:>7} {:>7} {:>8}",
        "until", "uncovered", "heartbeats", "probes", "pace", "fitting"
    );
    let _ = writeln!(out, "{:>9} {:>9} {:>10} {:>7} {:>7} {:>8}", "s", "ppm", "a day", "a day", "ideal", "share");
    let ends = ends(scenario, &run.stretches);
    let mut from = 0;
    for end in ends {
        line(&mut out, &run.stretches[from..=end]);
        from = end + 1;
    }
    out
}

/// Stretches that end a line, rising.
fn ends(scenario: &FleetScenario, stretches: &[Stretch]) -> Vec<usize> {
    let length = stretches.len();
    let mut ends: Vec<usize> = (1..=EVEN).map(|i| (i * length / EVEN).saturating_sub(1)).collect();
    let starts = std::iter::once(0.0).chain(scenario.faults.iter().map(|fault| fault.at.as_secs_f64()));
    for at in starts {
        let first = stretches.partition_point(|stretch| stretch.until <= at);
        ends.extend(first.saturating_sub(1)..(first + CLOSE).min(length));
        if ends.len() >= LINES_MAX {
            break;
        }
    }
    ends.retain(|end| *end < length);
    ends.sort_unstable();
    ends.dedup();
    ends
}

fn line(out: &mut String, stretches: &[Stretch]) {
    let Some(last) = stretches.last() else { return };
    let mean = |of: fn(&Stretch) -> f64| stretches.iter().map(of).sum::<f64>() / stretches.len() as f64;
    let _ = writeln!(
        out,
        "{:>9.0} {:>9.0} {:>10.0} {:>7.1} {:>7.3} {:>8.3}",
        last.until,
        ((1.0 - mean(|s| s.coverage)) * 1e6).max(0.0), // sums of many parts may exceed the whole by a rounding
        mean(|s| s.heartbeats),
        mean(|s| s.probe_packets),
        last.pace_ratio,
        last.fitting,
    );
}
