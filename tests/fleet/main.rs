//! The heartbeat server over real sockets: against devices written here, which can do what none should, and against the
//! SDK's own.

mod addresses;
mod bed;
mod device;
mod labels;
mod orders;
mod real;
mod refusals;
mod restart;
mod rollouts;
mod side;
mod steering;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = [
        addresses::trials(),
        labels::trials(),
        orders::trials(),
        rollouts::trials(),
        real::trials(),
        refusals::trials(),
        restart::trials(),
        side::trials(),
        steering::trials(),
    ];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit_code()
}

/// A test that needs no more than a loopback.
fn trial(name: &str, test: fn()) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}
