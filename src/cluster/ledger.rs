//! What is written as it happens: the audit, numbered, the records of rollouts, and the alarms that are open. Each is
//! written as soon as it is there, in a thread of its own, several in one transaction where they come faster than the disk.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use redb::{ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use tokio::sync::oneshot;

use super::store::{Store, StoreError};

/// The audit's entries as JSON, by number.
const AUDIT: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("audit");
/// Records of rollouts as JSON, by id.
const ROLLOUTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("rollouts");
/// Alarms that somebody still has to hear of, as JSON, by id.
const ALARMS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("alarms");
/// Writes that wait for the disk: a whole audit.
const WAITING_MAX: usize = 16_384;
/// Writes in one transaction.
const AT_ONCE: usize = 1_024;

/// One thing to be written.
#[derive(Debug)]
pub enum Write {
    /// An entry of the audit; those numbered below the second number go.
    Entry(u64, Vec<u8>, u64),
    /// A rollout's record.
    Rollout(Arc<str>, Vec<u8>),
    /// A rollout that is remembered no more.
    Forget(Arc<str>),
    /// An alarm that somebody has to hear of.
    Alarm(Arc<str>, Vec<u8>),
    /// One that nobody has to hear of any more.
    ForgetAlarm(Arc<str>),
    /// Told when everything before it is on the disk.
    Mark(oneshot::Sender<()>),
}

/// What an earlier process wrote.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Numbered, oldest first.
    pub entries: Vec<(u64, Vec<u8>)>,
    /// Records, in no order.
    pub rollouts: Vec<Vec<u8>>,
    /// Alarms, in no order.
    pub alarms: Vec<Vec<u8>>,
}

/// Writes in a thread of its own. Cheap to clone: clones share it.
#[derive(Debug, Clone)]
pub struct Ledger(Arc<Mutex<Pen>>);

#[derive(Debug)]
struct Pen {
    sender: Option<SyncSender<Write>>,
    thread: Option<JoinHandle<()>>,
}

impl Ledger {
    /// Starts the thread.
    pub fn start(store: Store) -> Self {
        let (sender, receiver) = sync_channel(WAITING_MAX);
        let write = move || write_all(&store, &receiver);
        let thread = std::thread::Builder::new().name("flyball-audit".to_owned()).spawn(write);
        Self(Arc::new(Mutex::new(Pen { sender: Some(sender), thread: thread.ok() })))
    }

    /// Hands over. Where the disk is so slow that there is no room, it is left out, and the log says so.
    pub fn write(&self, write: Write) {
        let pen = self.0.lock().expect("nothing panics under this lock");
        let sent = pen.sender.as_ref().map(|sender| sender.try_send(write));
        if let Some(Err(TrySendError::Full(_))) = sent {
            tracing::error!("the audit is not on the disk: it is too slow");
        }
    }

    /// Ready when everything that was handed over before is on the disk; an error where that will not be known.
    pub fn mark(&self) -> oneshot::Receiver<()> {
        let (mark, marked) = oneshot::channel();
        self.write(Write::Mark(mark));
        marked
    }

    /// Writes what waits, and ends the thread. Blocks for as long as the disk takes.
    pub fn finish(&self) {
        let thread = {
            let mut pen = self.0.lock().expect("nothing panics under this lock");
            pen.sender = None;
            pen.thread.take()
        };
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

fn write_all(store: &Store, receiver: &Receiver<Write>) {
    while let Ok(first) = receiver.recv() {
        let writes: Vec<Write> = std::iter::once(first).chain(receiver.try_iter().take(AT_ONCE)).collect();
        if let Err(error) = store.write_ledger(&writes) {
            tracing::error!(error = &error as &dyn std::error::Error, "the audit was not written");
        }
        for write in writes {
            if let Write::Mark(mark) = write {
                // Nobody may wait for it any more.
                let _ = mark.send(());
            }
        }
    }
}

impl Store {
    /// What an earlier process wrote; nothing at first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn load_ledger(&self) -> Result<Written, StoreError> {
        let read = || -> Result<Written, redb::Error> {
            let transaction = self.database.begin_read()?;
            let mut written = Written::default();
            match transaction.open_table(AUDIT) {
                Ok(table) => {
                    for entry in table.iter()? {
                        let (number, bytes) = entry?;
                        written.entries.push((number.value(), bytes.value().to_vec()));
                    }
                }
                Err(TableError::TableDoesNotExist(_)) => {}
                Err(error) => return Err(error.into()),
            }
            written.rollouts = values(&transaction, ROLLOUTS)?;
            written.alarms = values(&transaction, ALARMS)?;
            Ok(written)
        };
        read().map_err(|source| self.error(source))
    }

    fn write_ledger(&self, writes: &[Write]) -> Result<(), StoreError> {
        let write = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            {
                let mut audit = transaction.open_table(AUDIT)?;
                let mut rollouts = transaction.open_table(ROLLOUTS)?;
                let mut alarms = transaction.open_table(ALARMS)?;
                let mut oldest = 0;
                for write in writes {
                    match write {
                        Write::Entry(number, bytes, keep_from) => {
                            audit.insert(number, bytes.as_slice())?;
                            oldest = *keep_from;
                        }
                        Write::Rollout(id, bytes) => _ = rollouts.insert(&**id, bytes.as_slice())?,
                        Write::Forget(id) => _ = rollouts.remove(&**id)?,
                        Write::Alarm(id, bytes) => _ = alarms.insert(&**id, bytes.as_slice())?,
                        Write::ForgetAlarm(id) => _ = alarms.remove(&**id)?,
                        Write::Mark(_) => {}
                    }
                }
                audit.retain_in(..oldest, |_, _| false)?;
            }
            Ok(transaction.commit()?)
        };
        write().map_err(|source| self.error(source))
    }
}

/// All values of a table; none where there is no such table yet.
fn values(
    transaction: &ReadTransaction,
    table: TableDefinition<'_, &'static str, &'static [u8]>,
) -> Result<Vec<Vec<u8>>, redb::Error> {
    match transaction.open_table(table) {
        Ok(table) => {
            Ok(table.iter()?.map(|entry| Ok(entry?.1.value().to_vec())).collect::<Result<_, redb::Error>>()?)
        }
        Err(TableError::TableDoesNotExist(_)) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_there_for_the_next_process_and_the_oldest_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("opens");
        assert_eq!(store.load_ledger().expect("empty"), Written::default());
        let ledger = Ledger::start(store);
        (1..=5).for_each(|number| ledger.write(Write::Entry(number, vec![number as u8], number.saturating_sub(2))));
        ledger.write(Write::Rollout("a".into(), b"1".to_vec()));
        ledger.write(Write::Rollout("a".into(), b"2".to_vec()));
        ledger.write(Write::Rollout("b".into(), b"3".to_vec()));
        ledger.write(Write::Forget("b".into()));
        ["c", "d"].into_iter().for_each(|id| ledger.write(Write::Alarm(id.into(), b"4".to_vec())));
        ledger.write(Write::ForgetAlarm("c".into()));
        ledger.mark().blocking_recv().expect("it is on the disk");
        ledger.finish();
        drop(ledger);
        let written = Store::open(folder.path()).and_then(|store| store.load_ledger()).expect("loads");
        assert_eq!(written.entries, [(3, vec![3]), (4, vec![4]), (5, vec![5])]);
        assert_eq!((written.rollouts, written.alarms), (vec![b"2".to_vec()], vec![b"4".to_vec()]));
    }
}
