//! The monitor on the kernel it runs on: real programs, real interfaces, in namespaces that each test makes for itself.

mod bed;
mod left_behind;
mod loader;
mod packet;
mod running;
mod seen;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

fn main() -> ExitCode {
    if let Some(code) = left_behind::child() {
        return code;
    }
    let trials = [loader::trials(), running::trials()].into_iter().flatten().collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
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
