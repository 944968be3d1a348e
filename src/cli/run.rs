//! `flyball run`: the controller, until SIGINT or SIGTERM.

use std::path::PathBuf;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Failure;
use crate::house::House;
use crate::{serve, telemetry};

/// Arguments of `flyball run`.
#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// The configuration file; without it `flyball.yaml` in the working folder if it is there, else the environment alone.
    #[arg(long, env = "FLYBALL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs the command.
pub(super) fn run(arguments: RunArgs) -> Result<(), Failure> {
    let (loaded, policies) = super::settings::load(arguments.config.as_deref())?;
    telemetry::logs::init(&loaded.config.log).map_err(|error| Failure::Invalid(error.to_string()))?;
    for warning in loaded.warnings.iter().chain(&policies.warnings) {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        if let Err(error) = serve::raise_nofile_limit() {
            tracing::warn!(%error, "the limit on open files stays as it is");
        }
        let house = House::build(loaded.config, loaded.file, policies, until_signal()?)?;
        announce(&house);
        house.run().await;
        tracing::info!("stopped");
        Ok(())
    })
}

fn announce(house: &House) {
    let serve = house.serve_addrs();
    let addresses = std::iter::once(("http", serve.http))
        .chain(serve.grpc.iter().map(|grpc| ("grpc", *grpc)))
        .chain(house.otlp_addr().map(|otlp| ("otlp", otlp)))
        .chain(std::iter::once(("admin", house.admin_addr())));
    for (protocol, address) in addresses {
        tracing::info!(protocol, %address, "listening");
    }
}

/// Cancelled at the first SIGINT or SIGTERM; a second one ends the process at once.
pub(super) fn until_signal() -> anyhow::Result<CancellationToken> {
    let (shutdown, mut interrupt) = (CancellationToken::new(), signal(SignalKind::interrupt())?);
    let mut terminate = signal(SignalKind::terminate())?;
    let token = shutdown.clone();
    tokio::spawn(async move {
        for attempt in 0.. {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if attempt > 0 {
                std::process::exit(1);
            }
            token.cancel();
        }
    });
    Ok(shutdown)
}
