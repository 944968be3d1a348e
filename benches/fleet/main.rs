//! What does a fleet cost the server?
//!
//! | row | what is asked | budget |
//! |---|---|---|
//! | `rate` | authenticated heartbeats beside a bare echo | >= 0.75 of it |
//! | `second` | what the second ack of a heartbeat adds | each is sent |
//! | `refused` | a datagram that is refused, by reason | less than one that is taken |
//! | `memory` | a million registered devices | <= 300 MB |
//! | `gateways` | 10,000 sessions over gRPC; one change to all of them | <= 30 KB each; p99 <= 150 ms |
//!
//! Each row runs in a process of its own, because threads are kept on cores and memory is measured. Where one misses its
//! budget the status is 1.
//!
//! Run: `cargo bench --bench fleet` (about two minutes), or with rows' names behind `--`.

mod bare;
mod fleet;
mod flood;
mod gateways;
#[path = "../support/http2.rs"]
mod http2;
mod memory;
mod rate;
mod refused;
mod running;
mod second;
mod thread;

use std::process::{Command, ExitCode};

/// A row: prints what it saw, and whether all of it is within the budget.
type Row = (&'static str, fn() -> bool);

const ROWS: [Row; 5] = [
    ("rate", rate::row),
    ("second", second::row),
    ("refused", refused::row),
    ("memory", memory::row),
    ("gateways", gateways::row),
];

fn main() -> ExitCode {
    if gateways::server::is_asked_for() {
        gateways::server::run();
        return ExitCode::SUCCESS;
    }
    let named: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if let Some(unknown) = named.iter().find(|name| !ROWS.iter().any(|(row, _)| row == name)) {
        eprintln!("no row {unknown}: there are {}", ROWS.map(|(row, _)| row).join(", "));
        return ExitCode::from(2);
    }
    let wanted: Vec<&Row> = ROWS.iter().filter(|(row, _)| named.is_empty() || named.iter().any(|n| n == row)).collect();
    let missed = match wanted[..] {
        [(_, row)] => usize::from(!row()),
        _ => wanted.iter().filter(|(row, _)| !in_a_process(row)).count(),
    };
    ExitCode::from(u8::from(missed > 0))
}

/// This program again, for one row.
fn in_a_process(row: &str) -> bool {
    let program = std::env::current_exe().expect("this program");
    Command::new(program).arg(row).status().expect("it runs").success()
}

fn verdict(is_within: bool) -> &'static str {
    if is_within { "" } else { "  MISSED" }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
