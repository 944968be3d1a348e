//! The Rust SDK's exporter: gRPC and HTTP, protobuf and JSON, gzip, cumulative and delta, counters and histograms.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, MeterProvider};
use opentelemetry_otlp::{Compression, MetricExporter, Protocol, WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use tokio::runtime::Runtime;

use super::support::child::wait_for;
use super::support::flyball::Flyball;
use super::{PATIENCE, input, otlp, start};

const EXPORT: Duration = Duration::from_millis(400);
/// Requests a second of each worker.
const RATE: f64 = 200.0;
/// Sleeps are late: demand may be measured this much lower, and a little higher.
const EXPECTED: std::ops::Range<f64> = 0.5..1.2;

const COUNTER: &str = "counter: http.server.requests, by: [service.name, http.route], service_label: service.name, \
                       operation_label: http.route";
const HISTOGRAM: &str = "counter: http_server_request_duration_seconds_count, by: [job, http_route], service_label: job, \
                         operation_label: http_route";

#[derive(Debug, Clone, Copy)]
enum Wire {
    Grpc,
    GrpcGzip,
    Http,
    HttpGzip,
    Json,
}

pub(crate) fn trials() -> Vec<Trial> {
    use Temporality::{Cumulative, Delta};
    let kinds = [
        ("grpc_cumulative", Wire::Grpc, Cumulative),
        ("grpc_gzip_delta", Wire::GrpcGzip, Delta),
        ("http_delta", Wire::Http, Delta),
        ("http_gzip_cumulative", Wire::HttpGzip, Cumulative),
        ("http_json_cumulative", Wire::Json, Cumulative),
        ("http_json_delta", Wire::Json, Delta),
    ];
    let mut trials: Vec<Trial> = kinds
        .into_iter()
        .map(|(name, wire, temporality)| {
            Trial::test(format!("rust_sdk::{name}_is_the_demand"), move || {
                is_the_demand(wire, temporality);
                Ok(())
            })
        })
        .collect();
    let more: [(&str, fn()); 3] = [
        ("rust_sdk::two_processes_without_an_instance_are_both_counted", two_processes),
        ("rust_sdk::a_process_that_starts_again_is_a_reset_and_no_surge", starts_again),
        ("rust_sdk::an_sdk_that_stops_pushing_makes_its_demand_stale", stops),
    ];
    trials.extend(more.map(|(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    }));
    trials
}

/// A process that serves requests and exports, until dropped.
struct Process {
    is_over: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
}

impl Process {
    fn start(address: SocketAddr, wire: Wire, temporality: Temporality) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let worker = std::thread::spawn(move || {
            // The gRPC exporter wants a runtime around it.
            let runtime = Runtime::new().expect("a runtime");
            let _inside = runtime.enter();
            let provider = provider(exporter(address, wire, temporality));
            serve(&provider.meter("shop"), &over);
            let _ = provider.shutdown();
        });
        Self { is_over, worker: Some(worker) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let _ = self.worker.take().map(JoinHandle::join);
    }
}

fn exporter(address: SocketAddr, wire: Wire, temporality: Temporality) -> MetricExporter {
    let builder = MetricExporter::builder().with_temporality(temporality);
    let metrics = format!("http://{address}/v1/metrics");
    let grpc = || {
        MetricExporter::builder().with_temporality(temporality).with_tonic().with_endpoint(format!("http://{address}"))
    };
    match wire {
        Wire::Grpc => grpc().build(),
        Wire::GrpcGzip => grpc().with_compression(Compression::Gzip).build(),
        Wire::Http => builder.with_http().with_endpoint(metrics).with_protocol(Protocol::HttpBinary).build(),
        Wire::HttpGzip => {
            let http = builder.with_http().with_endpoint(metrics).with_protocol(Protocol::HttpBinary);
            http.with_compression(Compression::Gzip).build()
        }
        Wire::Json => builder.with_http().with_endpoint(metrics).with_protocol(Protocol::HttpJson).build(),
    }
    .expect("an exporter")
}

fn provider(exporter: MetricExporter) -> SdkMeterProvider {
    let reader = PeriodicReader::builder(exporter).with_interval(EXPORT).build();
    let resource = Resource::builder_empty().with_attribute(KeyValue::new("service.name", "shop")).build();
    SdkMeterProvider::builder().with_reader(reader).with_resource(resource).build()
}

struct Instruments {
    requests: Counter<u64>,
    durations: Histogram<f64>,
    spans: Counter<u64>,
}

fn serve(meter: &Meter, is_over: &AtomicBool) {
    let instruments = Instruments {
        requests: meter.u64_counter("http.server.requests").with_unit("{request}").build(),
        durations: meter.f64_histogram("http.server.request.duration").with_unit("s").build(),
        spans: meter.u64_counter("backend.spans").build(),
    };
    let (started, mut served) = (Instant::now(), 0);
    while !is_over.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(10));
        let due = (started.elapsed().as_secs_f64() * RATE) as u64;
        for _ in served..due {
            let route = [KeyValue::new("http.route", "/cart")];
            instruments.requests.add(1, &route);
            instruments.durations.record(0.01, &route);
            instruments.spans.add(8, &[]);
        }
        served = due;
    }
}

/// Waits until the demand is `times` one worker's rate.
fn until_demand(flyball: &Flyball, times: f64) {
    let expected = EXPECTED.start * RATE * times..EXPECTED.end * RATE * times;
    wait_for(&format!("a demand of {expected:?}"), PATIENCE, || {
        input(flyball, "shop", "demand_per_second").filter(|demand| expected.contains(demand))
    });
}

fn is_the_demand(wire: Wire, temporality: Temporality) {
    for demand in [COUNTER, HISTOGRAM] {
        let flyball = start(demand);
        let _process = Process::start(otlp(&flyball), wire, temporality);
        until_demand(&flyball, 1.0);
        let received = wait_for("spans", PATIENCE, || input(&flyball, "shop", "received_per_second"));
        assert!(received > 0.0, "{received}");
    }
}

fn two_processes() {
    let flyball = start(COUNTER);
    let address = otlp(&flyball);
    let _first = Process::start(address, Wire::Grpc, Temporality::Cumulative);
    let _second = Process::start(address, Wire::Http, Temporality::Cumulative);
    until_demand(&flyball, 2.0);
}

fn starts_again() {
    let flyball = start(COUNTER);
    let address = otlp(&flyball);
    let first = Process::start(address, Wire::Grpc, Temporality::Cumulative);
    until_demand(&flyball, 1.0);
    drop(first);
    let _again = Process::start(address, Wire::Grpc, Temporality::Cumulative);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(4) {
        let demand = input(&flyball, "shop", "demand_per_second").unwrap_or(0.0);
        assert!(demand < 2.5 * RATE, "{demand}");
        std::thread::sleep(Duration::from_millis(50));
    }
    until_demand(&flyball, 1.0);
}

fn stops() {
    let flyball = start(COUNTER);
    let process = Process::start(otlp(&flyball), Wire::Grpc, Temporality::Cumulative);
    until_demand(&flyball, 1.0);
    let before = flyball.probability("shop");
    drop(process);
    wait_for("stale input", PATIENCE, || flyball.degraded()?.iter().any(|reason| reason == "stale").then_some(()));
    assert!(flyball.probability("shop") <= before, "nothing rises on dead data");
}
