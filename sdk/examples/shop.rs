//! A service that follows Flyball and keeps its failures, for ten seconds. Run it with or without `flyball run` or
//! `flyball demo` beside it: `cargo run -p flyball-sdk --example shop [SERVICE]`.

use std::error::Error;
use std::thread::sleep;
use std::time::Duration;

use flyball_sdk::{AdaptiveSpanProcessor, FlyballSampler};
use opentelemetry::trace::{Span, Status, Tracer, TracerProvider};
use opentelemetry_sdk::trace::{BatchSpanProcessor, InMemorySpanExporter, SdkTracerProvider};

fn main() -> Result<(), Box<dyn Error>> {
    let service = std::env::args().nth(1).unwrap_or_else(|| "checkout".to_owned());
    let sampler = FlyballSampler::builder(service).build()?;

    // In place of the exporter to your backend.
    let exporter = InMemorySpanExporter::default();
    let processor = AdaptiveSpanProcessor::new(BatchSpanProcessor::builder(exporter.clone()).build(), &sampler);
    let counts = processor.counts();
    let provider = SdkTracerProvider::builder().with_sampler(sampler.clone()).with_span_processor(processor).build();
    let tracer = provider.tracer("shop");

    for _second in 0..10 {
        for request in 0..1_000 {
            let mut span = tracer.start("GET /cart");
            if request == 500 {
                span.set_status(Status::error("the cart is gone"));
            }
            span.end();
        }
        provider.force_flush()?;
        let (exported, kept, status) = (exporter.get_finished_spans()?.len(), counts.read(), sampler.status());
        println!(
            "{exported:4} of 1000 spans exported at probability {} ({:?}, generation {}); failures kept so far: {}",
            status.probability, status.connection, status.generation, kept.kept_error
        );
        exporter.reset();
        sleep(Duration::from_secs(1));
    }
    if let Some(error) = sampler.status().last_error {
        println!("what went wrong last: {error}");
    }
    provider.shutdown()?;
    Ok(())
}
