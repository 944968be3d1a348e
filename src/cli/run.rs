//! `flyball run`: the controller, until SIGINT or SIGTERM.

use std::path::PathBuf;

use anyhow::Context as _;
use caps::Capability;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Failure;
use crate::config::Config;
use crate::house::House;
use crate::monitor::room::Room;
use crate::{serve, telemetry};

/// Ports below this one take a capability to bind.
const PORTS_UNPRIVILEGED: u16 = 1_024;

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
    let config = loaded.config;
    // Before the runtime's threads are made: each has the capabilities of the one that made it.
    let monitor = Room::open(config.monitor.as_ref(), needed_by_listeners(&config));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        if let Err(error) = serve::raise_nofile_limit() {
            tracing::warn!(%error, "the limit on open files stays as it is");
        }
        let house = House::build(config, loaded.file, policies, monitor, until_signal()?)?;
        announce(&house);
        house.run().await;
        tracing::info!("stopped");
        Ok(())
    })
}

/// What binding the configured addresses takes, beside what the monitor takes.
fn needed_by_listeners(config: &Config) -> Vec<Capability> {
    let otlp = config.source.otlp.iter().map(|otlp| otlp.listen);
    let fleet = config.fleet.iter().flat_map(|fleet| [fleet.heartbeat, fleet.grpc]).flatten();
    let always = [config.serve.http, config.admin.listen];
    let mut listeners = config.serve.grpc.iter().copied().chain(always).chain(otlp).chain(fleet);
    let is_privileged = listeners.any(|address| (1..PORTS_UNPRIVILEGED).contains(&address.port()));
    is_privileged.then_some(Capability::CAP_NET_BIND_SERVICE).into_iter().collect()
}

fn announce(house: &House) {
    let serve = house.serve_addrs();
    let addresses = std::iter::once(("http", serve.http))
        .chain(serve.grpc.iter().map(|grpc| ("grpc", *grpc)))
        .chain(house.otlp_addr().map(|otlp| ("otlp", otlp)))
        .chain(house.fleet_addrs())
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
