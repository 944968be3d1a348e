//! The local traces decided to be kept, for as long as spans of them may still end: work handed to another task often
//! outlives its root. Dropped ones need no memory, because what is not known is dropped.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use opentelemetry::trace::TraceId;
use opentelemetry_sdk::trace::SpanData;

use super::critical::{Cause, as_kept, is_local_root};
use super::local_traces::Released;

/// How long late spans of a kept trace still pass.
const LATE_FOR: Duration = Duration::from_secs(30);

/// At most a given number; the oldest is forgotten first.
#[derive(Debug)]
pub(super) struct KeptTraces {
    traces_max: usize,
    traces: HashMap<TraceId, Kept>,
    /// With the time at which each is forgotten, the oldest first.
    by_age: VecDeque<(Duration, TraceId)>,
}

#[derive(Debug)]
struct Kept {
    cause: Cause,
    spans_left: usize,
}

impl KeptTraces {
    pub(super) fn new(traces_max: usize) -> Self {
        Self { traces_max, traces: HashMap::new(), by_age: VecDeque::new() }
    }

    /// Late spans of this trace pass from now on, at most `spans_left`.
    pub(super) fn remember(&mut self, trace_id: TraceId, cause: Cause, spans_left: usize, now: Duration) {
        if self.traces.len() >= self.traces_max
            && let Some((_, oldest)) = self.by_age.pop_front()
        {
            self.traces.remove(&oldest);
        }
        self.traces.insert(trace_id, Kept { cause, spans_left });
        self.by_age.push_back((now.saturating_add(LATE_FOR), trace_id));
    }

    /// Forgets what is older than [`LATE_FOR`].
    pub(super) fn forget(&mut self, now: Duration) {
        while let Some((until, trace_id)) = self.by_age.front().copied()
            && until <= now
        {
            self.by_age.pop_front();
            self.traces.remove(&trace_id);
        }
    }

    pub(super) fn contains(&self, trace_id: TraceId) -> bool {
        self.traces.contains_key(&trace_id)
    }

    /// Passes a late span, or hands it back where its trace is not kept.
    pub(super) fn pass(&mut self, span: SpanData, released: &mut Released) -> Option<SpanData> {
        let Some(kept) = self.traces.get_mut(&span.span_context.trace_id()) else { return Some(span) };
        if kept.spans_left == 0 {
            released.counts.spans_over_bound += 1;
            released.dropped.push(span);
            return None;
        }
        kept.spans_left -= 1;
        let marked = is_local_root(&span).then_some(kept.cause);
        released.pass.push(as_kept(span, marked));
        None
    }

    pub(super) fn clear(&mut self) {
        self.traces.clear();
        self.by_age.clear();
    }
}
