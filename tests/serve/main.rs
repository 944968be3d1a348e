//! What SDKs meet: real sockets, a server in this process, raw bytes where a well-behaved client would hide the edge.

mod burst;
mod grpc;
mod http;
mod limits;
mod local_limit;
mod peer;
mod stream;

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// No test needs a tenth of it; a hang is a failure with a name.
const TEST_MAX: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    if let Some(target) = burst::target() {
        return burst::client(target);
    }
    let trials =
        [http::trials(), grpc::trials(), stream::trials(), limits::trials(), local_limit::trials(), burst::trials()];
    libtest_mimic::run(&Arguments::from_args(), trials.into_iter().flatten().collect()).exit_code()
}

/// An async test that needs nothing but sockets.
fn trial<F: Future<Output = ()> + 'static>(name: &str, test: fn() -> F) -> Trial {
    ignorable(name, move || async move {
        test().await;
        Ok(Completion::Completed)
    })
}

/// An async test that may lack something on this machine.
fn ignorable<F>(name: &str, test: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = Result<Completion, Failed>>,
{
    Trial::ignorable_test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async { tokio::time::timeout(TEST_MAX, test()).await })?
    })
}

/// What the test needs is absent: ignored with the reason, or a failure where everything must be there.
fn absent(reason: String) -> Result<Completion, Failed> {
    if std::env::var_os("FLYBALL_TEST_STRICT").is_some_and(|value| value == "1") {
        return Err(Failed::from(reason));
    }
    Ok(Completion::ignored_with(reason))
}
