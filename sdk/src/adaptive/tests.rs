//! The processor inside a real provider, and its local traces on a time of the test's own.

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Link, Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
    TracerProvider,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, InMemorySpanExporter, SamplingDecision, SdkTracer, SdkTracerProvider, ShouldSample,
    SimpleSpanProcessor, SpanData, SpanEvents, SpanLinks,
};

use super::budget::{Allowance, Budget};
use super::local_traces::{Bounds, LocalTraces, Released};
use super::{AdaptiveCounts, AdaptiveSpanProcessor, AdaptiveSpanProcessorBuilder, Counts};
use crate::FlyballSampler;

type Simple = SimpleSpanProcessor<InMemorySpanExporter>;

/// A provider with the processor around an exporter that remembers.
struct Traced {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    exporter: InMemorySpanExporter,
    sampler: FlyballSampler,
    counts: AdaptiveCounts,
}

impl Traced {
    fn at(probability: f64) -> Self {
        Self::with(probability, |builder| builder)
    }

    fn with(
        probability: f64,
        set: impl FnOnce(AdaptiveSpanProcessorBuilder<Simple>) -> AdaptiveSpanProcessorBuilder<Simple>,
    ) -> Self {
        let sampler = sampler(probability);
        let exporter = InMemorySpanExporter::default();
        let inner = SimpleSpanProcessor::new(exporter.clone());
        let processor = set(AdaptiveSpanProcessor::builder(inner, &sampler)).build();
        let counts = processor.counts();
        let provider =
            SdkTracerProvider::builder().with_sampler(sampler.clone()).with_span_processor(processor).build();
        Self { tracer: provider.tracer("test"), provider, exporter, sampler, counts }
    }

    /// What was exported, in order: name, sampled, `flyball.kept`.
    fn exported(&self) -> Vec<(String, bool, Option<String>)> {
        let spans = self.exporter.get_finished_spans().expect("exporter");
        spans.iter().map(|span| (span.name.to_string(), span.span_context.is_sampled(), kept_of(span))).collect()
    }
}

/// Nothing listens at the discard port, so that the initial probability stays.
fn sampler(probability: f64) -> FlyballSampler {
    let builder = FlyballSampler::builder("shop").endpoint("http://127.0.0.1:9");
    builder.initial_probability(probability).build().expect("valid")
}

fn kept_of(span: &SpanData) -> Option<String> {
    let kept = span.attributes.iter().filter(|attribute| attribute.key.as_str() == "flyball.kept");
    let values: Vec<String> = kept.map(|attribute| attribute.value.to_string()).collect();
    assert!(values.len() <= 1, "marked twice: {values:?}");
    values.into_iter().next()
}

fn exported(name: &str, cause: Option<&str>) -> (String, bool, Option<String>) {
    (name.to_owned(), true, cause.map(str::to_owned))
}

fn fail(context: &Context) {
    context.span().set_status(Status::error("boom"));
}

/// root -> child -> leaf, ended from the leaf up; `touch` is called before anything ends.
fn three_spans(tracer: &SdkTracer, parent: &Context, touch: impl FnOnce([&Context; 3])) {
    let root = parent.with_span(tracer.start_with_context("root", parent));
    let child = root.with_span(tracer.start_with_context("child", &root));
    let leaf = child.with_span(tracer.start_with_context("leaf", &child));
    touch([&root, &child, &leaf]);
    [leaf, child, root].iter().for_each(|context| context.span().end());
}

fn remote_parent(flags: TraceFlags) -> Context {
    let trace_id = TraceId::from(rand::random::<u128>());
    let parent = SpanContext::new(trace_id, SpanId::from(9), flags, true, TraceState::NONE);
    Context::new().with_remote_span_context(parent)
}

#[test]
fn a_failed_local_trace_is_kept_whole_and_marked_at_its_root_and_its_cause() {
    let traced = Traced::at(0.0);
    three_spans(&traced.tracer, &Context::new(), |[_, _, leaf]| fail(leaf));
    let expected = [exported("leaf", Some("error")), exported("child", None), exported("root", Some("error"))];
    assert_eq!(traced.exported(), expected);
    assert_eq!(traced.counts.read(), Counts { kept_error: 1, ..Counts::default() });
}

#[test]
fn a_slow_local_trace_is_kept() {
    let traced = Traced::at(0.0);
    let start = SystemTime::now();
    let mut span = traced.tracer.span_builder("root").with_start_time(start).start(&traced.tracer);
    span.end_with_timestamp(start + Duration::from_secs(1));
    assert_eq!(traced.exported(), [exported("root", Some("slow"))]);
    let mut span = traced.tracer.span_builder("root").with_start_time(start).start(&traced.tracer);
    span.end_with_timestamp(start + Duration::from_millis(999));
    assert_eq!(traced.counts.read(), Counts { kept_slow: 1, ..Counts::default() });
}

#[test]
fn a_healthy_local_trace_that_is_not_sampled_is_dropped() {
    let traced = Traced::at(0.0);
    three_spans(&traced.tracer, &Context::new(), |_| ());
    assert_eq!((traced.exported(), traced.counts.read()), (vec![], Counts::default()));
}

#[test]
fn sampled_spans_pass_once_unmarked_and_at_once() {
    let traced = Traced::at(1.0);
    three_spans(&traced.tracer, &Context::new(), |[root, _, leaf]| {
        fail(leaf);
        leaf.span().end();
        assert_eq!(traced.exported(), [exported("leaf", None)]);
        fail(root);
    });
    assert_eq!(traced.exported(), [exported("leaf", None), exported("child", None), exported("root", None)]);
    assert_eq!(traced.counts.read(), Counts::default());
}

#[test]
fn downstream_of_an_unsampled_parent_the_same_rule_holds() {
    let traced = Traced::at(1.0);
    three_spans(&traced.tracer, &remote_parent(TraceFlags::default()), |_| ());
    assert!(traced.exported().is_empty());
    three_spans(&traced.tracer, &remote_parent(TraceFlags::default()), |[_, child, _]| fail(child));
    let expected = [exported("leaf", None), exported("child", Some("error")), exported("root", Some("error"))];
    assert_eq!(traced.exported(), expected);
}

#[test]
fn two_calls_of_one_trace_at_once_are_kept_together() {
    let traced = Traced::at(0.0);
    let parent = remote_parent(TraceFlags::default());
    let [mut first, mut second] = ["first", "second"].map(|name| traced.tracer.start_with_context(name, &parent));
    first.set_status(Status::error("boom"));
    first.end();
    assert!(traced.exported().is_empty());
    second.end();
    assert_eq!(traced.exported(), [exported("first", Some("error")), exported("second", Some("error"))]);
}

#[test]
fn spans_that_end_after_their_root_follow_its_decision() {
    let traced = Traced::at(0.0);
    for is_critical in [true, false] {
        let root = Context::new().with_span(traced.tracer.start_with_context("root", &Context::new()));
        let mut late = traced.tracer.start_with_context("late", &root);
        if is_critical {
            fail(&root);
        }
        root.span().end();
        late.set_status(Status::error("too late to matter"));
        late.end();
    }
    assert_eq!(traced.exported(), [exported("root", Some("error")), exported("late", None)]);
    assert_eq!(traced.counts.read(), Counts { kept_error: 1, late_spans: 1, ..Counts::default() });
}

#[test]
fn critical_traces_beyond_the_budget_are_dropped_and_counted() {
    let traced = Traced::with(0.0, |builder| builder.kept_traces_per_second(0.001));
    for _ in 0..10 {
        three_spans(&traced.tracer, &Context::new(), |[root, ..]| fail(root));
    }
    assert_eq!(traced.exported().len(), 3);
    assert_eq!(traced.counts.read(), Counts { kept_error: 1, over_budget: 9, ..Counts::default() });
}

#[test]
fn the_sampler_records_what_it_does_not_sample_only_while_the_processor_lives() {
    let decide = |sampler: &FlyballSampler| {
        let links: [Link; 0] = [];
        sampler.should_sample(None, TraceId::from(1), "x", &SpanKind::Internal, &[], &links).decision
    };
    let traced = Traced::at(0.0);
    assert_eq!(decide(&traced.sampler), SamplingDecision::RecordOnly);
    for _ in 0..2 {
        let _ = traced.provider.shutdown();
        assert_eq!(decide(&traced.sampler), SamplingDecision::Drop);
    }
    let processor = AdaptiveSpanProcessor::new(Simple::new(InMemorySpanExporter::default()), &traced.sampler);
    assert_eq!(decide(&traced.sampler), SamplingDecision::RecordOnly);
    drop(processor);
    assert_eq!(decide(&traced.sampler), SamplingDecision::Drop);
}

#[test]
fn flushing_keeps_what_is_not_decided_yet() {
    let traced = Traced::at(0.0);
    three_spans(&traced.tracer, &Context::new(), |[root, _, leaf]| {
        fail(root);
        leaf.span().end();
        traced.provider.force_flush().expect("flushes");
        assert!(traced.exported().is_empty());
    });
    assert_eq!(traced.exported().len(), 3);
}

#[test]
fn around_a_batch_processor_nothing_healthy_is_exported_either() {
    let sampler = sampler(0.0);
    let exporter = InMemorySpanExporter::default();
    let batch = BatchSpanProcessor::builder(exporter.clone()).build();
    let processor = AdaptiveSpanProcessor::new(batch, &sampler);
    let provider = SdkTracerProvider::builder().with_sampler(sampler).with_span_processor(processor).build();
    let tracer = provider.tracer("test");
    three_spans(&tracer, &Context::new(), |_| ());
    three_spans(&tracer, &Context::new(), |[root, ..]| fail(root));
    provider.force_flush().expect("flushes");
    assert_eq!(exporter.get_finished_spans().expect("exporter").len(), 3);
}

#[test]
fn many_threads_export_each_sampled_and_each_critical_span_exactly_once() {
    const THREADS: usize = 8;
    const TRACES: usize = 500;
    let traced = Traced::with(0.5, |builder| builder.kept_traces_per_second(f64::INFINITY));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for n in 0..TRACES {
                    three_spans(&traced.tracer, &Context::new(), |[_, child, _]| {
                        child.span().set_attribute(KeyValue::new("n", n as i64));
                        if n % 5 == 0 {
                            fail(child);
                        }
                    });
                }
            });
        }
    });
    let spans = traced.exporter.get_finished_spans().expect("exporter");
    let unique: std::collections::HashSet<_> =
        spans.iter().map(|span| (span.span_context.trace_id(), span.span_context.span_id())).collect();
    assert_eq!(unique.len(), spans.len());
    let failed = spans.iter().filter(|span| matches!(span.status, Status::Error { .. })).count();
    assert_eq!(failed, THREADS * TRACES / 5);
    let kept_roots = spans.iter().filter(|span| span.name == "root" && kept_of(span).is_some()).count();
    assert_eq!(traced.counts.read(), Counts { kept_error: kept_roots as u64, ..Counts::default() });
    assert_eq!(spans.len() % 3, 0);
}

/// Local traces alone, with a budget that never ends unless told otherwise.
struct Alone {
    traces: LocalTraces,
    budget: Budget,
    now: Duration,
}

impl Alone {
    fn with(traces: usize, spans_per_trace: usize, spans: usize) -> Self {
        let bounds = Bounds { traces, spans_per_trace, spans };
        let traces = LocalTraces::new(bounds, Duration::from_secs(1));
        Self { traces, budget: Budget::per_second(f64::INFINITY), now: Duration::ZERO }
    }

    fn start(&mut self, trace: u128) -> Released {
        self.traces.root_started(TraceId::from(trace), self.now, Allowance { budget: &self.budget, factor: 1.0 })
    }

    fn end(&mut self, span: SpanData) -> Released {
        self.traces.span_ended(span, self.now, Allowance { budget: &self.budget, factor: 1.0 })
    }
}

fn span(trace: u128, id: u64, parent: u64, status: Status) -> SpanData {
    let flags = TraceFlags::default();
    let now = SystemTime::now();
    SpanData {
        span_context: SpanContext::new(TraceId::from(trace), SpanId::from(id), flags, false, TraceState::NONE),
        parent_span_id: SpanId::from(parent),
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: "span".into(),
        start_time: now,
        end_time: now,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status,
        instrumentation_scope: InstrumentationScope::default(),
    }
}

fn error() -> Status {
    Status::error("boom")
}

fn ids(spans: &[SpanData]) -> Vec<u64> {
    spans.iter().map(|span| u64::from_be_bytes(span.span_context.span_id().to_bytes())).collect()
}

#[test]
fn too_many_local_traces_decide_the_oldest_on_what_it_has() {
    let mut alone = Alone::with(2, 8, 8);
    alone.start(1);
    alone.end(span(1, 12, 11, error()));
    alone.start(2);
    let first = alone.start(3);
    assert_eq!((ids(&first.pass), first.counts.evicted_traces, first.counts.kept_error), (vec![12], 1, 1));
    let second = alone.start(4);
    assert_eq!((ids(&second.pass), second.counts.evicted_traces, second.counts.kept_error), (vec![], 1, 0));
    // The root of the first follows its decision, marked; the root of the second was let go with it.
    let late = alone.end(span(1, 11, 0, Status::Unset));
    assert_eq!((ids(&late.pass), kept_of(&late.pass[0])), (vec![11], Some("error".to_owned())));
    let late = alone.end(span(2, 21, 0, error()));
    assert_eq!((ids(&late.pass), late.counts.late_spans), (vec![], 1));
}

#[test]
fn too_many_spans_decide_the_oldest_even_if_it_is_their_own() {
    let mut alone = Alone::with(8, 8, 2);
    alone.start(1);
    alone.end(span(1, 12, 11, Status::Unset));
    alone.start(2);
    alone.end(span(2, 22, 21, error()));
    let evicting = alone.end(span(2, 23, 21, Status::Unset));
    assert_eq!((ids(&evicting.dropped), evicting.counts.evicted_traces), (vec![12], 1));
    let evicting_itself = alone.end(span(2, 24, 21, Status::Unset));
    assert_eq!((ids(&evicting_itself.pass), evicting_itself.counts.kept_error), (vec![22, 23, 24], 1));
    assert_eq!(ids(&alone.end(span(2, 21, 0, Status::Unset)).pass), [21]);
}

#[test]
fn a_full_local_trace_still_holds_its_cause_and_its_root() {
    let mut alone = Alone::with(8, 3, 8);
    alone.start(1);
    let over: usize = (2..10).map(|id| alone.end(span(1, id, 1, Status::Unset)).dropped.len()).sum();
    assert_eq!(over, 5);
    alone.end(span(1, 10, 1, error()));
    let done = alone.end(span(1, 1, 0, Status::Unset));
    assert_eq!((ids(&done.pass), done.counts.kept_error), (vec![2, 1, 10], 1));
    // Nothing of it may follow: the bound holds for late spans too.
    let late = alone.end(span(1, 11, 1, Status::Unset));
    assert_eq!((late.pass.len(), late.counts.spans_over_bound), (0, 1));
}

#[test]
fn late_spans_pass_for_half_a_minute() {
    let mut alone = Alone::with(8, 8, 8);
    alone.start(1);
    alone.end(span(1, 1, 0, error()));
    alone.now = Duration::from_millis(29_999);
    assert_eq!(ids(&alone.end(span(1, 2, 1, Status::Unset)).pass), [2]);
    alone.now = Duration::from_secs(30);
    let late = alone.end(span(1, 3, 1, Status::Unset));
    assert_eq!((late.pass.len(), late.counts.late_spans), (0, 1));
}

#[test]
fn no_more_kept_traces_are_remembered_than_may_be_open() {
    let mut alone = Alone::with(2, 8, 8);
    for trace in 1..=3 {
        alone.start(trace);
        assert_eq!(alone.end(span(trace, 1, 0, error())).pass.len(), 1);
    }
    let still_pass = [1, 2, 3].map(|trace| alone.end(span(trace, 2, 1, Status::Unset)).pass.len());
    assert_eq!(still_pass, [0, 1, 1]);
}

#[test]
fn an_error_wins_over_slowness_whichever_ends_first() {
    for is_error_first in [true, false] {
        let mut alone = Alone::with(8, 8, 8);
        alone.start(1);
        let mut slow = span(1, 2, 1, Status::Unset);
        slow.end_time += Duration::from_secs(2);
        let failed = span(1, 3, 1, error());
        let order = if is_error_first { [failed, slow] } else { [slow, failed] };
        order.into_iter().for_each(|span| drop(alone.end(span)));
        let done = alone.end(span(1, 1, 0, Status::Unset));
        let marked: Vec<u64> = ids(&done.pass)
            .into_iter()
            .zip(&done.pass)
            .filter(|(_, s)| kept_of(s).is_some())
            .map(|(id, _)| id)
            .collect();
        assert_eq!((marked, done.counts.kept_error, done.counts.kept_slow), (vec![3, 1], 1, 0));
    }
}

#[test]
fn a_span_whose_clock_went_back_is_not_slow() {
    let mut alone = Alone::with(8, 8, 8);
    alone.start(1);
    let mut backwards = span(1, 1, 0, Status::Unset);
    backwards.end_time -= Duration::from_secs(3_600);
    assert!(alone.end(backwards).pass.is_empty());
}

#[test]
fn whatever_comes_the_bounds_hold_and_no_span_is_lost_or_doubled() {
    let mut alone = Alone::with(7, 5, 23);
    alone.budget = Budget::per_second(1_000.0);
    let (mut ended, mut gone) = (0, 0);
    for id in 1..=20_000 {
        alone.now += Duration::from_millis(1);
        let trace = u128::from(rand::random_range(1..30_u8));
        let choice = rand::random_range(0..4_u8);
        let released = match choice {
            0 => alone.start(trace),
            1 => alone.end(span(trace, id, 0, Status::Unset)),
            2 => alone.end(span(trace, id, 1, error())),
            _ => alone.end(span(trace, id, 1, Status::Unset)),
        };
        ended += usize::from(choice != 0);
        gone += released.pass.len() + released.dropped.len();
        assert!(released.pass.iter().all(|span| span.span_context.is_sampled()));
        assert_eq!(alone.traces.span_count() + gone, ended);
        alone.traces.assert_within_bounds();
    }
    alone.traces.clear();
    assert_eq!(alone.traces.span_count(), 0);
}
