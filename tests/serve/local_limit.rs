//! The local limit over a real stream: the server tells the share, the sampler of the SDK holds itself to it.

use std::time::{Duration, Instant};

use flyball::controller::answer::Strategy;
use flyball::controller::snapshot::Snapshot;
use flyball::sampling::local::LocalShare;
use flyball::sampling::probability::Probability;
use flyball::time::WallTime;
use flyball_sdk::{FlyballSampler, LocalLimitSettings};
use libtest_mimic::Trial;
use opentelemetry::trace::{SpanKind, TraceId};
use opentelemetry_sdk::trace::{SamplingDecision, ShouldSample};

use crate::peer::{SOON, start};
use crate::trial;

/// What the service usually has, root spans/s.
const USUAL: f64 = 200.0;
const SURGE: f64 = 20_000.0;
/// Three steps of a second are enough to know its part.
const LEARNING: Duration = Duration::from_secs(3);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("stream_tells_the_share_by_which_a_sampler_limits_a_surge_until_it_is_answered", surge),
        trial("stream_without_a_share_limits_nothing", no_share),
    ]
}

/// `checkout` at a probability, as the only instance of its service.
fn snapshot(generation: u64, probability: f64, local: Option<f64>) -> Snapshot {
    let share = |traces| LocalShare { expected_traces_per_second: traces, share_traces_per_second: traces };
    let probability = Probability::new(probability).expect("a probability");
    let strategy = Strategy { local: local.map(share), ..Strategy::uniform(probability) };
    Snapshot::empty(generation, WallTime::from_unix_ms(1)).with_answers([("checkout".into(), strategy)])
}

/// What became of root spans.
#[derive(Debug, Default)]
struct Seen {
    roots: f64,
    sampled: f64,
    /// Sum of the adjusted counts that the sampled ones tell.
    adjusted: f64,
}

/// Starts `rate` root spans/s for a while, and for longer until `is_enough`.
fn load(sampler: &FlyballSampler, rate: f64, at_least: Duration, is_enough: impl Fn() -> bool) -> Seen {
    let (mut seen, start) = (Seen::default(), Instant::now());
    while start.elapsed() < at_least || !is_enough() {
        assert!(start.elapsed() < SOON, "not soon: {:?}", sampler.status());
        while seen.roots < rate * start.elapsed().as_secs_f64() {
            let id = TraceId::from(rand::random::<u128>());
            let result = sampler.should_sample(None, id, "GET /", &SpanKind::Server, &[], &[]);
            seen.roots += 1.0;
            if result.decision == SamplingDecision::RecordAndSample {
                seen.sampled += 1.0;
                seen.adjusted += adjusted_count(result.trace_state.get("ot").expect("a threshold"));
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    seen
}

/// As the specification reads `th:…`.
fn adjusted_count(ot: &str) -> f64 {
    let digits = ot.strip_prefix("th:").expect("a threshold");
    let rejected = u64::from_str_radix(&format!("{digits:0<14}"), 16).expect("hexadecimal");
    let range = (1_u64 << 56) as f64;
    range / (range - rejected as f64)
}

fn sampler(endpoint: String) -> FlyballSampler {
    let settings = LocalLimitSettings { learning: LEARNING, ..LocalLimitSettings::default() };
    let builder = FlyballSampler::builder("checkout").endpoint(endpoint).local_limit(settings);
    builder.build().expect("valid settings")
}

async fn surge() {
    let peer = start();
    peer.published.publish(snapshot(2, 0.5, Some(0.5 * USUAL)));
    let sampler = sampler(format!("http://{}", peer.addresses.grpc[0]));
    let published = std::sync::Arc::clone(&peer.published);
    let checks = move || {
        let is_at = |generation| sampler.status().generation == generation;
        load(&sampler, USUAL, Duration::ZERO, || is_at(2));
        load(&sampler, USUAL, LEARNING + Duration::from_secs(2), || true);
        load(&sampler, SURGE, Duration::from_millis(500), || sampler.status().limit_factor < 0.1);
        let surge = load(&sampler, SURGE, Duration::from_secs(2), || true);
        // Unlimited it would be half of them. k x 100/s and the noise of 150 are under one in a hundred.
        assert!(surge.sampled < 0.02 * surge.roots, "{surge:?}");
        assert!((surge.adjusted / surge.roots - 1.0).abs() < 0.4, "{surge:?}");
        // The answer: a hundredth of the probability at a hundred times the demand.
        published.publish(snapshot(3, 0.5 * USUAL / SURGE, Some(0.5 * USUAL)));
        load(&sampler, SURGE, Duration::from_secs(1), || is_at(3) && sampler.status().limit_factor == 1.0);
    };
    tokio::task::spawn_blocking(checks).await.expect("no panic");
}

async fn no_share() {
    let peer = start();
    peer.published.publish(snapshot(2, 0.5, None));
    let sampler = sampler(format!("http://{}", peer.addresses.grpc[0]));
    let checks = move || {
        load(&sampler, USUAL, Duration::ZERO, || sampler.status().generation == 2);
        let surge = load(&sampler, SURGE, Duration::from_millis(500), || true);
        assert!((surge.sampled / surge.roots - 0.5).abs() < 0.1, "{surge:?}");
        assert_eq!(sampler.status().limit_factor, 1.0);
    };
    tokio::task::spawn_blocking(checks).await.expect("no panic");
}
