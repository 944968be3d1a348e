//! What is open, and who has heard of it: kept on the disk, so that a restart neither tells an opening twice nor forgets to
//! tell of its end. An alarm stays here until it is over and everybody whom it was for has heard so.
//!
//! Limits: a receiver is its name in the configuration. What it took in the moment before the process was killed may come
//! again, under the same id.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::told::Alert;
use crate::cluster::ledger::{Ledger, Write};
use crate::time::WallTime;

/// An alarm waits no longer for the disk: a full or broken one must not silence it.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);

/// The alarms that somebody still has to hear of. Cheap to clone: clones share it.
#[derive(Debug, Clone, Default)]
pub struct AlertBook(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    /// By the alert's id.
    kept: BTreeMap<Arc<str>, Kept>,
    ledger: Option<Ledger>,
    revision: u64,
}

/// One alarm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// As it stands.
    pub alert: Arc<Alert>,
    /// Whom it is for, by name.
    pub receivers: BTreeMap<Arc<str>, Told>,
}

/// What one receiver knows of an alarm.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Told {
    /// What it has heard.
    pub heard: Heard,
    /// When it heard that.
    pub at: Option<WallTime>,
    /// The last try, where it failed.
    #[serde(skip)]
    pub failure: Option<Failure>,
}

/// How much of an alarm a receiver has heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Heard {
    /// Nothing.
    #[default]
    Nothing,
    /// That it opened.
    Opening,
    /// That it is over.
    End,
}

/// A try that failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// When.
    pub at: WallTime,
    /// Why.
    pub why: Arc<str>,
}

impl Heard {
    /// The name in JSON: the state that it was told last.
    pub const fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::Opening => Some("firing"),
            Self::End => Some("resolved"),
        }
    }

    fn of(alert: &Alert) -> Self {
        if alert.resolved_at.is_some() { Self::End } else { Self::Opening }
    }
}

impl AlertBook {
    /// Goes on with what an earlier process wrote; what cannot be read is left out, with a warning.
    pub fn new(written: &[Vec<u8>], ledger: Option<Ledger>) -> Self {
        let warn = |error: &serde_json::Error| tracing::warn!(%error, "cannot read an alarm that was open");
        let read = written.iter().filter_map(|bytes| serde_json::from_slice::<Kept>(bytes).inspect_err(warn).ok());
        let kept = read.map(|kept| (Arc::clone(&kept.alert.id), kept)).collect();
        Self(Arc::new(Mutex::new(Book { kept, ledger, revision: 0 })))
    }

    /// As they stand, the newest first.
    pub fn load(&self) -> Vec<Kept> {
        let mut kept: Vec<Kept> = self.book().kept.values().cloned().collect();
        kept.sort_by_key(|kept| std::cmp::Reverse(kept.alert.opened_at));
        kept
    }

    /// Another number where it says something else.
    pub fn revision(&self) -> u64 {
        self.book().revision
    }

    /// An alarm opened, for these.
    pub(super) fn open(&self, alert: &Arc<Alert>, receivers: impl Iterator<Item = Arc<str>>) {
        let receivers = receivers.map(|name| (name, Told::default())).collect();
        let kept = Kept { alert: Arc::clone(alert), receivers };
        let mut book = self.book();
        book.kept.insert(Arc::clone(&alert.id), kept);
        book.write(&alert.id);
    }

    /// An alarm is over; who has to hear so.
    pub(super) fn over(&self, alert: &Arc<Alert>) -> Vec<Arc<str>> {
        let mut book = self.book();
        let Some(kept) = book.kept.get_mut(&alert.id) else { return Vec::new() };
        kept.alert = Arc::clone(alert);
        let receivers = kept.receivers.keys().cloned().collect();
        book.write(&alert.id);
        receivers
    }

    /// A receiver took a message, or never will, for this reason.
    pub(super) fn heard(&self, receiver: &Arc<str>, alert: &Alert, at: WallTime, refused: Option<Failure>) {
        self.of(receiver, alert, |told| *told = Told { heard: Heard::of(alert), at: Some(at), failure: refused });
        self.book().write(&alert.id);
    }

    /// A try failed.
    pub(super) fn failed(&self, receiver: &Arc<str>, alert: &Alert, failure: Failure) {
        self.of(receiver, alert, |told| told.failure = Some(failure));
        self.book().revision += 1;
    }

    /// These are no news to a receiver any more: nobody will tell it.
    pub(super) fn left_out(&self, receiver: &Arc<str>, alerts: &[Arc<Alert>]) {
        let mut book = self.book();
        for alert in alerts {
            if let Some(kept) = book.kept.get_mut(&alert.id) {
                kept.receivers.remove(receiver);
            }
            book.write(&alert.id);
        }
    }

    /// Receivers that the configuration does not name any more need not hear anything.
    pub(super) fn keep_receivers(&self, is_known: impl Fn(&str) -> bool) {
        let mut book = self.book();
        book.kept.values_mut().for_each(|kept| kept.receivers.retain(|name, _| is_known(name)));
        let ids: Vec<Arc<str>> = book.kept.keys().cloned().collect();
        ids.iter().for_each(|id| book.write(id));
    }

    /// One more receiver of an open alarm.
    pub(super) fn add_receiver(&self, alert: &Alert, receiver: &Arc<str>) {
        let mut book = self.book();
        if let Some(kept) = book.kept.get_mut(&alert.id) {
            kept.receivers.entry(Arc::clone(receiver)).or_default();
        }
        book.write(&alert.id);
    }

    /// Returns when what happened before is on the disk, or after a second.
    pub(super) async fn written(&self) {
        let mark = self.book().ledger.as_ref().map(Ledger::mark);
        if let Some(mark) = mark {
            // An error is a ledger that has ended, or is full: it has said so.
            let _ = tokio::time::timeout(WRITTEN_WITHIN, mark).await;
        }
    }

    fn of(&self, receiver: &Arc<str>, alert: &Alert, change: impl FnOnce(&mut Told)) {
        if let Some(told) = self.book().kept.get_mut(&alert.id).and_then(|kept| kept.receivers.get_mut(receiver)) {
            change(told);
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().expect("nothing panics under this lock")
    }
}

impl Book {
    /// Writes how an alarm stands; forgets it where nobody has to hear of it any more.
    fn write(&mut self, id: &Arc<str>) {
        self.revision += 1;
        let Some(kept) = self.kept.get(id) else { return };
        let is_over = kept.alert.resolved_at.is_some();
        let is_done = is_over && kept.receivers.values().all(|told| told.heard == Heard::End);
        let write = if is_done {
            self.kept.remove(id);
            Write::ForgetAlarm(Arc::clone(id))
        } else {
            let bytes = serde_json::to_vec(kept).expect("plain structs with string keys become JSON");
            Write::Alarm(Arc::clone(id), bytes)
        };
        if let Some(ledger) = &self.ledger {
            ledger.write(write);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::alert;
    use super::*;
    use crate::cluster::store::Store;
    use crate::keepalive::alarm::watch::End;

    const NOW: WallTime = WallTime::from_unix_ms(2);

    fn names(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|name| (*name).into()).collect()
    }

    fn over(alert: &Alert) -> Arc<Alert> {
        Arc::new(alert.resolved(NOW, End::Recovered))
    }

    fn heard(book: &AlertBook) -> Vec<(String, Heard)> {
        let kept = book.load();
        let receivers = kept.iter().flat_map(|kept| &kept.receivers);
        receivers.map(|(name, told)| (name.to_string(), told.heard)).collect()
    }

    /// In a folder, as one process after the other has it.
    fn process(folder: &std::path::Path, live: impl FnOnce(&AlertBook)) {
        let store = Store::open(folder).expect("opens");
        let written = store.load_ledger().expect("reads").alarms;
        let ledger = Ledger::start(store);
        let book = AlertBook::new(&written, Some(ledger.clone()));
        live(&book);
        ledger.finish();
    }

    #[test]
    fn what_is_open_and_who_knows_outlives_the_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let alert = Arc::new(alert("carrier=a,region=north"));
        process(folder.path(), |book| {
            book.open(&alert, names(&["a", "b"]).into_iter());
            book.heard(&"a".into(), &alert, NOW, None);
            book.failed(&"b".into(), &alert, Failure { at: NOW, why: "status 500".into() });
        });
        process(folder.path(), |book| {
            assert_eq!(book.load()[0].alert, alert, "every word of it");
            assert_eq!(heard(book), [("a".into(), Heard::Opening), ("b".into(), Heard::Nothing)]);
            assert_eq!(book.over(&over(&alert)), names(&["a", "b"]));
            book.heard(&"a".into(), &over(&alert), NOW, None);
        });
        process(folder.path(), |book| {
            assert_eq!(heard(book), [("a".into(), Heard::End), ("b".into(), Heard::Nothing)]);
            book.heard(&"b".into(), &over(&alert), NOW, None);
            assert!(book.load().is_empty());
        });
        process(folder.path(), |book| assert!(book.load().is_empty(), "everybody has heard of its end"));
    }

    #[test]
    fn an_entry_that_is_damaged_is_left_out_and_the_others_are_there() {
        let kept = Kept { alert: Arc::new(alert("a")), receivers: BTreeMap::new() };
        let bytes = serde_json::to_vec(&kept).expect("becomes JSON");
        let book = AlertBook::new(&[bytes[..bytes.len() / 2].to_vec(), bytes, b"{}".to_vec(), Vec::new()], None);
        assert_eq!(book.load(), [kept]);
    }

    #[test]
    fn an_alarm_that_is_over_waits_only_for_those_who_are_to_hear_so() {
        let (book, alert) = (AlertBook::default(), Arc::new(alert("a")));
        book.open(&alert, names(&["a", "b", "c"]).into_iter());
        book.over(&over(&alert));
        book.heard(&"a".into(), &over(&alert), NOW, None);
        book.left_out(&"b".into(), &[Arc::clone(&alert), over(&alert)]);
        assert_eq!(heard(&book).len(), 2);
        book.keep_receivers(|name| name != "c");
        assert!(book.load().is_empty());
    }
}
