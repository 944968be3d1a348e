//! The device over gRPC.

use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::Context as _;
use flyball_sdk::device::grpc::{Event as Told, GrpcSettings, SessionError, run as run_device};
use flyball_sdk::device::machine::{Event, Memory};
use tonic::Code;

use super::super::Failure;
use super::super::run::until_signal;
use super::Device;
use super::output::{Output, Shown};
use crate::error_chain::chain;

/// Runs until SIGINT, SIGTERM, the end of its time, or until nobody reads.
pub(super) fn run(device: Device, mut output: Output) -> Result<(), Failure> {
    let settings = settings(&device)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        let shutdown = until_signal()?;
        let (mut ended, stop) = (Ok(()), shutdown.clone());
        let running = run_device(settings, |event| {
            let shown = show(&device, &mut output, event);
            if !matches!(shown, Ok(ControlFlow::Continue(()))) {
                ended = std::mem::replace(&mut ended, Ok(())).and(shown.map(|_| ()));
                stop.cancel();
            }
        });
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = after(device.seconds) => {}
            never = running => match never {},
        }
        ended
    })
}

fn settings(device: &Device) -> Result<GrpcSettings, Failure> {
    let endpoint = format!("http://{}", device.server).parse().context("the server's address is no URL")?;
    Ok(GrpcSettings {
        endpoint,
        device: device.settings.device,
        key_id: device.settings.key_id,
        key: device.mac_key(),
        boot: device.memory.boot,
        labels: device.labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        bounds: device.settings.bounds,
        order: device.memory.pace,
    })
}

async fn after(seconds: Option<u64>) {
    match seconds {
        Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
        None => std::future::pending().await,
    }
}

fn show(device: &Device, output: &mut Output, event: Told) -> Result<ControlFlow<()>, Failure> {
    let shown = match event {
        Told::Connected => Shown::Connected { local: "grpc".to_owned(), server: device.server.clone() },
        Told::Order { told, taken } => {
            device.keep(&Memory { boot: device.memory.boot, pace: Some(told) })?;
            Shown::Event(Event::Pace(taken))
        }
        Told::Answered { sequence, took, next, .. } => Shown::Event(Event::Acked { sequence, took, tries: 1, next }),
        Told::Ended { error, .. } => Shown::Trouble(trouble(device, &error)),
    };
    output.show(device.settings.device, &shown)
}

/// Where it fails, why, and what to look at where the device itself is at fault.
fn trouble(device: &Device, error: &SessionError) -> String {
    let (server, why) = (&device.server, chain(error));
    match error {
        SessionError::Refused(status) if status.code() == Code::Unauthenticated => {
            format!("{server}: {why}; the key file must hold what `flyball device-key` prints for this id")
        }
        _ => format!("{server}: {why}"),
    }
}
