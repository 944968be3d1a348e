//! A simulated service: real spans through the real OpenTelemetry SDK, sampled by `flyball-sdk`, at the story's rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use flyball_sdk::{AdaptiveCounts, AdaptiveSpanProcessor, FlyballSampler};
use opentelemetry::Context;
use opentelemetry::trace::{Span, SpanBuilder, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use rand::RngExt;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::backend::{Backend, Uplink};
use super::story::{SPANS_PER_TRACE, Service};

/// Requests are made in batches, this often.
const STEP: Duration = Duration::from_millis(20);
/// Share of the requests that fail.
const ERRORS: f64 = 0.002;
/// Share of the requests that are slow.
const SLOW: f64 = 0.001;

/// One running service.
pub(super) struct Workload {
    pub(super) service: &'static Service,
    pub(super) sampler: FlyballSampler,
    /// What the span processor kept of traces that were not sampled.
    pub(super) kept: AdaptiveCounts,
    /// Requests by operation, in the service's order.
    requests: Vec<AtomicU64>,
    failed: AtomicU64,
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Workload {
    /// A service whose sampler follows the Flyball at this gRPC address.
    pub(super) fn new(service: &'static Service, grpc: &str, backend: Arc<Backend>) -> anyhow::Result<Self> {
        let sampler = FlyballSampler::builder(service.name).endpoint(grpc).initial_probability(0.1).build()?;
        let processor = AdaptiveSpanProcessor::new(Uplink(backend), &sampler);
        let kept = processor.counts();
        let provider =
            SdkTracerProvider::builder().with_sampler(sampler.clone()).with_span_processor(processor).build();
        let tracer = provider.tracer("flyball-demo");
        let requests = service.operations.iter().map(|_| AtomicU64::new(0)).collect();
        Ok(Self { service, sampler, kept, requests, failed: AtomicU64::new(0), provider, tracer })
    }

    /// Serves requests until `shutdown`.
    pub(super) async fn run(self: Arc<Self>, started: Instant, shutdown: CancellationToken) {
        let mut steps = interval(STEP);
        steps.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (mut last, mut owed) = (Instant::now(), 0.0);
        while shutdown.run_until_cancelled(steps.tick()).await.is_some() {
            let now = Instant::now();
            let t = now.duration_since(started).as_secs_f64();
            owed += self.service.demand(t) * now.duration_since(last).as_secs_f64();
            last = now;
            for _ in 0..owed as u64 {
                self.request();
            }
            owed = owed.fract();
        }
        let _ = self.provider.shutdown();
    }

    /// Requests since the start.
    pub(super) fn requests(&self) -> u64 {
        self.requests.iter().map(|r| r.load(Ordering::Relaxed)).sum()
    }

    /// Requests that failed since the start.
    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Its metrics, as a scraper reads them: every request, whether it was sampled or not.
    pub(super) fn exposition(&self) -> String {
        let mut text = String::from("# TYPE http_server_requests_total counter\n");
        for ((operation, _), count) in self.service.operations.iter().zip(&self.requests) {
            text += &format!(
                "http_server_requests_total{{service=\"{}\",operation=\"{operation}\"}} {}\n",
                self.service.name,
                count.load(Ordering::Relaxed)
            );
        }
        text
    }

    /// One request: a root span and its children. Their times are told, not waited for.
    fn request(&self) {
        let mut random = rand::rng();
        let operation = self.pick_operation(random.random());
        let fate: f64 = random.random();
        let took = if fate > 1.0 - SLOW { Duration::from_millis(1_500) } else { Duration::from_millis(20) };
        let start = SystemTime::now();
        let root = SpanBuilder::from_name(self.service.operations[operation].0).with_start_time(start);
        let context = Context::new().with_span(self.tracer.build_with_context(root, &Context::new()));
        for child in 1..SPANS_PER_TRACE as u32 {
            let name = SpanBuilder::from_name("call").with_start_time(start + took * (child - 1) / 8);
            self.tracer.build_with_context(name, &context).end_with_timestamp(start + took * child / 8);
        }
        if fate < ERRORS {
            self.failed.fetch_add(1, Ordering::Relaxed);
            context.span().set_status(Status::error("the demo fails now and then"));
        }
        context.span().end_with_timestamp(start + took);
        self.requests[operation].fetch_add(1, Ordering::Relaxed);
    }

    fn pick_operation(&self, mut dice: f64) -> usize {
        for (i, (_, share)) in self.service.operations.iter().enumerate() {
            if dice < *share {
                return i;
            }
            dice -= share;
        }
        self.service.operations.len() - 1
    }
}
