//! Clients that cost as little as possible: requests are written as ready bytes, answers are counted and not decoded.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::http2::{self, Came};
use crate::servers::{SERVICES, name};

/// Connections at a time.
const CONNECTIONS: usize = 16;

/// Requests in flight on one gRPC connection.
const STREAMS: usize = 16;

/// What the clients speak.
#[derive(Clone, Copy)]
pub(crate) enum Protocol {
    /// HTTP/1.1 with connections kept, one request at a time on each.
    Http,
    /// gRPC over HTTP/2, several streams on each connection.
    Grpc,
}

/// One stretch of load.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) protocol: Protocol,
    pub(crate) address: SocketAddr,
    pub(crate) length: Duration,
}

/// How much was answered.
pub(crate) struct Done {
    pub(crate) requests: u64,
    pub(crate) took: Duration,
}

/// Time for `connections` new connections, one request each, at most `in_flight` waiting at a time.
pub(crate) fn burst(address: SocketAddr, connections: usize, in_flight: usize) -> Duration {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (start, room) = (Instant::now(), Arc::new(Semaphore::new(in_flight)));
        let mut asking = JoinSet::new();
        for i in 0..connections {
            let slot = Arc::clone(&room).acquire_owned().await.expect("never closed");
            asking.spawn(async move {
                let mut stream = TcpStream::connect(address).await.expect("the server listens");
                stream.write_all(&http_request(i)).await.expect("written");
                let mut head = [0; 12];
                stream.read_exact(&mut head).await.expect("answered");
                assert_eq!(&head, b"HTTP/1.1 200");
                drop(slot);
            });
        }
        asking.join_all().await;
        start.elapsed()
    })
}

impl Load {
    /// Runs it on this thread.
    pub(crate) fn run(self) -> Done {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let start = Instant::now();
            let clients: Vec<_> = (0..CONNECTIONS).map(|i| tokio::spawn(self.client(i, start + self.length))).collect();
            let mut requests = 0;
            for client in clients {
                requests += client.await.expect("a client does not panic");
            }
            Done { requests, took: start.elapsed() }
        })
    }

    async fn client(self, first: usize, end: Instant) -> u64 {
        let stream = TcpStream::connect(self.address).await.expect("the server listens");
        stream.set_nodelay(true).expect("a socket option");
        match self.protocol {
            Protocol::Http => http(stream, first, end).await,
            Protocol::Grpc => grpc(stream, first, end).await,
        }
    }
}

async fn http(mut stream: TcpStream, first: usize, end: Instant) -> u64 {
    let requests: Vec<Vec<u8>> = (first..first + SERVICES).map(http_request).collect();
    let mut answer = vec![0; 64 * 1024];
    let mut answered = 0;
    let mut answer_bytes = None;
    while Instant::now() < end {
        stream.write_all(&requests[answered % SERVICES]).await.expect("written");
        let mut read = 0;
        while answer_bytes.is_none_or(|all| read < all) {
            read += stream.read(&mut answer[read..]).await.expect("answered");
            answer_bytes = answer_bytes.or_else(|| length(&answer[..read]));
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "every answer is 200");
        answered += 1;
    }
    answered as u64
}

fn http_request(i: usize) -> Vec<u8> {
    format!("GET /sampling?service={} HTTP/1.1\r\nhost: localhost\r\n\r\n", name(i % SERVICES)).into_bytes()
}

/// Bytes of a whole answer, once its head is there. All answers are equally long.
fn length(answer: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(answer).expect("ASCII");
    let head = text.find("\r\n\r\n")? + 4;
    let (_, rest) = text[..head].split_once("content-length: ").expect("a length");
    let body: usize = rest.split("\r\n").next().and_then(|n| n.parse().ok()).expect("a number");
    Some(head + body)
}

async fn grpc(mut stream: TcpStream, first: usize, end: Instant) -> u64 {
    let mut out = http2::preface();
    let head = http2::head("/jaeger.api_v2.SamplingManager/GetSamplingStrategy");
    let (mut next, mut answered, mut in_flight) = (0_usize, 0, 0);
    let (mut input, mut filled) = (vec![0; 256 * 1024], 0);
    loop {
        while in_flight < STREAMS && Instant::now() < end {
            request(&mut out, &head, next, first + next);
            (next, in_flight) = (next + 1, in_flight + 1);
        }
        if in_flight == 0 {
            return answered;
        }
        stream.write_all(&out).await.expect("written");
        out.clear();
        let read = stream.read(&mut input[filled..]).await.expect("answered");
        assert!(read > 0, "the server keeps the connection");
        filled += read;
        let mut ended = 0;
        let used = http2::take(&input[..filled], &mut out, |came, _| ended += usize::from(matches!(came, Came::End)));
        input.copy_within(used..filled, 0);
        filled -= used;
        answered += ended as u64;
        in_flight -= ended;
    }
}

fn request(out: &mut Vec<u8>, head: &[u8], nth: usize, service: usize) {
    let stream = u32::try_from(2 * nth + 1).expect("few enough requests");
    http2::open(out, stream, head);
    let name = name(service % SERVICES);
    let length = u8::try_from(name.len()).expect("a short name");
    http2::message(out, stream, true, &[&[0x0a, length], name.as_bytes()].concat());
}
