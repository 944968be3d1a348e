//! The device over UDP.

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
use crate::error_chain::chain;

/// Runs until SIGINT, SIGTERM, the end of its time, or until nobody reads.
/// Several devices start one after the other over `start_within`.
pub(super) fn run(devices: Vec<Device>, start_within: Duration, mut output: Output) -> Result<(), Failure> {
    let waits = (0..).map(|number| start_within * number / devices.len() as u32);
    let (mut opened, mut connected) = (Vec::new(), Vec::new());
    for (device, wait) in devices.iter().zip(waits) {
        let machine = Machine::new(device.settings, device.memory, wait);
        let endpoint = Endpoint::new(machine, device.mac_key(), &device.labels);
        let mut udp = UdpDevice::new(endpoint, device.server.clone());
        connected.push(udp.connect().map_err(|trouble| Failure::Runtime(trouble.into()))?);
        opened.push(udp);
    }
    let mut fleet = UdpFleet::new(opened).context("no sockets")?;
    let handle = fleet.handle();
    stop_in_time(handle.clone(), devices.first().and_then(|device| device.seconds))?;
    let mut ended = Ok(());
    let mut tell = |number: usize, event| {
        let told = told(&devices[number], &mut output, event);
        if !matches!(told, Ok(ControlFlow::Continue(()))) {
            ended = std::mem::replace(&mut ended, Ok(())).and(told.map(|_| ()));
            handle.stop();
        }
    };
    connected.into_iter().enumerate().for_each(|(number, event)| tell(number, event));
    fleet.run(tell).context("cannot wait for sockets")?;
    ended
}

fn told(device: &Device, output: &mut Output, event: UdpEvent) -> Result<ControlFlow<()>, Failure> {
    match event {
        UdpEvent::Remember(memory) => device.keep(&memory).map(ControlFlow::Continue),
        UdpEvent::Machine(event) => output.show(device.settings.device, &Shown::Event(event)),
        UdpEvent::Connected { local, server } => {
            let shown = Shown::Connected { local: local.to_string(), server: server.to_string() };
            output.show(device.settings.device, &shown)
        }
        UdpEvent::Trouble(trouble) => output.show(device.settings.device, &Shown::Trouble(chain(&trouble))),
    }
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
