//! A door in this process, the loop's side of it, and devices that talk to it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use flyball::fleet::cohorts::CohortTable;
use flyball::fleet::grpc::{GatewayHandle, GatewayServer, GatewaySettings};
use flyball::fleet::keys::MasterKeys;
use flyball::fleet::wiring::Wiring;
use flyball::keepalive::cohort::{CohortIndex, CohortKey, Labels, Transport};
use flyball::keepalive::observation::{Observation, ObservationKind};
use flyball::keepalive::order::{CohortOrder, DeviceCommand, Orders};
use flyball::keepalive::policy::{Fleet, Fleets};
use flyball::proto::flyball_v1::{
    Ack, Beat, DeviceMessage, Hello, Order, ProbeResult, ServerMessage, device_message, server_message,
};
use flyball::time::Clock;
use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::jitter::Pace;
use flyball_sdk::device::key::{MacKey, derive};
use flyball_sdk::device::session;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

/// Bound on what must happen soon, generous for a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) const KEY_ID: u16 = 7;
pub(crate) const MASTER: [u8; 32] = *b"a master key of thirty-two bytes";

/// A running door. Dropped, it drains.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) orders: Arc<ArcSwap<Orders>>,
    pub(crate) changed: watch::Sender<u64>,
    pub(crate) commands: mpsc::Sender<Vec<DeviceCommand>>,
    pub(crate) cohorts: Arc<CohortTable>,
    pub(crate) handle: GatewayHandle,
    pub(crate) running: JoinHandle<()>,
    pub(crate) shutdown: DropGuard,
    observations: mpsc::Receiver<Vec<Observation>>,
    seen: VecDeque<Observation>,
}

/// Carriers with a cohort each, after the one of unknown devices.
pub(crate) const CARRIERS: [&str; 2] = ["a", "b"];

pub(crate) fn settings() -> GatewaySettings {
    GatewaySettings::on(SocketAddr::from(([127, 0, 0, 1], 0)))
}

/// All cohorts at 80 s, generation 100.
pub(crate) fn start() -> Peer {
    start_with(settings())
}

pub(crate) fn start_with(settings: GatewaySettings) -> Peer {
    let cohorts = Arc::new(CohortTable::new(Arc::new(Fleets { fleets: vec![Arc::new(Fleet::named("gateways"))] })));
    for carrier in CARRIERS {
        cohorts.resolve(&labels(carrier), Transport::Tcp);
    }
    let orders = Arc::new(ArcSwap::from_pointee(orders([pace(100, 80_000); 3])));
    let (changed, changes) = watch::channel(100);
    let (commands, commanded) = mpsc::channel(8);
    let (observe, observations) = mpsc::channel(1_024);
    let wiring = Wiring {
        orders: Arc::clone(&orders),
        changed: changes,
        commands: commanded,
        observations: observe,
        cohorts: Arc::clone(&cohorts),
    };
    let keys = Arc::new(MasterKeys::one(KEY_ID, MASTER));
    let server = GatewayServer::bind(settings, wiring, keys, Clock::start()).expect("a free port");
    let (address, handle, shutdown) = (server.local_addr(), server.handle(), CancellationToken::new());
    let running = tokio::spawn(server.run(shutdown.clone()));
    let shutdown = shutdown.drop_guard();
    let seen = VecDeque::new();
    Peer { address, orders, changed, commands, cohorts, handle, running, shutdown, observations, seen }
}

pub(crate) fn labels(carrier: &str) -> Labels {
    [("carrier", carrier), ("region", "eu")].map(|(k, v)| (k.into(), v.into())).into()
}

pub(crate) fn pace(generation: u64, interval_ms: u64) -> Pace {
    Pace { generation, interval: Duration::from_millis(interval_ms), jitter: 64, retry: 0, is_hostile: false }
}

fn orders<const N: usize>(paces: [Pace; N]) -> Orders {
    let order = |pace: Pace| CohortOrder {
        key: CohortKey { name: "any".into(), transport: Transport::Tcp },
        pace,
        second_ack_after: None,
        tell_silences_from: Duration::from_millis(300),
        tell_beats: None,
    };
    let generation = paces.iter().map(|pace| pace.generation).max().unwrap_or(0);
    Orders { generation, cohorts: paces.into_iter().map(order).map(Arc::new).collect() }
}

impl Peer {
    /// Publishes the paces of the unknown devices, carrier a, carrier b, and whoever came later.
    pub(crate) fn publish<const N: usize>(&self, paces: [Pace; N]) {
        let orders = orders(paces);
        let generation = orders.generation;
        self.orders.store(Arc::new(orders));
        self.changed.send_replace(generation);
    }

    pub(crate) async fn channel(&self) -> Channel {
        channel(self.address).await
    }

    /// The next observation.
    pub(crate) async fn seen(&mut self) -> Observation {
        while self.seen.is_empty() {
            let batch = tokio::time::timeout(SOON, self.observations.recv()).await;
            self.seen.extend(batch.expect("soon").expect("the door runs"));
        }
        self.seen.pop_front().expect("not empty")
    }

    /// What came to the loop and was not looked at, after a round of handing on.
    pub(crate) async fn unseen(&mut self) -> Vec<ObservationKind> {
        let mut rest: Vec<_> = self.seen.drain(..).collect();
        while let Ok(Some(batch)) = tokio::time::timeout(Duration::from_millis(400), self.observations.recv()).await {
            rest.extend(batch);
        }
        rest.into_iter().map(|observation| observation.kind).collect()
    }

    /// A device of this carrier begins a session on a connection of its own.
    pub(crate) async fn device(&self, number: u8, carrier: &str) -> Session {
        let channel = self.channel().await;
        Session::open(&channel, hello(device(number), carrier)).await.expect("a session")
    }

    /// Polls until this many sessions are open.
    pub(crate) async fn until_open(&self, sessions: i64) {
        let counts = self.handle.counts();
        let is_so = async {
            while counts.sessions.get() != sessions {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, is_so).await.expect("soon");
    }

    pub(crate) async fn until_connections(&self, connections: i64) {
        let counts = self.handle.counts();
        let is_so = async {
            while counts.connections.get() != connections {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, is_so).await.expect("soon");
    }

    pub(crate) fn cohort(&self, carrier: &str) -> CohortIndex {
        self.cohorts.resolve(&labels(carrier), Transport::Tcp)
    }
}

pub(crate) async fn channel(server: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{server}")).expect("a URL");
    endpoint.connect().await.expect("a connection")
}

pub(crate) fn device(number: u8) -> DeviceId {
    DeviceId([number; 16])
}

pub(crate) fn key(device: DeviceId) -> MacKey {
    MacKey::new(&derive(&MASTER, KEY_ID, device))
}

/// A hello that is accepted.
pub(crate) fn hello(device: DeviceId, carrier: &str) -> Hello {
    let labels = labels(carrier).iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let token = session::token(&key(device), device, 1).to_vec();
    let (device_id, key_id) = (device.0.to_vec(), u32::from(KEY_ID));
    Hello { device_id, key_id, boot: 1, token, labels, generation: 0, can_probe: true, lost: None }
}

/// The same device in a later boot.
pub(crate) fn booted(hello: Hello, boot: u32) -> Hello {
    let device = DeviceId(hello.device_id.clone().try_into().expect("16 bytes"));
    Hello { boot, token: session::token(&key(device), device, boot).to_vec(), ..hello }
}

/// A device's half of a session.
pub(crate) struct Session {
    out: mpsc::Sender<DeviceMessage>,
    input: Streaming<ServerMessage>,
}

impl Session {
    pub(crate) async fn open(channel: &Channel, hello: Hello) -> Result<Self, Status> {
        Self::open_with(channel, device_message::Kind::Hello(hello)).await
    }

    pub(crate) async fn open_with(channel: &Channel, first: device_message::Kind) -> Result<Self, Status> {
        let (out, messages) = mpsc::channel(64);
        out.try_send(DeviceMessage { kind: Some(first) }).expect("room");
        let mut client = Grpc::new(channel.clone());
        client.ready().await.expect("a connection");
        let path = http::uri::PathAndQuery::from_static("/flyball.v1.Keepalive/Watch");
        let codec = ProstCodec::<DeviceMessage, ServerMessage>::default();
        let request = Request::new(ReceiverStream::new(messages));
        let input = client.streaming(request, path, codec).await?.into_inner();
        Ok(Self { out, input })
    }

    pub(crate) async fn say(&self, kind: device_message::Kind) {
        self.out.send(DeviceMessage { kind: Some(kind) }).await.expect("the connection lives");
    }

    pub(crate) async fn ack(&self, generation: u64) {
        self.say(device_message::Kind::Ack(Ack { generation })).await;
    }

    pub(crate) async fn result(&self, result: ProbeResult) {
        self.say(device_message::Kind::ProbeResult(result)).await;
    }

    /// Beats, and waits for the answer; what else came with it or before.
    pub(crate) async fn beat(&mut self, sequence: u32) -> Vec<server_message::Kind> {
        self.say(device_message::Kind::Beat(Beat { sequence })).await;
        let mut others = Vec::new();
        loop {
            match self.next().await {
                server_message::Kind::BeatAnswer(answer) if answer.sequence == sequence => break,
                other => others.push(other),
            }
        }
        others
    }

    pub(crate) async fn next(&mut self) -> server_message::Kind {
        let message = tokio::time::timeout(SOON, self.input.message()).await.expect("soon");
        message.expect("no error").expect("the stream goes on").kind.expect("a kind that is known")
    }

    /// The next order, acked.
    pub(crate) async fn order(&mut self) -> Order {
        loop {
            if let server_message::Kind::Order(order) = self.next().await {
                self.ack(order.generation).await;
                return order;
            }
        }
    }

    /// Nothing comes for a while.
    pub(crate) async fn is_quiet(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(300), self.input.message()).await.is_err()
    }

    /// How the stream ends; `None` where it does without an error.
    pub(crate) async fn end(&mut self) -> Option<Status> {
        loop {
            match tokio::time::timeout(SOON, self.input.message()).await.expect("soon") {
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(status) => return Some(status),
            }
        }
    }
}
