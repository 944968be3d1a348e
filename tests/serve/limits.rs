//! Clients that mean no good, or are broken.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flyball::config::ServeConfig;
use flyball::proto::jaeger::{SamplingStrategyParameters, SamplingStrategyResponse};
use flyball::serve::{DRAIN_MAX, Server};
use flyball::telemetry::metrics::Metrics;
use libtest_mimic::Trial;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::peer::{Peer, call, config, read_answer, start, start_with};
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("limits_ten_thousand_strangers_leave_no_trace", strangers),
        trial("limits_slow_clients_block_nobody", slow_clients),
        trial("limits_connections_wait_for_a_slot_on_every_port", slots),
        trial("limits_garbage_ends_its_own_connection_only", garbage),
        trial("limits_rapid_resets_end_their_own_connection_only", resets),
        trial("limits_drain_cuts_what_does_not_end", drain),
        trial("limits_a_taken_port_is_named", taken_port),
    ]
}

async fn strangers() {
    let peer = start();
    let before = peer.published.load_full();
    let mut stream = TcpStream::connect(peer.addresses.http).await.expect("a connection");
    let channel = peer.channel().await;
    let mut answer = vec![0; 4096];
    for i in 0..10_000 {
        let request = format!("GET /sampling?service=stranger-{i} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("written");
        let read = stream.read(&mut answer).await.expect("answered");
        assert!(answer[..read].starts_with(b"HTTP/1.1 200"));
        if i % 20 == 0 {
            let asked = SamplingStrategyParameters { service_name: format!("stranger-{i}") };
            let path = "/jaeger.api_v2.SamplingManager/GetSamplingStrategy";
            call::<_, SamplingStrategyResponse>(&channel, path, asked).await.expect("answered");
        }
    }
    assert!(Arc::ptr_eq(&before, &peer.published.load_full()), "asking publishes nothing");
    assert!(before.usage.is_empty() && !before.knows("stranger-1"));
    let exposed = exposition(&peer.metrics);
    assert!(exposed.contains("outcome=\"stranger\"} 10000\n"), "{exposed}");
    assert!(!exposed.contains("stranger-"), "no label has a client's word: {exposed}");
}

fn exposition(metrics: &Metrics) -> String {
    let (mut registry, mut text) = (Registry::default(), String::new());
    metrics.register(&mut registry);
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("a string grows");
    text
}

async fn slow_clients() {
    let peer = start();
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut http = TcpStream::connect(peer.addresses.http).await.expect("a connection");
        http.write_all(b"GET /sampling?service=che").await.expect("written");
        let mut grpc = TcpStream::connect(peer.addresses.grpc[0]).await.expect("a connection");
        grpc.write_all(b"PRI * HTTP/2.0\r\n").await.expect("written");
        slow.push((http, grpc));
    }
    assert_eq!(peer.get("/?service=checkout").await.status, 200);
    let asked = SamplingStrategyParameters { service_name: "checkout".to_owned() };
    let path = "/jaeger.api_v2.SamplingManager/GetSamplingStrategy";
    call::<_, SamplingStrategyResponse>(&peer.channel().await, path, asked).await.expect("answered");
    // The slow ones are still served, once they have said what they want.
    let (http, _) = &mut slow[0];
    http.write_all(b"ckout HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.expect("written");
    assert!(read_answer(http).await.body.contains("0.25"));
}

async fn slots() {
    let peer = start_with(config(2));
    let held = [connect(&peer).await, connect(&peer).await];
    let mut waiting = TcpStream::connect(peer.addresses.http).await.expect("the kernel's queue takes it");
    waiting.write_all(b"GET /?service=checkout HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("written");
    let early = tokio::time::timeout(Duration::from_millis(300), waiting.read_u8()).await;
    assert!(early.is_err(), "two connections are taken");
    drop(held);
    let answer = read_answer(&mut waiting).await;
    assert_eq!(answer.status, 200);
}

/// A gRPC connection that the server has accepted: it sent its settings.
async fn connect(peer: &Peer) -> TcpStream {
    let mut stream = TcpStream::connect(peer.addresses.grpc[1]).await.expect("a connection");
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("written");
    stream.read_u8().await.expect("settings");
    stream
}

async fn garbage() {
    let peer = start();
    let junk: [&[u8]; 5] = [
        b"\0\0\0\0\0\0\0\0\0\0",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"\r\n\r\n\r\n",
        b"GET",
        &[0xff; 70_000],
    ];
    for address in [peer.addresses.http, peer.addresses.grpc[0]] {
        for bytes in junk {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            let _ = stream.write_all(bytes).await;
            let _ = stream.shutdown().await;
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            assert!(!rest.starts_with(b"HTTP/1.1 200"), "{bytes:?}");
        }
    }
    // HTTP/1 to the gRPC port and HTTP/2 to the HTTP port.
    let mut stream = TcpStream::connect(peer.addresses.grpc[0]).await.expect("a connection");
    stream.write_all(b"GET /?service=checkout HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("written");
    let _ = stream.read_to_end(&mut Vec::new()).await;
    assert_ne!(peer.http("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.status, 200);
    assert_eq!(peer.get("/?service=checkout").await.status, 200);
    peer.channel().await;
}

async fn resets() {
    let peer = start();
    let mut stream = connect(&peer).await;
    let mut flood = Vec::new();
    for nth in 0..10_000_u32 {
        let id = (2 * nth + 1).to_be_bytes();
        flood.extend_from_slice(b"\0\0\x03\x01\x04");
        flood.extend_from_slice(&id);
        flood.extend_from_slice(b"\x83\x86\x84"); // POST, http, /
        flood.extend_from_slice(b"\0\0\x04\x03\0");
        flood.extend_from_slice(&id);
        flood.extend_from_slice(b"\0\0\0\x08"); // CANCEL
    }
    let _ = stream.write_all(&flood).await;
    let ended = tokio::time::timeout(crate::peer::SOON, stream.read_to_end(&mut Vec::new())).await;
    assert!(ended.is_ok(), "the connection is ended");
    assert_eq!(peer.get("/?service=checkout").await.status, 200);
    peer.channel().await;
}

async fn drain() {
    let peer = start();
    let mut stuck = TcpStream::connect(peer.addresses.http).await.expect("a connection");
    stuck.write_all(b"GET /").await.expect("written");
    let idle = connect(&peer).await;
    let start = Instant::now();
    drop(peer.shutdown);
    peer.running.await.expect("the server ends");
    let took = start.elapsed();
    assert!(took < DRAIN_MAX + Duration::from_secs(2), "{took:?}");
    assert_eq!(stuck.read(&mut [0; 16]).await.unwrap_or(0), 0);
    assert!(TcpStream::connect(peer.addresses.http).await.is_err(), "nobody listens any more");
    drop(idle);
}

async fn taken_port() {
    let peer = start();
    let config = ServeConfig { grpc: vec![peer.addresses.grpc[1]], ..config(10) };
    let (sender, _usage) = mpsc::channel(1);
    let error = Server::bind(&config, Arc::clone(&peer.published), Metrics::default(), sender).expect_err("taken");
    let text = error.to_string();
    assert!(text.contains(&peer.addresses.grpc[1].to_string()) && text.contains("serve.grpc"), "{text}");
    assert!(text.contains("another program"), "{text}");
}
