//! Faults against the real binary over real sockets: sources that go wrong, signals, reloads, restarts, wrong starts.
//! Whatever happens, SDKs are answered, nothing rises, and somebody is told.

mod exit;
mod peer;
mod plant;
mod process;
mod source;
#[path = "../support/mod.rs"]
mod support;

use libtest_mimic::Arguments;

fn main() {
    let mut arguments = Arguments::from_args();
    // Each trial waits far more than it works.
    arguments.test_threads = arguments.test_threads.or(Some(8));
    let trials = [source::trials(), process::trials(), exit::trials()].into_iter().flatten().collect();
    libtest_mimic::run(&arguments, trials).exit();
}
