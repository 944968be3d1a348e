//! All gateways on one thread: each opens its session, notes when an order arrives, and acks it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use flyball::proto::flyball_v1::{Ack, DeviceMessage, Hello, ServerMessage, device_message, server_message};
use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::key::{MacKey, derive};
use flyball_sdk::device::session::token;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::now;
use crate::fleet::MASTER;
use crate::http2::{self, Came};

/// A gateway's ack comes over a carrier's network, and not within the microseconds of a loopback.
const ACK_AFTER: Duration = Duration::from_millis(100);

/// What a device was told, and when.
type Told = (u64, Duration);

pub(super) struct Clients {
    runtime: Runtime,
    server: SocketAddr,
    tell: mpsc::UnboundedSender<Told>,
    told: mpsc::UnboundedReceiver<Told>,
}

impl Clients {
    pub(super) fn new(server: SocketAddr) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (tell, told) = mpsc::unbounded_channel();
        Self { runtime, server, tell, told }
    }

    /// A connection with a session for each of these devices.
    pub(super) fn open(&self, numbers: &[usize]) {
        let (server, tell) = (self.server, self.tell.clone());
        self.runtime.block_on(async {
            let mut stream = TcpStream::connect(server).await.expect("the server listens");
            stream.set_nodelay(true).expect("an option");
            let (mut out, head) = (http2::preface(), http2::head("/flyball.v1.Keepalive/Watch"));
            for (nth, number) in numbers.iter().enumerate() {
                let stream = u32::try_from(2 * nth + 1).expect("few streams");
                http2::open(&mut out, stream, &head);
                say(&mut out, stream, device_message::Kind::Hello(hello(*number)));
            }
            stream.write_all(&out).await.expect("written");
            tokio::spawn(follow(stream, tell));
        });
    }

    /// When each of `count` sessions received this generation.
    pub(super) fn arrivals(&mut self, generation: u64, count: usize) -> Vec<Duration> {
        let Self { runtime, told, .. } = self;
        runtime.block_on(async {
            let mut came = Vec::with_capacity(count);
            while came.len() < count {
                let (of, at) = told.recv().await.expect("the connections live");
                if of == generation {
                    came.push(at);
                }
            }
            came
        })
    }

    /// Lets what is under way come to its end.
    pub(super) fn rest(&self, pause: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(pause).await });
    }
}

async fn follow(mut stream: TcpStream, tell: mpsc::UnboundedSender<Told>) {
    let (mut input, mut out, mut ack_at) = (Vec::with_capacity(4_096), Vec::new(), None);
    loop {
        let acks = async {
            sleep_until(ack_at?).await;
            Some(())
        };
        tokio::select! {
            read = stream.read_buf(&mut input) => {
                if !matches!(read, Ok(1..)) {
                    return;
                }
            }
            Some(()) = acks => {
                if stream.write_all(&out).await.is_err() {
                    return;
                }
                out.clear();
                ack_at = None;
                continue;
            }
        }
        let at = now();
        let used = http2::take(&input, &mut out, |came, out| {
            let Came::Message(stream, bytes) = came else { panic!("the session ended") };
            let generation = order(bytes);
            // Whoever counted has ended.
            let _ = tell.send((generation, at));
            say(out, stream, device_message::Kind::Ack(Ack { generation }));
        });
        input.drain(..used);
        ack_at = ack_at.or(Some(Instant::now() + ACK_AFTER));
    }
}

fn order(bytes: &[u8]) -> u64 {
    let message = ServerMessage::decode(bytes).expect("one message a frame");
    let Some(server_message::Kind::Order(order)) = message.kind else { panic!("an order: {message:?}") };
    order.generation
}

fn say(out: &mut Vec<u8>, stream: u32, kind: device_message::Kind) {
    http2::message(out, stream, false, &DeviceMessage { kind: Some(kind) }.encode_to_vec());
}

fn hello(number: usize) -> Hello {
    let device = DeviceId((number as u128 + 1).to_be_bytes());
    let token = token(&MacKey::new(&derive(&MASTER, 1, device)), device, 1).to_vec();
    let labels = BTreeMap::from([("carrier", "a"), ("region", "eu-west"), ("model", "gateway-3")]);
    let labels = labels.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    Hello { device_id: device.0.to_vec(), key_id: 1, boot: 1, token, labels, ..Hello::default() }
}
