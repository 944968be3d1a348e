//! The monitor in front of real NATs: the lab's carriers forget bindings, and what it says of that is compared with what
//! the test did and when, and with the addresses that the server itself saw.

mod change;
mod command;
mod fleet;
mod phone;
mod recorded;
mod replies;
mod silence;
mod stage;
mod told;

use std::sync::OnceLock;
use std::time::Duration;

use flyball::lab::Lab;
use libtest_mimic::{Completion, Failed, Trial};

use crate::{absent, bed};

const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn trials() -> Vec<Trial> {
    let groups = [
        silence::trials(),
        replies::trials(),
        change::trials(),
        fleet::trials(),
        command::trials(),
        recorded::trials(),
    ];
    groups.into_iter().flatten().collect()
}

/// A test that needs the lab and the kernel's side of the monitor.
fn trial(name: &str, test: fn() -> Result<(), Failed>) -> Trial {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    Trial::ignorable_test(name, move || match MISSING.get_or_init(|| bed::missing().or_else(Lab::missing)) {
        Some(reason) => absent(reason.clone()),
        None => test().map(|()| Completion::Completed),
    })
}

/// `tenths` of a second.
fn tenths(tenths: u64) -> Duration {
    Duration::from_millis(100 * tenths)
}

/// What a test is about: nothing happens for this long.
fn stay_silent(time: Duration) {
    std::thread::sleep(time);
}
