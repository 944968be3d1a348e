//! One stream: its points as samples of a counter that only rises.

use super::peers::Offset;
use super::writers::Export;
use crate::source::increase::Sample;
use crate::source::labels::Labels;
use crate::source::targets::Targets;
use crate::source::tracker::{Observation, Tracker};

/// A silence longer than this many of a stream's intervals, in halves, is not joined.
const GAP_MAX_HALF_INTERVALS: i64 = 5;
/// The longest silence that is joined while no interval is known, and the oldest start that is still new: two and a half
/// times the 60 s at which SDKs export unless told otherwise.
const GAP_MAX_MS: i64 = 150_000;
/// Nanoseconds by which SDKs may disagree with themselves about when one interval ended and the next began.
const TOUCH_NS: u64 = 1_000_000;

/// One point on its way in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    /// Tells the series from all others, its process included.
    pub(super) series: u64,
    pub(super) resource: u64,
    pub(super) offset: Offset,
    pub(super) received_ms: i64,
    pub(super) is_delta: bool,
    /// 0: not told.
    pub(super) start_ns: u64,
    pub(super) at_ns: u64,
    pub(super) value: f64,
}

/// Why a point of a known series is left out. Each is a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rejection {
    /// Not newer than what is known of its stream.
    OutOfOrder,
    /// A delta that begins before the last one ended.
    Overlap,
    /// No room for one more stream.
    TooMany,
}

/// What a series' attributes say, by the labels that the policy uses.
pub(super) type OwnLabels = Vec<(String, String)>;

/// One series of one writer.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) key: Box<str>,
    pub(super) labels: OwnLabels,
    pub(super) resource: u64,
    pub(super) is_delta: bool,
    /// Of a cumulative stream; 0 for delta, whose starts move on.
    pub(super) start_ns: u64,
    pub(super) last_ns: u64,
    /// As told, or the sum of all deltas.
    pub(super) value: f64,
    pub(super) offset: Offset,
    pub(super) spacing_ms: Option<i64>,
    pub(super) heard_ms: i64,
    pub(super) has_ended: bool,
    /// New since the last poll.
    pub(super) samples: Vec<Sample>,
    pub(super) starts_anew: bool,
}

impl Rejection {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::OutOfOrder => "out_of_order",
            Self::Overlap => "overlap",
            Self::TooMany => "too_many_series",
        }
    }
}

impl Stream {
    pub(super) fn begin(key: Box<str>, labels: OwnLabels, arrival: &Arrival, export: Export) -> Self {
        let Arrival { resource, offset, received_ms, is_delta, start_ns, at_ns, value, .. } = *arrival;
        let at_ms = offset.place(at_ns);
        let is_recent = |from_ns: u64| (1..=GAP_MAX_MS).contains(&at_ms.saturating_sub(offset.place(from_ns)));
        let told = (start_ns > 0 && (is_delta || is_recent(start_ns))).then_some(start_ns);
        let from_ns = told.or_else(|| export.before_birth_ns.filter(|from_ns| !is_delta && is_recent(*from_ns)));
        let mut stream = Self {
            key,
            labels,
            resource,
            is_delta,
            start_ns: if is_delta { 0 } else { start_ns },
            last_ns: at_ns,
            value,
            offset,
            spacing_ms: from_ns.filter(|_| is_delta).map(|from_ns| at_ms.saturating_sub(offset.place(from_ns))),
            heard_ms: received_ms,
            has_ended: false,
            samples: Vec::new(),
            starts_anew: true,
        };
        stream.samples.extend(from_ns.and_then(|from_ns| Sample::new(offset.place(from_ns), 0.0)));
        stream.push(at_ns, value);
        stream
    }

    /// One more point of a cumulative stream.
    pub(super) fn follow(&mut self, arrival: &Arrival) -> Result<(), Rejection> {
        if arrival.at_ns <= self.last_ns {
            return Err(Rejection::OutOfOrder);
        }
        self.hear(arrival);
        let gap_ms = self.offset.place(arrival.at_ns).saturating_sub(self.offset.place(self.last_ns));
        if gap_ms > self.gap_max_ms() {
            self.begin_anew();
        } else if self.samples.is_empty() {
            self.push(self.last_ns, self.value);
        }
        // Kept where it was not joined too: an interval that was changed is known the second time.
        self.spacing_ms = Some(gap_ms);
        (self.last_ns, self.value) = (arrival.at_ns, arrival.value);
        self.push(arrival.at_ns, arrival.value);
        Ok(())
    }

    /// One more point of a delta stream.
    pub(super) fn add(&mut self, arrival: &Arrival) -> Result<(), Rejection> {
        if arrival.at_ns <= self.last_ns {
            return Err(Rejection::OutOfOrder);
        }
        let start_ns = if arrival.start_ns == 0 { self.last_ns } else { arrival.start_ns };
        if start_ns.saturating_add(TOUCH_NS) < self.last_ns {
            return Err(Rejection::Overlap);
        }
        self.hear(arrival);
        let is_gap = start_ns > self.last_ns.saturating_add(TOUCH_NS);
        if is_gap {
            self.begin_anew();
            self.push(start_ns, self.value);
        } else if self.samples.is_empty() {
            self.push(self.last_ns, self.value);
        }
        let from_ns = if is_gap { start_ns } else { self.last_ns };
        self.spacing_ms = Some(self.offset.place(arrival.at_ns).saturating_sub(self.offset.place(from_ns)));
        self.last_ns = arrival.at_ns;
        self.value += arrival.value;
        self.push(arrival.at_ns, self.value);
        Ok(())
    }

    /// Nothing happened in a delta stream up to `settled_ns`, when others of its process were complete without it.
    pub(super) fn idle_until(&mut self, settled_ns: Option<u64>) {
        let Some((settled_ns, spacing_ms)) = settled_ns.zip(self.spacing_ms) else { return };
        let missing_ms = self.offset.place(settled_ns).saturating_sub(self.offset.place(self.last_ns));
        if missing_ms <= spacing_ms / 2 {
            return;
        }
        if self.samples.is_empty() {
            self.push(self.last_ns, self.value);
        }
        self.last_ns = settled_ns;
        self.push(settled_ns, self.value);
    }

    fn hear(&mut self, arrival: &Arrival) {
        if self.offset.epoch != arrival.offset.epoch || std::mem::take(&mut self.has_ended) {
            self.offset = arrival.offset;
            self.begin_anew();
            self.push(self.last_ns, self.value);
        }
        self.offset = arrival.offset;
        self.heard_ms = arrival.received_ms;
    }

    fn begin_anew(&mut self) {
        self.samples.clear();
        self.starts_anew = true;
    }

    fn push(&mut self, at_ns: u64, value: f64) {
        self.samples.extend(Sample::new(self.offset.place(at_ns), value));
    }

    pub(super) fn gap_max_ms(&self) -> i64 {
        self.spacing_ms.map_or(GAP_MAX_MS, |ms| ms.saturating_mul(GAP_MAX_HALF_INTERVALS) / 2)
    }

    /// `None` where the tracker has no room.
    pub(super) fn tell(&mut self, tracker: &mut Tracker, targets: &mut Targets) -> Option<u64> {
        let samples = std::mem::take(&mut self.samples);
        let starts_anew = std::mem::take(&mut self.starts_anew);
        let observation = Observation { key: &self.key, known: None, samples: &samples, target: None, starts_anew };
        let labels = || Labels(self.labels.iter().map(|(l, v)| (l.as_str().into(), v.as_str().into())).collect());
        tracker.observe(observation, targets, || Some(labels())).ok()
    }
}
