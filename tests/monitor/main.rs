//! The monitor on a real kernel.

mod program;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each trial waits nearly all of its time.
    arguments.test_threads = arguments.test_threads.or(Some(16));
    libtest_mimic::run(&arguments, program::trials()).exit_code()
}
