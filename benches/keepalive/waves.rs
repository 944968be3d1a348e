//! A bad release is stopped early, and a good one is not: rollouts of whole cohorts, through all waves and gates.

use flyball::keepalive::wave::simulation::{Population, Tally};

use super::sheet::{Figure, Sheet, for_each};

/// Rollouts of each row.
const RUNS: u64 = 10_000;
/// Beats of devices with the new interval until the stop: on average, and in 95 of 100 rollouts.
const BEATS: (f64, f64) = (13_000.0, 28_000.0);
const FALSE_STOPS: f64 = 1e-3;
/// Beats that a release costs under which every other beat is missed. Some twenty tell enough, but in the first round
/// only devices that were called do: a fifth of a round of 1,000 treated devices has passed by then.
const BEATS_GROSS: f64 = 250.0;
/// How many of the beats are missed by releases that are worse and less bad than the canary, by name.
const SIZES: [(&str, f64); 5] =
    [("99.95 %", 0.000_5), ("99.8 %", 0.002), ("99.5 %", 0.005), ("99 %", 0.01), ("90 %", 0.1)];
const DEVICES: [u32; 4] = [20_000, 5_000, 1_000, 50];
const CORRELATIONS: [f64; 2] = [0.0, 0.1];

pub(crate) fn table(sheet: &mut Sheet) {
    sheet.title("waves: a canary at 99.90 % against 99.98 %: beats until the stop, rollouts it was not stopped in");
    for (correlation, devices) in cohorts() {
        // Five devices in a wave, or correlated beats, cannot show that little in a day: only what it costs is told.
        let (mean, p95) = if correlation == 0.0 && devices >= 5_000 { BEATS } else { (f64::INFINITY, f64::INFINITY) };
        let row = format!("waves, canary: {}", name(devices, correlation));
        if sheet.is_wanted(&row) {
            let tally = run(Population { correlation, ..Population::canary(devices) });
            let figures = [
                Figure { name: "mean", asked: mean, seen: tally.beats() },
                Figure { name: "p95", asked: p95, seen: tally.beats_quantile(0.95) },
                Figure { name: "held", asked: 1.0, seen: tally.held_ratio() },
                Figure { name: "released", asked: 0.1, seen: tally.released_ratio() },
            ];
            sheet.row(&row, &figures);
        }
    }
    sizes(sheet);
    gross(sheet);
    good(sheet);
}

fn sizes(sheet: &mut Sheet) {
    sheet.title("waves: other releases against 99.98 %, 20,000 devices");
    for (size, missed) in SIZES {
        let row = format!("waves, sizes: {size}");
        if sheet.is_wanted(&row) {
            let tally = run(Population { missed: [0.000_2, missed], ..Population::canary(20_000) });
            let figures = [
                Figure { name: "mean", asked: f64::INFINITY, seen: tally.beats() },
                Figure { name: "p95", asked: f64::INFINITY, seen: tally.beats_quantile(0.95) },
                Figure { name: "released", asked: 1.0, seen: tally.released_ratio() },
            ];
            sheet.row(&row, &figures);
        }
    }
}

fn gross(sheet: &mut Sheet) {
    sheet.title("waves: every other beat is missed");
    for devices in DEVICES {
        let row = format!("waves, gross: {}", name(devices, 0.0));
        if sheet.is_wanted(&row) {
            let tally = run(Population { missed: [0.000_2, 0.5], ..Population::canary(devices) });
            let figures = [
                Figure { name: "p95", asked: BEATS_GROSS, seen: tally.beats_quantile(0.95) },
                Figure { name: "not stopped", asked: 0.0, seen: 1.0 - tally.stopped_ratio() },
            ];
            sheet.row(&row, &figures);
        }
    }
}

fn good(sheet: &mut Sheet) {
    sheet.title("waves: a release that changes nothing: rollouts stopped, held for a person, and rounds until the end");
    for (correlation, devices) in cohorts() {
        let row = format!("waves, good: {}", name(devices, correlation));
        if sheet.is_wanted(&row) {
            tell_good(sheet, &row, Population { correlation, ..Population::good(devices) });
        }
    }
    let row = format!("waves, good, accidents: {}", name(1_000, 0.1));
    if sheet.is_wanted(&row) {
        tell_good(sheet, &row, Population { correlation: 0.1, accidents: 0.1, ..Population::good(1_000) });
    }
}

fn tell_good(sheet: &mut Sheet, row: &str, population: Population) {
    let tally = run(population);
    let figures = [
        Figure { name: "stopped in 1,000", asked: 1e3 * FALSE_STOPS, seen: 1e3 * tally.stopped_ratio() },
        Figure { name: "held", asked: 1.0, seen: tally.held_ratio() },
        Figure { name: "rounds", asked: f64::INFINITY, seen: tally.rounds() },
    ];
    sheet.row(row, &figures);
}

fn run(population: Population) -> Tally {
    Tally::of(for_each(0..RUNS, |seed| population.run(seed)))
}

fn cohorts() -> impl Iterator<Item = (f64, u32)> {
    CORRELATIONS.into_iter().flat_map(|correlation| DEVICES.map(|devices| (correlation, devices)))
}

fn name(devices: u32, correlation: f64) -> String {
    format!("{devices} devices, correlation {correlation}")
}
