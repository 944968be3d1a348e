//! Who may begin a session.

use std::sync::Arc;

use flyball::document::SourceFile;
use flyball::fleet::grpc::{GatewaySettings, RefusedLabels};
use flyball::fleet::keys::MasterKeys;
use flyball::fleet::prefixes::PrefixTable;
use flyball::keepalive::observation::ObservationKind;
use flyball::monitor::prefixes::Prefixes;
use flyball::proto::flyball_v1::{Ack, Hello, device_message};
use http_body_util::{BodyExt, Full};
use libtest_mimic::Trial;
use tonic::Code;
use tonic::transport::Channel;
use tower::ServiceExt;

use crate::peer::{Session, booted, device, hello, settings, start, start_with};
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_hello_is_answered_with_the_order_of_its_cohort", order_of_its_cohort),
        trial("what_a_device_does_not_say_is_told_by_its_address", prefixes),
        trial("a_hello_is_refused_by_each_reason_and_leaves_nothing", refused_by_reason),
        trial("what_is_no_message_is_refused_by_name", no_message),
        trial("the_latest_session_of_a_device_wins", latest_wins),
        trial("an_older_boot_is_refused", stale_boot),
        trial("one_device_too_many_is_refused_and_a_known_one_is_not", full),
        trial("a_key_that_is_taken_out_ends_its_sessions", retired_key),
        trial("a_device_that_comes_again_is_not_told_as_present_again", present_once),
    ]
}

async fn order_of_its_cohort() {
    let mut peer = start();
    let mut session = peer.device(1, "a").await;
    let order = session.order().await;
    assert_eq!((order.generation, order.interval_ms, order.jitter_256ths, order.retry_ms), (100, 80_000, 64, 3_000));
    let seen = peer.seen().await;
    assert_eq!(seen.cohort, peer.cohort("a"));
    assert_eq!(seen.kind, ObservationKind::Present { device: device(1), can_probe: true, has_own: false });
}

async fn prefixes() {
    let mut peer = start();
    let text = "prefix,carrier,region\n127.0.0.0/8,b,eu\n".to_owned();
    let file = Arc::new(SourceFile { path: "prefixes.csv".into(), text });
    let table = PrefixTable::new(&Prefixes::parse(&file).expect("valid"));
    peer.handle.set_prefixes(Arc::new(table));
    let channel = peer.channel().await;
    let says_nothing = Hello { labels: Default::default(), ..hello(device(1), "a") };
    Session::open(&channel, says_nothing).await.expect("a session").order().await;
    assert_eq!(peer.seen().await.cohort, peer.cohort("b"));
    Session::open(&channel, hello(device(2), "a")).await.expect("a session").order().await;
    assert_eq!(peer.seen().await.cohort, peer.cohort("a"), "what it says counts");
}

/// What is wrong with a hello, how it is refused, and under which name it is counted.
fn wrong() -> Vec<(Hello, Code, &'static str)> {
    let right = || hello(device(1), "a");
    let many = (0..17).map(|i| (i.to_string(), "x".to_owned())).collect();
    let long = [("carrier".to_owned(), "x".repeat(65))].into();
    vec![
        (Hello { token: vec![0; 16], ..right() }, Code::Unauthenticated, "token"),
        (Hello { token: right().token[..15].to_vec(), ..right() }, Code::Unauthenticated, "token"),
        (Hello { token: Vec::new(), ..right() }, Code::Unauthenticated, "token"),
        (Hello { boot: 2, ..right() }, Code::Unauthenticated, "token"),
        (Hello { device_id: vec![2; 16], ..right() }, Code::Unauthenticated, "token"),
        (Hello { key_id: 8, ..right() }, Code::Unauthenticated, "key_id"),
        (Hello { key_id: 7 + (1 << 16), ..right() }, Code::Unauthenticated, "key_id"),
        (Hello { device_id: vec![1; 15], ..right() }, Code::InvalidArgument, "invalid"),
        (Hello { device_id: Vec::new(), ..right() }, Code::InvalidArgument, "invalid"),
        (Hello { labels: many, ..right() }, Code::InvalidArgument, "invalid"),
        (Hello { labels: long, ..right() }, Code::InvalidArgument, "invalid"),
        (Hello { labels: [(String::new(), "x".to_owned())].into(), ..right() }, Code::InvalidArgument, "invalid"),
        (Hello { labels: [("a".to_owned(), "x\ny".to_owned())].into(), ..right() }, Code::InvalidArgument, "invalid"),
        (Hello { token: vec![0; 2_048], ..right() }, Code::ResourceExhausted, "malformed"),
    ]
}

async fn refused_by_reason() {
    let mut peer = start();
    let channel = peer.channel().await;
    let counted = |reason| peer.handle.counts().refused.get_or_create(&RefusedLabels { reason }).get();
    for (hello, code, reason) in wrong() {
        let before = counted(reason);
        let refused = Session::open(&channel, hello.clone()).await.map(drop).expect_err("refused");
        assert_eq!((refused.code(), counted(reason)), (code, before + 1), "{hello:?}");
    }
    let first = device_message::Kind::Ack(Ack { generation: 1 });
    let refused = Session::open_with(&channel, first).await.map(drop).expect_err("an ack is no hello");
    assert_eq!(refused.code(), Code::InvalidArgument);
    let mut session = Session::open(&channel, hello(device(1), "a")).await.expect("a session");
    session.say(device_message::Kind::Hello(hello(device(1), "a"))).await;
    assert_eq!(session.end().await.expect("two hellos").code(), Code::InvalidArgument);
    assert_eq!(peer.unseen().await, [ObservationKind::Present { device: device(1), can_probe: true, has_own: false }]);
}

/// Posts any bytes as a gRPC request; its status.
async fn post(channel: &Channel, path: &str, content: &str, bytes: &'static [u8]) -> Code {
    let body = tonic::body::Body::new(Full::from(bytes).map_err(|never| match never {}));
    let request = http::Request::post(path).header("content-type", content).body(body).expect("a request");
    let (parts, body) = channel.clone().oneshot(request).await.expect("an answer").into_parts();
    let trailers = body.collect().await.expect("a whole answer").trailers().cloned().unwrap_or_default();
    let status = parts.headers.get("grpc-status").or(trailers.get("grpc-status")).expect("a status");
    Code::from_bytes(status.as_bytes())
}

async fn no_message() {
    let peer = start();
    let channel = peer.channel().await;
    const WATCH: &str = "/flyball.v1.Keepalive/Watch";
    for (path, content, bytes, code) in [
        (WATCH, "application/grpc", &b""[..], Code::InvalidArgument),
        (WATCH, "application/grpc", b"\0\0\0\0\x09\x0a", Code::InvalidArgument),
        (WATCH, "application/grpc", b"\0\0\0\0\x02\xff\xff", Code::InvalidArgument),
        (WATCH, "application/grpc", b"\0\0\0\0\0", Code::InvalidArgument),
        (WATCH, "application/grpc", b"\x01\0\0\0\x02\x0a\0", Code::Unimplemented),
        (WATCH, "application/grpc", b"\0\xff\xff\xff\xff\x0a\0", Code::ResourceExhausted),
        (WATCH, "application/json", b"{}", Code::InvalidArgument),
        ("/flyball.v1.Keepalive/Other", "application/grpc", b"", Code::Unimplemented),
    ] {
        assert_eq!(post(&channel, path, content, bytes).await, code, "{path} {content} {bytes:?}");
    }
    peer.until_open(0).await;
}

async fn latest_wins() {
    let peer = start();
    let mut older = peer.device(1, "a").await;
    older.order().await;
    let mut newer = peer.device(1, "a").await;
    newer.order().await;
    assert_eq!(older.end().await.expect("ended").code(), Code::Aborted);
    peer.publish([crate::peer::pace(101, 60_000); 3]);
    assert_eq!(newer.order().await.generation, 101);
    peer.until_open(1).await;
}

async fn stale_boot() {
    let peer = start();
    let channel = peer.channel().await;
    let mut session = Session::open(&channel, booted(hello(device(1), "a"), 5)).await.expect("a session");
    session.order().await;
    let stolen = Session::open(&channel, booted(hello(device(1), "a"), 4)).await.map(drop).expect_err("refused");
    assert_eq!(stolen.code(), Code::Unauthenticated);
    assert!(session.is_quiet().await, "the true session goes on");
    Session::open(&channel, booted(hello(device(1), "a"), 6)).await.expect("a later boot");
}

async fn full() {
    let peer = start_with(GatewaySettings { sessions_max: 2, ..settings() });
    let [mut first, _second] = [peer.device(1, "a").await, peer.device(2, "a").await];
    first.order().await;
    let channel = peer.channel().await;
    let refused = Session::open(&channel, hello(device(3), "a")).await.map(drop).expect_err("refused");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let mut again = Session::open(&channel, hello(device(1), "a")).await.expect("a session");
    again.order().await;
}

async fn retired_key() {
    let peer = start();
    let mut session = peer.device(1, "a").await;
    session.order().await;
    peer.handle.set_keys(Arc::new(MasterKeys::one(8, [9; 32])));
    assert_eq!(session.end().await.expect("ended").code(), Code::Unauthenticated);
    let channel = peer.channel().await;
    let refused = Session::open(&channel, hello(device(1), "a")).await.map(drop).expect_err("refused");
    assert_eq!(refused.code(), Code::Unauthenticated);
}

async fn present_once() {
    let mut peer = start();
    for _ in 0..3 {
        peer.device(1, "a").await.order().await;
    }
    peer.device(1, "b").await.order().await;
    let present = ObservationKind::Present { device: device(1), can_probe: true, has_own: false };
    assert_eq!(peer.unseen().await, [present, present], "in one cohort, and in another");
}
