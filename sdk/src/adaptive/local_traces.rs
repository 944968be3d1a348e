//! The spans of traces that are not sampled, until it is known whether the trace went wrong.
//!
//! A *local trace* is what this process sees of a trace. It opens when a span starts whose parent is absent or remote
//! (a local root), and is decided when its last open local root ends: kept if one of its spans failed or was slow and
//! the budget allows it, else dropped. Where a process serves several calls of one trace at once, they are one local
//! trace: kept or dropped together.
//!
//! Spans that end after their root follow the decision. A failure among them cannot bring a dropped trace back.
//!
//! At every bound the oldest goes first. An evicted local trace is decided on what it has: an error seen early is kept.
//!
//! No clock and no lock here: the caller gives `now` and holds the lock. Spans leave through [`Released`], because
//! exporting and even freeing them takes long.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use opentelemetry::trace::TraceId;
use opentelemetry_sdk::trace::SpanData;

use super::budget::Allowance;
use super::counts::Counts;
use super::critical::{Cause, is_local_root};
use super::kept::KeptTraces;
use super::open::OpenTrace;

/// The most that is held.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Local traces open, and as many kept ones remembered; at least 1.
    pub(super) traces: usize,
    /// Spans of one local trace; at least 2, for the root and the cause.
    pub(super) spans_per_trace: usize,
    /// Spans of all; at least 1.
    pub(super) spans: usize,
}

/// What a step let go.
#[derive(Debug, Default)]
pub(super) struct Released {
    /// To export.
    pub(super) pass: Vec<SpanData>,
    /// To free, once the lock is released.
    pub(super) dropped: Vec<SpanData>,
    /// What was kept and what was given up.
    pub(super) counts: Counts,
}

/// All local traces of one shard.
#[derive(Debug)]
pub(super) struct LocalTraces {
    bounds: Bounds,
    slow: Duration,
    open: HashMap<TraceId, OpenTrace>,
    by_age: BTreeMap<u64, TraceId>,
    next_age: u64,
    span_count: usize,
    kept: KeptTraces,
}

impl LocalTraces {
    pub(super) fn new(bounds: Bounds, slow: Duration) -> Self {
        let kept = KeptTraces::new(bounds.traces);
        Self { bounds, slow, open: HashMap::new(), by_age: BTreeMap::new(), next_age: 0, span_count: 0, kept }
    }

    /// A local root that is not sampled has started.
    pub(super) fn root_started(&mut self, trace_id: TraceId, now: Duration, allowance: Allowance<'_>) -> Released {
        let mut released = Released::default();
        self.kept.forget(now);
        if self.kept.contains(trace_id) {
            return released;
        }
        if let Some(open) = self.open.get_mut(&trace_id) {
            open.roots += 1;
            return released;
        }
        while self.open.len() >= self.bounds.traces {
            self.evict_oldest(now, allowance, &mut released);
        }
        self.open.insert(trace_id, OpenTrace::new(self.next_age));
        self.by_age.insert(self.next_age, trace_id);
        self.next_age += 1;
        released
    }

    /// A span that is not sampled has ended.
    pub(super) fn span_ended(&mut self, span: SpanData, now: Duration, allowance: Allowance<'_>) -> Released {
        let mut released = Released::default();
        self.kept.forget(now);
        let trace_id = span.span_context.trace_id();
        let is_root = is_local_root(&span);
        while self.span_count >= self.bounds.spans && self.open.contains_key(&trace_id) {
            self.evict_oldest(now, allowance, &mut released);
        }
        self.place(span, &mut released);
        if is_root {
            self.root_ended(trace_id, now, allowance, &mut released);
        }
        released
    }

    /// Lets everything go.
    pub(super) fn clear(&mut self) -> Released {
        let dropped = self.open.drain().flat_map(|(_, open)| open.into_spans()).collect();
        self.by_age.clear();
        self.kept.clear();
        self.span_count = 0;
        Released { dropped, ..Released::default() }
    }

    /// Puts the span with its local trace, which is kept, open or not there any more.
    fn place(&mut self, span: SpanData, released: &mut Released) {
        let Some(span) = self.kept.pass(span, released) else { return };
        let Some(open) = self.open.get_mut(&span.span_context.trace_id()) else {
            released.counts.late_spans += 1;
            return released.dropped.push(span);
        };
        match open.hold(span, self.bounds.spans_per_trace, self.slow) {
            None => self.span_count += 1,
            Some(given_up) => {
                released.counts.spans_over_bound += 1;
                released.dropped.push(given_up);
            }
        }
    }

    fn root_ended(&mut self, trace_id: TraceId, now: Duration, allowance: Allowance<'_>, released: &mut Released) {
        let Some(open) = self.open.get_mut(&trace_id) else { return };
        open.roots = open.roots.saturating_sub(1);
        if open.roots == 0 {
            self.decide(trace_id, now, allowance, released);
        }
    }

    fn evict_oldest(&mut self, now: Duration, allowance: Allowance<'_>, released: &mut Released) {
        let (_, oldest) = self.by_age.first_key_value().expect("a bound is reached, so something is open");
        let oldest = *oldest;
        self.decide(oldest, now, allowance, released);
        released.counts.evicted_traces += 1;
    }

    fn decide(&mut self, trace_id: TraceId, now: Duration, allowance: Allowance<'_>, released: &mut Released) {
        let open = self.open.remove(&trace_id).expect("what is decided is open");
        self.by_age.remove(&open.age);
        self.span_count -= open.span_count();
        let Some(cause) = open.cause() else { return released.dropped.extend(open.into_spans()) };
        if !allowance.try_take(now) {
            released.counts.over_budget += 1;
            return released.dropped.extend(open.into_spans());
        }
        match cause {
            Cause::Error => released.counts.kept_error += 1,
            Cause::Slow => released.counts.kept_slow += 1,
        }
        let spans_left = self.bounds.spans_per_trace - open.span_count();
        self.kept.remember(trace_id, cause, spans_left, now);
        released.pass.extend(open.into_kept());
    }
}

#[cfg(test)]
impl LocalTraces {
    pub(super) fn span_count(&self) -> usize {
        self.span_count
    }

    pub(super) fn assert_within_bounds(&self) {
        let spans = self.open.values().map(OpenTrace::span_count);
        assert_eq!(spans.clone().sum::<usize>(), self.span_count);
        assert!(spans.max().unwrap_or_default() <= self.bounds.spans_per_trace);
        assert!(self.span_count <= self.bounds.spans);
        assert!(self.open.len() <= self.bounds.traces);
        assert_eq!(self.open.len(), self.by_age.len());
    }
}
