//! A local trace that is not decided yet.

use std::time::Duration;

use opentelemetry::trace::SpanId;
use opentelemetry_sdk::trace::SpanData;

use super::critical::{Cause, as_kept, is_local_root};

/// Its ended spans so far.
#[derive(Debug)]
pub(super) struct OpenTrace {
    /// Its place among all by age.
    pub(super) age: u64,
    /// Local roots that have not ended.
    pub(super) roots: usize,
    spans: Vec<SpanData>,
    /// And the first span that was it.
    cause: Option<(Cause, SpanId)>,
}

impl OpenTrace {
    pub(super) fn new(age: u64) -> Self {
        Self { age, roots: 1, spans: Vec::new(), cause: None }
    }

    pub(super) fn span_count(&self) -> usize {
        self.spans.len()
    }

    pub(super) fn cause(&self) -> Option<Cause> {
        self.cause.map(|(cause, _)| cause)
    }

    /// Holds `span`, and hands back the one for which there is no room. The roots and the span that went wrong are what
    /// the trace is kept for: they take another's place.
    pub(super) fn hold(&mut self, span: SpanData, spans_max: usize, slow: Duration) -> Option<SpanData> {
        let is_needed = self.note_cause(&span, slow) || is_local_root(&span);
        if self.spans.len() < spans_max {
            self.spans.push(span);
            return None;
        }
        let cause = self.cause.map(|(_, id)| id);
        let is_spare = |held: &SpanData| !is_local_root(held) && Some(held.span_context.span_id()) != cause;
        match self.spans.iter().rposition(is_spare) {
            Some(place) if is_needed => Some(std::mem::replace(&mut self.spans[place], span)),
            _ => Some(span),
        }
    }

    pub(super) fn into_spans(self) -> Vec<SpanData> {
        self.spans
    }

    /// Its spans as kept ones; the roots and the cause are marked.
    pub(super) fn into_kept(self) -> impl Iterator<Item = SpanData> {
        let cause = self.cause;
        self.spans.into_iter().map(move |span| {
            let is_cause = |id: SpanId| span.span_context.span_id() == id;
            let marked = cause.filter(|(_, id)| is_local_root(&span) || is_cause(*id)).map(|(cause, _)| cause);
            as_kept(span, marked)
        })
    }

    /// Whether this span is the cause from now on.
    fn note_cause(&mut self, span: &SpanData, slow: Duration) -> bool {
        let found = Cause::of(span, slow);
        let is_news = found > self.cause();
        if is_news {
            self.cause = found.map(|cause| (cause, span.span_context.span_id()));
        }
        is_news
    }
}
