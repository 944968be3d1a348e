//! What gateways meet: real sockets, a door in this process, and clients that say what a well-behaved device would not.

mod device;
mod hello;
mod learnt;
mod orders;
mod peer;
mod seen;
mod strain;
#[path = "../support/mod.rs"]
mod support;
mod waves;

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};

/// Few tests need a tenth of it; a hang is a failure with a name.
const TEST_MAX: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let trials = [
        hello::trials(),
        orders::trials(),
        seen::trials(),
        strain::trials(),
        device::trials(),
        learnt::trials(),
        waves::trials(),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials.into_iter().flatten().collect()).exit_code()
}

/// An async test that needs nothing but sockets.
fn trial<F: Future<Output = ()> + 'static>(name: &str, test: fn() -> F) -> Trial {
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async { tokio::time::timeout(TEST_MAX, test()).await })?;
        Ok(())
    })
}
