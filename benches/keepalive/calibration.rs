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
/// Of cohorts whose truth no such few tests can tell: 7.6 nats, 99.95 %, are a thousand devices where the box in question
/// has 25 %, 270 at 30 %, 73 at 40 %. The interval then reaches to the next box, or the one after.
const STRANGE_WIDTH_PERCENT: f64 = 1_500.0;
const STRANGE_TESTS: f64 = 160.0;
/// With a full table, of the worst kind: every device's bracket another.
const MICROSECONDS: f64 = 600.0;

#[allow(dead_code, reason = "the test runs the rows alone")]
pub(crate) fn table(sheet: &mut Sheet) {
    rows(sheet);
    cost(sheet);
}

/// All but what it costs.
pub(crate) fn rows(sheet: &mut Sheet) {
    sheet.title("cohorts: truth outside the 99.9 % interval in percent, median width in percent, median of tests");
    for cohorts in FIELD {
        let is_mixture = cohorts.kinds.iter().all(|(_, shares)| shares.len() > 1);
        tell(sheet, &cohorts, WIDTH_PERCENT, if is_mixture { TESTS.1 } else { TESTS.0 });
    }
    sheet.title("cohorts that the law was not made for: the truth, and that it ends");
    for cohorts in STRANGE {
        tell(sheet, &cohorts, STRANGE_WIDTH_PERCENT, STRANGE_TESTS);
    }
}

fn tell(sheet: &mut Sheet, cohorts: &Cohorts, width: f64, tests: f64) {
    let row = format!("cohorts: {}", cohorts.name);
    if !sheet.is_wanted(&row) {
        return;
    }
    let seeds = sheet.seeds(RUNS);
    let wrong = sheet.rate(WRONG_PERCENT, seeds.end);
    let tally = Tally::of(for_each(seeds, |seed| cohorts.run(seed)));
    sheet.row(
        &row,
        &[
            Figure { name: "outside", asked: wrong, seen: 100.0 * tally.wrong_ratio() },
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
