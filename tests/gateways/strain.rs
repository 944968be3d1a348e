//! Many devices, bad ones, and the end.

use std::time::{Duration, Instant};

use flyball::fleet::grpc::{DRAIN_MAX, GatewaySettings};
use libtest_mimic::Trial;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use crate::peer::{Session, device, hello, pace, settings, start, start_with};
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_thousand_sessions_hear_of_a_change", thousand),
        trial("garbage_on_the_port_costs_a_connection_and_nothing_else", garbage),
        trial("connections_beyond_the_bound_wait_and_are_served_when_one_goes", bounded),
        trial("a_shutdown_ends_streams_soon_and_by_name", shutdown),
        trial("a_shutdown_does_not_wait_for_a_peer_that_reads_nothing", shutdown_unread),
    ]
}

async fn thousand() {
    let peer = start();
    let mut sessions = Vec::new();
    for connection in 0..10_u8 {
        let channel = peer.channel().await;
        for nth in 0..100_u8 {
            let mut id = device(connection);
            id.0[0] = nth;
            let mut session = Session::open(&channel, hello(id, "a")).await.expect("a session");
            session.order().await;
            sessions.push(session);
        }
    }
    assert_eq!(peer.handle.counts().sessions.get(), 1_000);
    peer.publish([pace(101, 60_000); 3]);
    for session in &mut sessions {
        assert_eq!(session.order().await.generation, 101);
    }
    drop(sessions);
    peer.until_open(0).await;
}

async fn garbage() {
    let peer = start();
    let lines: [&[u8]; 5] = [
        b"",
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[0xff; 4_096],
    ];
    for bytes in lines {
        let mut stream = TcpStream::connect(peer.address).await.expect("a connection");
        stream.write_all(bytes).await.expect("written");
        stream.shutdown().await.expect("closed");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    }
    peer.device(1, "a").await.order().await;
    peer.until_connections(0).await;
}

async fn bounded() {
    let peer = start_with(GatewaySettings { connections_max: 1, ..settings() });
    let first = peer.device(1, "a").await;
    let waiting = tokio::spawn({
        let address = peer.address;
        async move {
            let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).expect("a URL");
            let channel = endpoint.connect().await.expect("a connection");
            Session::open(&channel, hello(device(2), "a")).await.expect("a session").order().await
        }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waiting.is_finished());
    drop(first);
    assert_eq!(waiting.await.expect("served").generation, 100);
}

async fn shutdown() {
    let peer = start();
    let mut session = peer.device(1, "a").await;
    session.order().await;
    let begun = Instant::now();
    drop(peer.shutdown);
    assert_eq!(session.end().await.expect("ended").code(), Code::Unavailable);
    peer.running.await.expect("the door ends");
    assert!(begun.elapsed() < DRAIN_MAX, "streams end by themselves: {:?}", begun.elapsed());
    assert_eq!(peer.handle.counts().sessions.get(), 0);
}

async fn shutdown_unread() {
    let peer = start();
    let mut stream = TcpStream::connect(peer.address).await.expect("a connection");
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("written");
    // HEADERS of stream 1 without END_STREAM: POST, http, path "/".
    stream.write_all(b"\0\0\x03\x01\x04\0\0\0\x01\x83\x86\x84").await.expect("written");
    peer.until_connections(1).await;
    let begun = Instant::now();
    drop(peer.shutdown);
    peer.running.await.expect("the door ends");
    assert!(begun.elapsed() < DRAIN_MAX + Duration::from_secs(2), "{:?}", begun.elapsed());
}
