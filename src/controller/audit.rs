//! The audit of the second loop: what happened, numbered, never changed; the newest [`ENTRIES_MAX`] of it. With a state
//! folder it is on the disk as soon as it happened, and goes on with the next number after a restart; without one it is
//! in memory, and numbers begin at the time of the start, so that none is ever used twice.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::cluster::ledger::{Ledger, Write};
use crate::keepalive::wave::audit::Event;
use crate::time::WallTime;

/// Entries that are kept; the oldest go. A rollout has some five, a cohort's pace changes a few times a day.
pub const ENTRIES_MAX: usize = 10_000;

/// One entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Greater than that of every entry before.
    pub number: u64,
    /// When.
    pub at: WallTime,
    /// What happened.
    pub what: Audited,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Audited {
    /// A step of a rollout.
    Rollout(Event),
    /// A cohort has another pace.
    Pace(PaceChange),
    /// An alert; its shape is its own room's.
    Alert(serde_json::Value),
}

/// A cohort has another pace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PaceChange {
    /// The cohort's name.
    pub cohort: Arc<str>,
    /// `udp` or `tcp`.
    pub transport: String,
    /// Before; `None` for a new cohort.
    pub from_s: Option<f64>,
    /// Now.
    pub interval_s: f64,
    /// Why.
    pub reason: String,
    /// Of the order.
    pub generation: u64,
}

/// The audit. Cheap to clone: clones share it.
#[derive(Debug, Clone)]
pub struct AuditLog {
    entries: Arc<Mutex<Entries>>,
    newest: watch::Sender<u64>,
    ledger: Option<Ledger>,
}

#[derive(Debug)]
struct Entries {
    newest: u64,
    kept: VecDeque<Arc<AuditEntry>>,
}

impl AuditLog {
    /// Goes on after what an earlier process wrote, if there is a disk to write to; entries that cannot be read are left
    /// out, with a warning.
    pub fn new(written: Vec<(u64, Vec<u8>)>, ledger: Option<Ledger>, now: WallTime) -> Self {
        let newest = written.last().map(|(number, _)| *number);
        let start = if ledger.is_some() { 0 } else { u64::try_from(now.unix_ms()).unwrap_or(0) };
        let newest = newest.unwrap_or(0).max(start);
        let kept: VecDeque<Arc<AuditEntry>> =
            written.iter().filter_map(|(number, bytes)| read(*number, bytes)).collect();
        Self { entries: Arc::new(Mutex::new(Entries { newest, kept })), newest: watch::Sender::new(newest), ledger }
    }

    /// One more; its number.
    pub fn append(&self, at: WallTime, what: Audited) -> u64 {
        let mut entries = self.entries();
        let number = entries.newest + 1;
        let entry = AuditEntry { number, at, what };
        let bytes = self.ledger.as_ref().map(|_| serde_json::to_vec(&entry).expect("plain structs become JSON"));
        entries.newest = number;
        entries.kept.push_back(Arc::new(entry));
        if entries.kept.len() > ENTRIES_MAX {
            entries.kept.pop_front();
        }
        let oldest = entries.kept.front().map_or(number, |entry| entry.number);
        if let Some((ledger, bytes)) = self.ledger.as_ref().zip(bytes) {
            ledger.write(Write::Entry(number, bytes, oldest));
        }
        drop(entries);
        self.newest.send_replace(number);
        number
    }

    /// Entries after this number, oldest first, at most so many.
    pub fn since(&self, number: u64, max: usize) -> Vec<Arc<AuditEntry>> {
        let entries = self.entries();
        let from = entries.kept.partition_point(|entry| entry.number <= number);
        entries.kept.range(from..).take(max).cloned().collect()
    }

    /// The newest number; changes after its entry can be read.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().expect("nothing panics under this lock")
    }
}

impl Default for AuditLog {
    fn default() -> Self {
        Self::new(Vec::new(), None, WallTime::default())
    }
}

fn read(number: u64, bytes: &[u8]) -> Option<Arc<AuditEntry>> {
    let warn = |error: &serde_json::Error| tracing::warn!(number, %error, "cannot read an entry of the audit");
    serde_json::from_slice(bytes).inspect_err(warn).ok().map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::store::Store;

    fn alert(n: u64) -> Audited {
        Audited::Alert(serde_json::json!({ "n": n }))
    }

    #[test]
    fn numbers_only_rise_and_the_oldest_entries_go() {
        let log = AuditLog::new(Vec::new(), None, WallTime::from_unix_ms(1_000));
        let numbers: Vec<u64> =
            (0..ENTRIES_MAX as u64 + 5).map(|n| log.append(WallTime::default(), alert(n))).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b) && numbers[0] == 1_001);
        let all = log.since(0, usize::MAX);
        assert_eq!((all.len(), all[0].number), (ENTRIES_MAX, 1_006));
        let newest = *numbers.last().expect("some");
        assert_eq!(
            log.since(newest - 2, 10).iter().map(|entry| entry.number).collect::<Vec<_>>(),
            [newest - 1, newest]
        );
        assert_eq!((log.since(newest, 10).len(), *log.subscribe().borrow()), (0, newest));
    }

    #[test]
    fn a_later_process_goes_on_with_the_next_number() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || {
            let store = Store::open(folder.path()).expect("opens");
            let written = store.load_ledger().expect("reads").entries;
            let ledger = Ledger::start(store);
            (AuditLog::new(written, Some(ledger.clone()), WallTime::default()), ledger)
        };
        let (log, ledger) = open();
        (0..3).for_each(|n| _ = log.append(WallTime::default(), alert(n)));
        ledger.finish();
        drop((log, ledger));
        let (log, ledger) = open();
        assert_eq!(log.append(WallTime::default(), alert(9)), 4);
        assert_eq!(log.since(0, 10)[1].what, alert(1));
        ledger.finish();
    }
}
