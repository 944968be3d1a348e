//! When each process exported. A series that appears in the third export of its process, or later, was born since the
//! one before: at zero, and its first value is its first increment. The first loss that a collector ever counts shows in
//! no other way. Two exports must have come without it, because the first may have been cut in two by the moment at which
//! we began to listen.

use std::collections::HashMap;

use super::stream::Arrival;

/// Points of one export may differ by this; two exports may not.
const EXPORT_MS: i64 = 500;
/// Instruments of one process that begin within this of each other have one writer.
const START_SPREAD_NS: u64 = 100_000_000;
/// Writers of one process that are told apart.
const WRITERS_MAX: usize = 1_000;
/// A writer that was silent for this long is forgotten.
const FORGET_AFTER_MS: i64 = 300_000;

/// The exports of every process; at most one writer a stream.
#[derive(Debug, Default)]
pub(super) struct Writers {
    by_resource: HashMap<u64, Vec<Writer>>,
}

#[derive(Debug)]
struct Writer {
    is_delta: bool,
    start_ns: u64,
    exports: u32,
    newest_ns: u64,
    /// The one before the newest.
    previous_ns: u64,
    /// The newest as it was at the last poll, and at the one before: no more of that will come.
    settling_ns: Option<u64>,
    settled_ns: Option<u64>,
    heard_ms: i64,
}

/// What a point's export says about a series that it is the first of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Export {
    /// The export before, which came without the series; `None` where too few came to tell.
    pub(super) before_birth_ns: Option<u64>,
}

impl Writers {
    /// Notes the export that a point of a stream belongs to.
    pub(super) fn hear(&mut self, arrival: &Arrival) -> Export {
        let Arrival { is_delta, at_ns, offset, received_ms, .. } = *arrival;
        let start_ns = if is_delta { 0 } else { arrival.start_ns };
        let writers = self.by_resource.entry(arrival.resource).or_default();
        let is_same = |w: &&mut Writer| w.is_delta == is_delta && w.start_ns.abs_diff(start_ns) <= START_SPREAD_NS;
        let Some(writer) = writers.iter_mut().find(is_same) else {
            let heard_ms = received_ms;
            let first = Writer {
                is_delta,
                start_ns,
                exports: 1,
                newest_ns: at_ns,
                previous_ns: at_ns,
                settling_ns: None,
                settled_ns: None,
                heard_ms,
            };
            if writers.len() < WRITERS_MAX {
                writers.push(first);
            }
            return Export { before_birth_ns: None };
        };
        writer.heard_ms = received_ms;
        let later_ms = offset.place(at_ns).saturating_sub(offset.place(writer.newest_ns));
        if later_ms > EXPORT_MS {
            (writer.previous_ns, writer.newest_ns) = (writer.newest_ns, at_ns);
            writer.exports = writer.exports.saturating_add(1);
        }
        // A start that is not told names nobody.
        let is_told = writer.exports > 2 && later_ms >= -EXPORT_MS && start_ns > 0;
        Export { before_birth_ns: is_told.then_some(writer.previous_ns) }
    }

    /// Up to when the deltas of a process are complete, on its own clock.
    pub(super) fn settled_ns(&self, resource: u64) -> Option<u64> {
        self.by_resource.get(&resource)?.iter().find(|writer| writer.is_delta)?.settled_ns
    }

    /// A poll ends: what was heard before it is complete now.
    pub(super) fn settle(&mut self, now_ms: i64) {
        self.by_resource.retain(|_, writers| {
            writers.retain(|writer| now_ms.saturating_sub(writer.heard_ms) <= FORGET_AFTER_MS);
            !writers.is_empty()
        });
        for writer in self.by_resource.values_mut().flatten() {
            writer.settled_ns = writer.settling_ns.replace(writer.newest_ns);
        }
    }
}
