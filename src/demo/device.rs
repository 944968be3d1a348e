//! A device of the demo: the SDK's machine, driven over real sockets.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flyball_sdk::device::endpoint::Endpoint;
use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::key::MacKey;
use flyball_sdk::device::machine::{Bounds, Flow, Machine, Memory, Output, Settings};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Datagrams that wait for the machine.
const ARRIVED_QUEUE: usize = 64;
const DATAGRAM_MAX_BYTES: usize = 2_048;

/// What is known of a device from outside.
#[derive(Debug)]
pub(crate) struct Device {
    /// Its main socket.
    pub(crate) address: SocketAddr,
    /// Datagrams that it sent, tests included.
    pub(crate) sent: AtomicU64,
    /// The shortest time between two of its beats, in milliseconds.
    pub(crate) interval_ms: AtomicU64,
}

/// Sockets, and what came over them.
struct Wires {
    to: SocketAddr,
    flows: [Option<(Arc<UdpSocket>, AbortHandle)>; Flow::COUNT],
    arrived: mpsc::Sender<(Flow, Vec<u8>)>,
}

impl Device {
    /// Begins to beat towards `to`, until `shutdown`.
    pub(crate) async fn start(
        id: DeviceId,
        (key_id, key): (u16, MacKey),
        bounds: Bounds,
        to: SocketAddr,
        shutdown: CancellationToken,
    ) -> io::Result<Arc<Self>> {
        let (arrived, inbox) = mpsc::channel(ARRIVED_QUEUE);
        let mut wires = Wires { to, flows: [const { None }; Flow::COUNT], arrived };
        let address = wires.open(Flow::MAIN).await?;
        let mut settings = Settings { bounds, ..Settings::new(id, key_id) };
        settings.initial.interval = bounds.min();
        let device = Arc::new(Self { address, sent: AtomicU64::new(0), interval_ms: AtomicU64::new(0) });
        let endpoint = Endpoint::new(Machine::new(settings, Memory { boot: 1, pace: None }, Duration::ZERO), key, "");
        let running = Arc::clone(&device).run(endpoint, wires, inbox);
        tokio::spawn(async move { shutdown.run_until_cancelled(running).await });
        Ok(device)
    }

    async fn run(
        self: Arc<Self>,
        mut endpoint: Endpoint,
        mut wires: Wires,
        mut inbox: mpsc::Receiver<(Flow, Vec<u8>)>,
    ) {
        let (start, mut out) = (Instant::now(), Vec::new());
        loop {
            let deadline = start + endpoint.machine.deadline();
            tokio::select! {
                Some((flow, bytes)) = inbox.recv() => {
                    // What is not authentic changed nothing.
                    let _ = endpoint.receive(start.elapsed(), flow, &bytes, &mut out);
                }
                () = tokio::time::sleep_until(deadline) => endpoint.machine.timeout(start.elapsed(), &mut out),
            }
            for output in out.drain(..) {
                self.carry_out(&endpoint, &mut wires, output).await;
            }
            let interval = endpoint.machine.pace().interval.as_millis();
            self.interval_ms.store(u64::try_from(interval).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    async fn carry_out(&self, endpoint: &Endpoint, wires: &mut Wires, output: Output) {
        match output {
            Output::Open(flow) => {
                // Without a socket the test ends as lost.
                let _ = wires.open(flow).await;
            }
            Output::Send { flow, message } => {
                let mut bytes = Vec::new();
                endpoint.seal(&message, &mut bytes);
                wires.send(flow, &bytes).await;
                self.sent.fetch_add(1, Ordering::Relaxed);
            }
            Output::Close(flow) => wires.close(flow),
            Output::Remember(_) | Output::Event(_) => {}
        }
    }
}

impl Wires {
    async fn open(&mut self, flow: Flow) -> io::Result<SocketAddr> {
        self.close(flow);
        let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?);
        let address = socket.local_addr()?;
        let (reader, arrived) = (Arc::clone(&socket), self.arrived.clone());
        let reading = tokio::spawn(async move {
            let mut bytes = [0; DATAGRAM_MAX_BYTES];
            loop {
                if let Ok((length, _)) = reader.recv_from(&mut bytes).await {
                    let _ = arrived.send((flow, bytes[..length].to_vec())).await;
                }
            }
        });
        self.flows[flow.number()] = Some((socket, reading.abort_handle()));
        Ok(address)
    }

    async fn send(&self, flow: Flow, bytes: &[u8]) {
        if let Some((socket, _)) = &self.flows[flow.number()] {
            let _ = socket.send_to(bytes, self.to).await;
        }
    }

    fn close(&mut self, flow: Flow) {
        if let Some((_, reading)) = self.flows[flow.number()].take() {
            reading.abort();
        }
    }
}

impl Drop for Wires {
    fn drop(&mut self) {
        self.flows.iter().flatten().for_each(|(_, reading)| reading.abort());
    }
}
