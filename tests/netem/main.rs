//! Netem as the kernel does it, on the lab's links; and the throw-away virtual machine in which that can be seen on a
//! kernel that has none.
//!
//! Where the kernel has netem its trials run here. Elsewhere one trial starts this same binary in a virtual machine, and
//! what is printed there is printed here.

mod inside;
mod links;
mod machine;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

use flyball::lab::Netem;
use libtest_mimic::Arguments;

/// Tells this binary, started by itself, to run the trials that need netem.
const INSIDE: &str = "FLYBALL_NETEM_INSIDE";

fn main() -> ExitCode {
    if let Some(status) = flyball::chaos::vm::guest() {
        return status;
    }
    if let Some(role) = std::env::var_os(machine::ROLE) {
        return machine::child(&role);
    }
    let mut arguments = Arguments::from_args();
    if std::env::var_os(INSIDE).is_some() {
        // Each trial waits for timers most of its time, and an emulated processor is slow.
        arguments.test_threads = Some(3);
        return libtest_mimic::run(&arguments, inside::trials()).exit_code();
    }
    // Two machines at once are slower than one after the other.
    arguments.test_threads = Some(1);
    let here = if Netem::missing().is_none() { inside::trials() } else { vec![machine::whole()] };
    let trials = [here, links::trials(), machine::trials()];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit_code()
}
