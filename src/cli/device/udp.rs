//! The device over UDP.

use std::error::Error;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::{Context as _, Error as AnyError};
use flyball_sdk::device::endpoint::Endpoint;
use flyball_sdk::device::machine::Machine;
use flyball_sdk::device::udp::{FleetHandle, UdpDevice, UdpEvent, UdpFleet};

use super::super::Failure;
use super::super::run::until_signal;
use super::Device;
use super::output::{Output, Shown};

/// Runs until SIGINT, SIGTERM, the end of its time, or until nobody reads.
pub(super) fn run(device: Device, mut output: Output) -> Result<(), Failure> {
    let machine = Machine::new(device.settings, device.memory, Duration::ZERO);
    let endpoint = Endpoint::new(machine, device.mac_key(), &device.labels);
    let mut udp = UdpDevice::new(endpoint, device.server.clone());
    let connected = udp.connect().map_err(|trouble| Failure::Runtime(trouble.into()))?;
    let mut fleet = UdpFleet::new(vec![udp]).context("no sockets")?;
    let handle = fleet.handle();
    stop_in_time(handle.clone(), device.seconds)?;
    let mut ended = Ok(());
    let mut tell = |event| {
        let told = told(&device, &mut output, event);
        if !matches!(told, Ok(ControlFlow::Continue(()))) {
            ended = std::mem::replace(&mut ended, Ok(())).and(told.map(|_| ()));
            handle.stop();
        }
    };
    tell(connected);
    fleet.run(|_, event| tell(event)).context("cannot wait for sockets")?;
    ended
}

fn told(device: &Device, output: &mut Output, event: UdpEvent) -> Result<ControlFlow<()>, Failure> {
    match event {
        UdpEvent::Remember(memory) => device.keep(&memory).map(ControlFlow::Continue),
        UdpEvent::Machine(event) => output.show(&Shown::Event(event)),
        UdpEvent::Connected { local, server } => {
            output.show(&Shown::Connected { local: local.to_string(), server: server.to_string() })
        }
        UdpEvent::Trouble(trouble) => output.show(&Shown::Trouble(chain(&trouble))),
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

/// Stops the device at a signal, or after so many seconds; from a thread of its own, which the process's end ends.
fn stop_in_time(handle: FleetHandle, seconds: Option<u64>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let shutdown = runtime.block_on(async { until_signal() })?;
    let wait = async move {
        match seconds {
            None => shutdown.cancelled().await,
            Some(seconds) => {
                let _ = tokio::time::timeout(Duration::from_secs(seconds), shutdown.cancelled()).await;
            }
        }
    };
    let stop = move || {
        runtime.block_on(wait);
        handle.stop();
        // A second signal is to end the process at once, which takes a runtime that runs.
        runtime.block_on(std::future::pending::<()>());
    };
    let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(stop);
    thread.map(|_| ()).map_err(|error| Failure::Runtime(AnyError::from(error).context("no thread")))
}
