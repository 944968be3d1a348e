//! The monitor on the kernel it runs on: real programs, real interfaces, in namespaces that each test makes for itself.

mod bed;
mod left_behind;
mod loader;
mod nat;
mod packet;
mod program;
mod running;
mod seen;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// Most trials wait for timers. With eight at once, trials that count clsact filters were seen to find too few, and the
/// suite took no less time.
const TEST_THREADS: usize = 3;

fn main() -> ExitCode {
    if let Some(code) = left_behind::child() {
        return code;
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(TEST_THREADS));
    let trials = [loader::trials(), nat::trials(), running::trials(), program::trials()];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit_code()
}

/// A test in a network namespace of its own, on a thread of its own: it may drop that thread's capabilities.
fn trial(name: &str, test: fn(&bed::Bed)) -> Trial {
    Trial::ignorable_test(name, move || match bed::missing() {
        Some(reason) => absent(reason),
        None => bed::run(test),
    })
}

/// What the test needs is absent: ignored with the reason, or a failure where everything must be there.
fn absent(reason: String) -> Result<Completion, Failed> {
    if std::env::var_os("FLYBALL_TEST_STRICT").is_some_and(|value| value == "1") {
        return Err(Failed::from(reason));
    }
    Ok(Completion::ignored_with(reason))
}
