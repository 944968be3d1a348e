//! A carrier halves its timeout: how many expiries tell, and how often accidents alone do.

use flyball::keepalive::change::Watch;
use flyball_sdk::device::id::DeviceId;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::sheet::{Figure, Sheet, for_each};

/// Changes of each row.
const RUNS: u64 = 20_000;
/// Outcomes without a change, at an error rate at which the limits' own figure is 5.7e-7.
const OUTCOMES: u64 = 100_000_000;
/// Outcomes one after the other.
const STRETCH: u64 = 1_000_000;
/// Outcomes before the change.
const QUIET: u64 = 200;

pub(crate) fn table(sheet: &mut Sheet) {
    sheet.title("a carrier's change: expired observations until it is seen, false alarms in a million outcomes");
    for (name, rate, median, p99) in
        [("0.05 %", 0.000_5, 3.0, 4.0), ("0.5 %", 0.005, 3.0, 4.0), ("1 %", 0.01, 4.0, 5.0), ("2 %", 0.02, 4.0, 5.0)]
    {
        let row = format!("change: timeout halved, errors {name}");
        if sheet.is_wanted(&row) {
            let mut seen = for_each(sheet.seeds(RUNS), |seed| halved(seed, rate));
            seen.sort_unstable();
            let at = |q: f64| f64::from(seen[((seen.len() - 1) as f64 * q) as usize]);
            sheet.row(
                &row,
                &[
                    Figure { name: "median", asked: median, seen: at(0.5) },
                    Figure { name: "p99", asked: p99, seen: at(0.99) },
                ],
            );
        }
    }
    let row = "change: false alarms, errors 2 %";
    if sheet.is_wanted(row) {
        let alarms = for_each(sheet.seeds(OUTCOMES / STRETCH), |seed| false_alarms(seed, 0.02));
        let seen = f64::from(alarms.iter().sum::<u32>()) * 1e6 / (alarms.len() as u64 * STRETCH) as f64;
        sheet.row(row, &[Figure { name: "in a million", asked: 1.0, seen }]);
    }
}

fn device(n: u64) -> DeviceId {
    DeviceId(u128::from(n).to_be_bytes())
}

/// Expiries until it is seen, among twenty devices that all have them.
fn halved(seed: u64, rate: f64) -> u32 {
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let mut watch = Watch::default();
    for n in 0..QUIET {
        // An alarm here is one of those that the other row counts.
        watch.at_interval(device(n % 20), random.random::<f64>() >= rate, rate);
    }
    let first = random.random_range(0..20_u64);
    (1..=20).find(|n| watch.at_interval(device((first + u64::from(*n)) % 20), false, rate).is_some()).unwrap_or(21)
}

fn false_alarms(seed: u64, rate: f64) -> u32 {
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let mut watch = Watch::default();
    (0..STRETCH).map(|n| u32::from(watch.at_interval(device(n), random.random::<f64>() >= rate, rate).is_some())).sum()
}
