//! `flyball demo`.

use anyhow::Context as _;

use super::Failure;
use super::run::until_signal;
use crate::config::{LogConfig, LogFormat};
use crate::demo::{self, NoPrometheus, Options};
use crate::telemetry;

/// Arguments of `flyball demo`.
#[derive(Debug, clap::Args)]
pub(super) struct DemoArgs {
    /// End after this many seconds, with a summary; without it at Ctrl-C.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// Plain lines, nothing is drawn over.
    #[arg(long)]
    headless: bool,
    /// Measure through a real Prometheus server (the program `prometheus` must be installed).
    #[arg(long)]
    prometheus: bool,
}

/// Runs the command.
pub(super) fn demo(arguments: DemoArgs) -> Result<(), Failure> {
    let log = LogConfig { filter: "warn,flyball_sdk=error".to_owned(), format: LogFormat::Text };
    telemetry::logs::init(&log).map_err(|error| Failure::Runtime(error.into()))?;
    let DemoArgs { seconds, headless, prometheus } = arguments;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    let options = Options { seconds, headless, prometheus };
    let done = runtime.block_on(async { demo::run(options, until_signal()?).await });
    done.map_err(|error| match error.downcast::<NoPrometheus>() {
        Ok(missing) => Failure::Machine(missing.to_string()),
        Err(error) => Failure::Runtime(error),
    })
}
