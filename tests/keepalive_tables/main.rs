//! The Monte Carlo tables of `benches/keepalive`, with as many runs as a minute has time for, and the same limits. Seeds
//! are fixed, so that the figures are the same each time. What `tests/keepalive` does over sockets is not done here.

#[path = "../../benches/keepalive/calibration.rs"]
mod calibration;
#[path = "../../benches/keepalive/change.rs"]
mod change;
#[path = "../../benches/keepalive/lifetime.rs"]
mod lifetime;
#[path = "../../benches/keepalive/rounds.rs"]
mod rounds;
#[path = "../../benches/keepalive/sheet.rs"]
mod sheet;

use libtest_mimic::{Arguments, Failed, Trial};

use sheet::Sheet;

fn main() {
    // What a microsecond takes is no matter of a test, and needs a machine at rest.
    let cohorts = || tell(&["cohorts: "], 20, calibration::rows);
    let trials = vec![
        Trial::test("lifetimes_of_one_box_take_as_many_tests_as_asked_and_are_right", || {
            tell(&[], 10, lifetime::table)
        }),
        Trial::test("a_rate_of_one_in_a_thousand_holds_over_twenty_thousand_runs", || {
            tell(&["loss 20 %: 10 s to 2 h"], 1, lifetime::table)
        }),
        Trial::test("eight_devices_of_four_flows_find_two_minutes_in_three_rounds", || tell(&[], 4, rounds::table)),
        Trial::test("cohorts_of_any_kind_are_in_their_intervals", cohorts),
        Trial::test("a_carriers_change_is_seen_after_four_expiries", || tell(&[], 4, change::table)),
    ];
    // One after the other: each takes every core.
    libtest_mimic::run(&Arguments { test_threads: Some(1), ..Arguments::from_args() }, trials).exit();
}

fn tell(wanted: &[&str], part: u64, table: fn(&mut Sheet)) -> Result<(), Failed> {
    let mut sheet = Sheet::new(wanted.iter().map(ToString::to_string).collect(), part);
    table(&mut sheet);
    let missed = sheet.missed();
    if missed.is_empty() { Ok(()) } else { Err(missed.join("\n").into()) }
}
