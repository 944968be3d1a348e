//! How much does it take to learn a lifetime, and how often is the answer wrong?
//!
//! Pure Monte Carlo on boxes whose lifetime is known, everything drawn from seeds: the same figures on every machine. Each
//! row says what is asked and what was seen; where one is missed, the status is 1.
//!
//! `cargo bench --bench keepalive` (some minutes on two cores), or with parts of rows' names behind `--`. The same tables
//! with fewer runs are a test, `cargo test --test keepalive_tables`.

mod calibration;
mod change;
mod lifetime;
mod rounds;
mod sheet;
mod waves;

use self::sheet::Sheet;

fn main() {
    let wanted = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let mut sheet = Sheet::new(wanted, 1);
    lifetime::table(&mut sheet);
    rounds::table(&mut sheet);
    calibration::table(&mut sheet);
    change::table(&mut sheet);
    waves::table(&mut sheet);
    let missed = sheet.missed();
    if !missed.is_empty() {
        println!("\n{} rows missed", missed.len());
        std::process::exit(1);
    }
}
