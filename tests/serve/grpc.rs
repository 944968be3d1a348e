//! The gRPC answer, health, and what is refused.

use flyball::proto::flyball_v1::{UsageReply, UsageReport};
use flyball::proto::jaeger::{SamplingStrategyParameters, SamplingStrategyResponse};
use libtest_mimic::Trial;
use tonic::Code;
use tonic::client::Grpc;
use tonic::codec::CompressionEncoding;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_prost::ProstCodec;

use crate::peer::{SOON, call, post, start};
use crate::trial;

const GET: &str = "/jaeger.api_v2.SamplingManager/GetSamplingStrategy";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("grpc_answers_known_services_and_strangers_on_every_address", answers),
        trial("grpc_refuses_malformed_requests_with_the_right_status", malformed),
        trial("grpc_refuses_compressed_requests_and_says_what_it_takes", compressed),
        trial("grpc_knows_no_other_method", unknown_methods),
        trial("grpc_health_reports_every_service", health),
        trial("grpc_report_reaches_the_door_within_bounds", reports),
    ]
}

async fn ask(channel: &tonic::transport::Channel, name: &str) -> SamplingStrategyResponse {
    call(channel, GET, SamplingStrategyParameters { service_name: name.to_owned() }).await.expect("answered")
}

async fn answers() {
    let peer = start();
    for address in &peer.addresses.grpc {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).expect("a URL");
        let channel = endpoint.connect().await.expect("a connection");
        for (name, rate) in [("checkout", 0.25), ("nobody", 0.001), ("", 0.001), (&*"x".repeat(1000), 0.001)] {
            let answer = ask(&channel, name).await;
            assert_eq!(answer.strategy_type, 0);
            assert_eq!(answer.probabilistic_sampling.map(|p| p.sampling_rate), Some(rate), "{name}");
            assert_eq!((answer.rate_limiting_sampling, answer.operation_sampling), (None, None));
        }
    }
}

async fn malformed() {
    let peer = start();
    let channel = peer.channel().await;
    let framed = |length: u32, bytes: &[u8]| [&[0][..], &length.to_be_bytes(), bytes].concat();
    let cases = [
        (Vec::new(), Code::InvalidArgument),
        (vec![0, 0, 0], Code::InvalidArgument),
        (framed(9, b"short"), Code::InvalidArgument),
        (framed(3, b"\x0a\x01\xff"), Code::InvalidArgument), // not UTF-8
        (framed(2, b"\x0a\x7f"), Code::InvalidArgument),     // a string longer than the message
        (framed(0, b"\0\0\0\0\0"), Code::Unimplemented),     // two messages
        (framed(u32::MAX, b""), Code::ResourceExhausted),
        (framed(5000, &[0; 5000]), Code::ResourceExhausted),
        (framed(0, b""), Code::Ok), // a message without its field: the empty name
    ];
    for (body, code) in cases {
        let what = format!("{body:?}");
        assert_eq!(post(&channel, GET, body).await.0, code as i32, "{what}");
    }
}

async fn compressed() {
    let peer = start();
    let mut client = Grpc::new(peer.channel().await).send_compressed(CompressionEncoding::Gzip);
    client.ready().await.expect("a connection");
    let message = tonic::Request::new(SamplingStrategyParameters { service_name: "checkout".to_owned() });
    let codec = ProstCodec::<_, SamplingStrategyResponse>::default();
    let refused = client.unary(message, http::uri::PathAndQuery::from_static(GET), codec).await.expect_err("refused");
    assert_eq!(refused.code(), Code::Unimplemented);
    let accepted = refused.metadata().get("grpc-accept-encoding").expect("what it takes");
    assert_eq!(accepted, "identity");
}

async fn unknown_methods() {
    let peer = start();
    let channel = peer.channel().await;
    for path in ["/jaeger.api_v2.SamplingManager/Other", "/other.Service/Get", "/flyball.v1.Sampling/"] {
        assert_eq!(post(&channel, path, vec![0; 5]).await.0, Code::Unimplemented as i32, "{path}");
    }
}

async fn health() {
    let peer = start();
    let mut client = HealthClient::new(peer.channel().await);
    for service in ["", "jaeger.api_v2.SamplingManager", "flyball.v1.Sampling"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = client.check(request).await.expect("answered").into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    let nobody = client.check(HealthCheckRequest { service: "nobody".to_owned() }).await;
    assert_eq!(nobody.expect_err("unknown").code(), Code::NotFound);
    let request = HealthCheckRequest { service: "flyball.v1.Sampling".to_owned() };
    let mut watch = client.watch(request).await.expect("a stream").into_inner();
    assert_eq!(watch.message().await.expect("a status").expect("one").status(), ServingStatus::Serving);
    drop(peer.shutdown);
    assert_eq!(watch.message().await.expect("a status").expect("one").status(), ServingStatus::NotServing);
}

async fn reports() {
    let mut peer = start();
    let channel = peer.channel().await;
    let send = async |service: &str, matched: Vec<String>, unlisted: Vec<String>| {
        let report = UsageReport { service: service.to_owned(), matched, unlisted };
        call::<_, UsageReply>(&channel, "/flyball.v1.Sampling/Report", report).await
    };
    let many = |n: usize| (0..n).map(|i| format!("operation {i}")).collect::<Vec<_>>();
    send("nobody", many(1), many(1)).await.expect("taken and dropped");
    send("checkout", [many(300), vec![String::new(), "x".repeat(257)]].concat(), many(40)).await.expect("taken");
    let report = tokio::time::timeout(SOON, peer.usage.recv()).await.expect("soon").expect("a report");
    assert_eq!((&*report.service, report.matched.len(), report.unlisted.len()), ("checkout", 256, 32));
    for _ in 0..10 {
        send("checkout", many(1), many(1)).await.expect("a full queue is not the client's fault");
    }
    assert_eq!(peer.usage.len(), peer.usage.max_capacity(), "the queue is full and no longer");
    assert_eq!(send("", many(1), many(1)).await.expect_err("no name").code(), Code::InvalidArgument);
    let oversize = send("checkout", many(30_000), many(1)).await;
    assert_eq!(oversize.expect_err("too large").code(), Code::ResourceExhausted);
}
