//! What a cohort's interval is worth: how often the truth is outside, how wide it is, and how many tests it took.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use flyball::keepalive::lifetime::prior::Prior;
use flyball::keepalive::mixture::trial::{CONFIDENCE, Cohorts, FIELD, STRANGE, Tally};
use flyball::keepalive::mixture::{DEVICES_MAX, Mixture, Outcome, SearchWeights};
use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::probe::Cell;

use super::sheet::{Figure, Sheet, for_each};

/// Cohorts of each row.
const RUNS: u64 = 10_000;
const WRONG_PERCENT: f64 = 0.2;
const WIDTH_PERCENT: f64 = 5.0;
/// Median of tests: where most cohorts have one box, and where none has.
const TESTS: (f64, f64) = (60.0, 120.0);
/// With a full table, of the worst kind: every device's bracket another.
const MICROSECONDS: f64 = 400.0;

pub(crate) fn table(sheet: &mut Sheet) {
    sheet.title("cohorts: truth outside the 99.9 % interval in percent, median width in percent, median of tests");
    for cohorts in FIELD {
        let is_mixture = cohorts.kinds.iter().all(|(_, shares)| shares.len() > 1);
        // Of three boxes one has a share of about a fifth, which nothing but hundreds of tests can tell from less.
        let has_three = cohorts.kinds.iter().any(|(_, shares)| shares.len() > 2);
        let (width, tests) = match (is_mixture, has_three) {
            (true, true) => (f64::INFINITY, f64::INFINITY),
            (true, false) => (WIDTH_PERCENT, TESTS.1),
            (false, _) => (WIDTH_PERCENT, TESTS.0),
        };
        tell(sheet, &cohorts, width, tests);
    }
    sheet.title("cohorts that the law was not made for: only the truth is asked for");
    for cohorts in STRANGE {
        tell(sheet, &cohorts, f64::INFINITY, f64::INFINITY);
    }
    cost(sheet);
}

fn tell(sheet: &mut Sheet, cohorts: &Cohorts, width: f64, tests: f64) {
    let row = format!("cohorts: {}", cohorts.name);
    if !sheet.is_wanted(&row) {
        return;
    }
    let tally = Tally::of(for_each(0..RUNS, |seed| cohorts.run(seed)));
    sheet.row(
        &row,
        &[
            Figure { name: "outside", asked: WRONG_PERCENT, seen: 100.0 * tally.wrong_ratio() },
            Figure { name: "width", asked: width, seen: 100.0 * tally.width_quantile(0.5) },
            Figure { name: "tests", asked: tests, seen: tally.tests_quantile(0.5) },
        ],
    );
}

/// One outcome taken in, and one estimate, of a cohort whose table is full.
fn cost(sheet: &mut Sheet) {
    let row = "cohorts: microseconds an estimate, table full";
    if !sheet.is_wanted(row) {
        return;
    }
    let mut mixture = Mixture::new(Arc::new(SearchWeights::from(&Prior::default())));
    for device in 0..DEVICES_MAX as u16 {
        let id = DeviceId(u128::from(device).to_be_bytes());
        mixture.observe(id, Cell::new(700 + device), Outcome::Survived);
        mixture.observe(id, Cell::new(720 + device), Outcome::Expired { false_probability: 0.001 });
    }
    let (rounds, start) = (1_000, Instant::now());
    for _ in 0..rounds {
        mixture.observe(DeviceId([0; 16]), Cell::new(700), Outcome::Survived);
        black_box(mixture.estimate(CONFIDENCE));
    }
    let seen = start.elapsed().as_secs_f64() * 1e6 / f64::from(rounds);
    sheet.row(row, &[Figure { name: "us", asked: MICROSECONDS, seen }]);
}
