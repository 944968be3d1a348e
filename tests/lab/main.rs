//! The NAT lab does what a test may rely on: plain sockets through the kernel's own NAT, and nothing left behind.

mod bed;
mod ending;
mod nat;
mod paths;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    if let Some(role) = std::env::var_os(ending::ROLE) {
        return ending::child(&role);
    }
    let mut arguments = Arguments::from_args();
    // Each trial waits for timers nearly all of its time.
    arguments.test_threads = arguments.test_threads.or(Some(16));
    let trials = [nat::trials(), paths::trials(), ending::trials()];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit_code()
}
