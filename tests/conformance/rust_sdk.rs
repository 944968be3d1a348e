//! OpenTelemetry's Rust sampler, in this process, on a thread of its own so that its complaints are told from others'.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use libtest_mimic::Failed;
use opentelemetry::trace::{SpanKind, TraceId};
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_sdk::runtime;
use opentelemetry_sdk::trace::{Sampler as SdkSampler, SamplingDecision, ShouldSample};
use tokio::sync::oneshot;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::sampler::{Count, Sampler};
use crate::world::World;

const POLL: Duration = Duration::from_millis(100);
const TIMEOUT: Duration = Duration::from_secs(10);
const DRAWS: u32 = 10_000;

/// The sampler; its thread ends when this is dropped.
pub(crate) struct RustSdk {
    sampler: SdkSampler,
    operations: Vec<String>,
    complaints: Arc<AtomicU32>,
    _stop: oneshot::Sender<()>,
}

impl RustSdk {
    /// Starts polling.
    pub(crate) fn start(world: &World, service: &str, operations: &[&str]) -> Result<Self, Failed> {
        let endpoint = format!("http://{}/sampling", world.addresses.http);
        let complaints = Arc::new(AtomicU32::new(0));
        let subscriber = tracing_subscriber::registry().with(Complaints(Arc::clone(&complaints)));
        let (stop, stopped) = oneshot::channel::<()>();
        let (built, sampler) = mpsc::channel();
        let service = service.to_owned();
        std::thread::spawn(move || {
            let polls = async {
                built.send(build(&endpoint, service)).expect("the starter waits");
                stopped.await.expect_err("nobody sends");
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            tracing::subscriber::with_default(subscriber, || runtime.block_on(polls));
        });
        let operations = operations.iter().map(|&operation| operation.to_owned()).collect();
        Ok(Self { sampler: sampler.recv()??, operations, complaints, _stop: stop })
    }

    fn sampled_of(&self, operation: &str) -> u32 {
        let decide = |_| {
            let trace_id = TraceId::from(rand::random::<u128>());
            self.sampler.should_sample(None, trace_id, operation, &SpanKind::Server, &[], &[]).decision
        };
        let sampled = (0..DRAWS).map(decide).filter(|decision| *decision == SamplingDecision::RecordAndSample);
        u32::try_from(sampled.count()).expect("at most the draws")
    }
}

fn build(endpoint: &str, service: String) -> Result<SdkSampler, String> {
    let client = HyperClient::with_default_connector(TIMEOUT, None);
    SdkSampler::jaeger_remote(runtime::Tokio, client, SdkSampler::AlwaysOn, service)
        .with_endpoint(endpoint)
        .with_update_interval(POLL)
        .build()
        .map_err(|error| error.to_string())
}

impl Sampler for RustSdk {
    fn count(&mut self) -> Result<Count, Failed> {
        let sampled = self.operations.iter().map(|operation| self.sampled_of(operation)).collect();
        Ok(Count { of: DRAWS, sampled, errors: self.complaints.load(Ordering::Relaxed) })
    }
}

/// Counts the warnings of the SDK, and shows them.
struct Complaints(Arc<AtomicU32>);

impl<S: Subscriber> Layer<S> for Complaints {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() <= Level::WARN {
            self.0.fetch_add(1, Ordering::Relaxed);
            eprintln!("{event:?}");
        }
    }
}
