//! The push stream.

use std::time::Instant;

use flyball::controller::answer::Strategy;
use flyball::controller::snapshot::Snapshot;
use flyball::proto::flyball_v1;
use flyball::sampling::decision::OPERATIONS_MAX;
use flyball::sampling::probability::Probability;
use flyball::serve::DRAIN_MAX;
use flyball::time::WallTime;
use libtest_mimic::Trial;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::peer::{SOON, snapshot, start, stream};
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("stream_gives_the_strategy_in_force_and_then_each_change", pushes),
        trial("stream_is_silent_while_its_service_does_not_change", silent),
        trial("stream_of_a_service_that_vanishes_gets_a_newer_generation", vanishes),
        trial("stream_refuses_what_cannot_be_a_name", names),
        trial("stream_gives_a_slow_reader_the_newest", slow_reader),
        trial("stream_wakes_a_thousand_watchers", thousand),
        trial("stream_ends_at_drain_with_unavailable", drain),
    ]
}

async fn watch(channel: &Channel, service: &str) -> Result<Streaming<flyball_v1::Strategy>, Status> {
    let request = flyball_v1::WatchRequest { service: service.to_owned(), generation: 0 };
    stream(channel, "/flyball.v1.Sampling/Watch", request).await
}

async fn next(stream: &mut Streaming<flyball_v1::Strategy>) -> flyball_v1::Strategy {
    let message = tokio::time::timeout(SOON, stream.message()).await.expect("soon");
    message.expect("no error").expect("the stream goes on")
}

async fn pushes() {
    let peer = start();
    let mut stream = watch(&peer.channel().await, "checkout").await.expect("a stream");
    let strategy =
        |generation, probability| flyball_v1::Strategy { generation, probability, ..flyball_v1::Strategy::default() };
    assert_eq!(next(&mut stream).await, strategy(1, 0.25));
    for generation in 2..50 {
        let probability = 1.0 / generation as f64;
        peer.published.publish(snapshot(generation, probability));
        assert_eq!(next(&mut stream).await, strategy(generation, probability));
    }
}

async fn silent() {
    let peer = start();
    let mut stream = watch(&peer.channel().await, "checkout").await.expect("a stream");
    next(&mut stream).await;
    for generation in 2..100 {
        peer.published.publish(snapshot(generation, 0.25));
        tokio::task::yield_now().await;
    }
    peer.published.publish(snapshot(100, 0.5));
    assert_eq!(next(&mut stream).await.generation, 100, "equal strategies are not sent again");
}

async fn vanishes() {
    let peer = start();
    let mut stream = watch(&peer.channel().await, "checkout").await.expect("a stream");
    assert_eq!(next(&mut stream).await.generation, 1);
    peer.published.publish(Snapshot::empty(2, WallTime::from_unix_ms(2)));
    let stranger = next(&mut stream).await;
    assert_eq!((stranger.generation, stranger.probability), (2, 0.001));
}

async fn names() {
    let peer = start();
    let channel = peer.channel().await;
    for name in ["", &*"x".repeat(257)] {
        assert_eq!(watch(&channel, name).await.expect_err("refused").code(), Code::InvalidArgument);
    }
    let mut stranger = watch(&channel, &"x".repeat(256)).await.expect("a stream");
    assert_eq!(next(&mut stranger).await.probability, 0.001);
}

async fn slow_reader() {
    let peer = start();
    let channel = peer.endpoint().initial_stream_window_size(65_535).connect().await.expect("a connection");
    let mut stream = watch(&channel, "checkout").await.expect("a stream");
    const CHANGES: u64 = 2000;
    for generation in 2..=CHANGES {
        peer.published.publish(large(generation));
        tokio::task::yield_now().await;
    }
    let mut messages = 1;
    while next(&mut stream).await.generation < CHANGES {
        messages += 1;
    }
    // A strategy has about 10 kB here; what the client's window and the buffers hold, and no more, is old.
    assert!(messages < 100, "{messages} messages of {CHANGES} changes");
}

fn large(generation: u64) -> Snapshot {
    let probability = Probability::new(1.0 / generation as f64).expect("a probability");
    let operations = (0..OPERATIONS_MAX).map(|i| (format!("GET /a/long/operation/{i:04}").into(), probability));
    let strategy = Strategy { operations: operations.collect(), ..Strategy::uniform(probability) };
    Snapshot::empty(generation, WallTime::from_unix_ms(1)).with_answers([("checkout".into(), strategy)])
}

async fn thousand() {
    let peer = start();
    let mut streams = Vec::new();
    for _ in 0..10 {
        let channel = peer.channel().await;
        for _ in 0..100 {
            let mut stream = watch(&channel, "checkout").await.expect("a stream");
            next(&mut stream).await;
            streams.push(stream);
        }
    }
    assert_eq!(peer.metrics.serve_streams.get(), 1000);
    peer.published.publish(snapshot(2, 0.5));
    for stream in &mut streams {
        assert_eq!(next(stream).await.generation, 2);
    }
}

async fn drain() {
    let peer = start();
    let mut stream = watch(&peer.channel().await, "checkout").await.expect("a stream");
    next(&mut stream).await;
    let start = Instant::now();
    drop(peer.shutdown);
    let ended = tokio::time::timeout(SOON, stream.message()).await.expect("soon");
    assert_eq!(ended.expect_err("the stream ends").code(), Code::Unavailable);
    peer.running.await.expect("the server ends");
    assert!(start.elapsed() < DRAIN_MAX, "streams end by themselves: {:?}", start.elapsed());
    assert_eq!(peer.metrics.serve_streams.get(), 0);
}
