//! What a decision costs, beside the SDK's own `TraceIdRatioBased`, in one run.
//!
//! Budget: a root span's decision within 2x of `ParentBased(TraceIdRatioBased)`, which answers the same question without
//! following anyone; a span with a parent within 1.2x. A root span under a share counts itself and looks at the clock,
//! and while the limit binds makes a threshold of its own: within 100 ns on top, whatever the probability. A sampled root
//! allocates its trace state, once in ten here. The strategy comes over a real socket, so that the sampler
//! measured is the one that users have.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use flyball_sdk::{FlyballSampler, LocalLimitSettings};
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::trace::{Sampler, ShouldSample};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use push::sampling_server::{Sampling, SamplingServer};
use push::{Strategy, UsageReply, UsageReport, WatchRequest};

/// The server half of the push stream.
#[allow(clippy::pedantic, unreachable_pub)]
mod push {
    include!(concat!(env!("OUT_DIR"), "/server/flyball.v1.rs"));
}

const PROBABILITY: f64 = 0.1;
const OPERATIONS: usize = 256;

fn should_sample(criterion: &mut Criterion) {
    let ratio = Sampler::TraceIdRatioBased(PROBABILITY);
    let parent_based = Sampler::ParentBased(Box::new(ratio.clone()));
    let uniform = following("[]", 0);
    let per_operation = following(&operations(), OPERATIONS);
    let (counted, limited) = (pushed(f64::INFINITY), pushed(1.25));
    let root = Context::new();
    let child = child_context();

    let mut group = criterion.benchmark_group("should_sample");
    let mut measure = |label: &str, sampler: &dyn ShouldSample, parent: &Context, name: &str| {
        let ids: Vec<TraceId> = (0..1024).map(|_| TraceId::from(rand::random::<u128>())).collect();
        let mut next = ids.iter().cycle();
        group.bench_function(label, |bencher| {
            bencher.iter(|| {
                let id = *next.next().expect("a cycle");
                sampler.should_sample(Some(black_box(parent)), id, black_box(name), &SpanKind::Server, &[], &[])
            });
        });
    };
    measure("root/trace_id_ratio_based", &ratio, &root, "GET /operation/17");
    measure("root/parent_based_ratio", &parent_based, &root, "GET /operation/17");
    measure("root/flyball", &uniform, &root, "GET /operation/17");
    measure("root/flyball_256_operations_listed", &per_operation, &root, "GET /operation/17");
    measure("root/flyball_256_operations_unlisted", &per_operation, &root, "GET /elsewhere/17");
    measure("root/flyball_with_a_share", &counted, &root, "GET /operation/17");
    measure("root/flyball_limit_binds", &limited, &root, "GET /operation/17");
    measure("child/parent_based_ratio", &parent_based, &child, "SELECT");
    measure("child/flyball", &uniform, &child, "SELECT");
    group.finish();
    assert!(limited.status().limit_factor < 1.0 && counted.status().limit_factor == 1.0);
}

fn child_context() -> Context {
    let (trace_id, span_id) = (TraceId::from(7), SpanId::from(7));
    let parent = SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, true, TraceState::NONE);
    Context::new().with_remote_span_context(parent)
}

fn operations() -> String {
    let operation =
        |n| format!(r#"{{"operation":"GET /operation/{n}","probabilisticSampling":{{"samplingRate":{PROBABILITY}}}}}"#);
    format!("[{}]", (0..OPERATIONS).map(operation).collect::<Vec<_>>().join(","))
}

/// A sampler that has taken over a strategy with these operations from a Jaeger endpoint.
fn following(operations: &str, count: usize) -> FlyballSampler {
    let body = format!(
        r#"{{"probabilisticSampling":{{"samplingRate":{PROBABILITY}}},
            "operationSampling":{{"defaultSamplingProbability":{PROBABILITY},"perOperationStrategies":{operations}}}}}"#
    );
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/sampling", listener.local_addr().expect("bound"));
    std::thread::spawn(move || serve(&listener, &body));
    // Nothing listens at the discard port, so that the sampler soon polls.
    let builder = FlyballSampler::builder("bench").endpoint("http://127.0.0.1:9").polling_endpoint(url);
    let sampler = builder.initial_probability(0.0).build().expect("valid");
    while sampler.status().probability != PROBABILITY {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(sampler.status().operations, count);
    sampler
}

/// A sampler that follows a stream with a share and knows its part; the measurement itself is the surge.
fn pushed(k: f64) -> FlyballSampler {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
    let incoming = runtime.block_on(async { tonic::transport::server::TcpIncoming::bind(([127, 0, 0, 1], 0).into()) });
    let incoming = incoming.expect("a free port");
    let url = format!("http://{}", incoming.local_addr().expect("bound"));
    let server = tonic::transport::Server::builder().add_service(SamplingServer::new(Push));
    runtime.spawn(server.serve_with_incoming(incoming));
    std::mem::forget(runtime); // serves until the process ends
    let settings = LocalLimitSettings { k, learning: Duration::from_secs(2), ..LocalLimitSettings::default() };
    let sampler = FlyballSampler::builder("bench").endpoint(url).local_limit(settings).build().expect("valid");
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        let id = TraceId::from(rand::random::<u128>());
        sampler.should_sample(None, id, "GET /operation/17", &SpanKind::Server, &[], &[]);
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(sampler.status().probability, PROBABILITY);
    sampler
}

struct Push;

#[tonic::async_trait]
impl Sampling for Push {
    type WatchStream = ReceiverStream<Result<Strategy, Status>>;

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let told = 400.0 * PROBABILITY;
        let share = Strategy { expected_traces_per_second: told, share_traces_per_second: told, ..Strategy::default() };
        let strategy = Strategy { generation: 1, probability: PROBABILITY, ..share };
        sender.try_send(Ok(strategy)).expect("room");
        tokio::spawn(async move { sender.closed().await });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn report(&self, _: Request<UsageReport>) -> Result<Response<UsageReply>, Status> {
        Ok(Response::new(UsageReply {}))
    }
}

fn serve(listener: &TcpListener, body: &str) {
    while let Ok((mut peer, _)) = listener.accept() {
        let _ = peer.read(&mut [0; 4096]);
        let _ = write!(peer, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    }
}

criterion_group!(benches, should_sample);
criterion_main!(benches);
