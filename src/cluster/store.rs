//! The embedded store: one file a role, one writer a table. What is written is small and always whole (a policy's memory is
//! one value), so a crash leaves the last complete state and never half of one.

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use redb::backends::InMemoryBackend;
use redb::{
    Database, DatabaseError, ReadOnlyDatabase, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition,
};

use crate::controller::memory::Memories;
use crate::keepalive::governor::memory::Memory as KeepaliveMemory;
use crate::sampling::memory::Memory;

/// The sampling controller's file within the state folder.
const FILE: &str = "sampling.redb";
/// A policy's memory as JSON, by the policy's name.
const POLICIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("policies");
/// Numbers by name.
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
const GENERATION: &str = "generation";
/// What the second loop learnt, as JSON: one entry, whole.
const KEEPALIVE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("keepalive");
const LEARNT: &str = "learnt";

/// The state folder of one process. Cheap to clone: clones share it.
#[derive(Debug, Clone)]
pub struct Store {
    pub(super) database: Arc<Database>,
    path: PathBuf,
}

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder cannot be made.
    #[error("cannot create the state folder {}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process has it.
    #[error("the state in {} is in use by another process; give each process a folder of its own", path.display())]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("cannot use the state file {}", path.display())]
    Database {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<redb::Error>,
    },
}

impl Store {
    /// Opens the store in `folder`, which is made if it does not exist. A file that is damaged beyond repair is moved
    /// aside and an empty one begun: what it held can be learnt again, an answer to clients cannot wait.
    ///
    /// # Errors
    /// The folder cannot be made or written, or another process has the file open.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(folder).map_err(|source| StoreError::Folder { path: folder.to_owned(), source })?;
        let path = folder.join(FILE);
        match Database::create(&path) {
            Ok(database) => Ok(Self { database: Arc::new(database), path }),
            Err(DatabaseError::DatabaseAlreadyOpen) => Err(StoreError::InUse { path }),
            Err(error @ DatabaseError::Storage(redb::StorageError::Corrupted(_))) => Self::begin_anew(path, error),
            Err(DatabaseError::Storage(redb::StorageError::Io(error)))
                if error.kind() == std::io::ErrorKind::InvalidData =>
            {
                Self::begin_anew(path, DatabaseError::Storage(redb::StorageError::Io(error)))
            }
            Err(error) => Err(StoreError::Database { path, source: Box::new(error.into()) }),
        }
    }

    fn begin_anew(path: PathBuf, damage: DatabaseError) -> Result<Self, StoreError> {
        let aside = path.with_extension("damaged");
        tracing::warn!(file = %path.display(), moved_to = %aside.display(), error = %damage, "state is damaged: starting without it");
        let moved = std::fs::rename(&path, &aside);
        let database = match moved {
            Ok(()) => Database::create(&path),
            Err(_) => Err(damage),
        };
        match database {
            Ok(database) => Ok(Self { database: Arc::new(database), path }),
            Err(error) => Err(StoreError::Database { path, source: Box::new(error.into()) }),
        }
    }

    /// What the last process left; empty at first. A policy whose entry cannot be read is left out, with a warning.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn load(&self) -> Result<Memories, StoreError> {
        self.read().map_err(|source| self.error(source))
    }

    /// Replaces everything.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, memories: &Memories) -> Result<(), StoreError> {
        self.write(memories).map_err(|source| self.error(source))
    }

    /// What the second loop of the last process learnt; nothing at first, or where it cannot be read, with a warning.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn load_keepalive(&self) -> Result<KeepaliveMemory, StoreError> {
        let bytes = keepalive_bytes(&*self.database).map_err(|source| self.error(source))?;
        Ok(learnt(bytes))
    }

    /// Replaces what the second loop learnt.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save_keepalive(&self, memory: &KeepaliveMemory) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(memory).expect("plain structs with string keys become JSON");
        let write = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            transaction.open_table(KEEPALIVE)?.insert(LEARNT, &*bytes)?;
            Ok(transaction.commit()?)
        };
        write().map_err(|source| self.error(source))
    }

    pub(super) fn error(&self, source: redb::Error) -> StoreError {
        StoreError::Database { path: self.path.clone(), source: Box::new(source) }
    }

    fn read(&self) -> Result<Memories, redb::Error> {
        let mut memories = Memories::default();
        let transaction = self.database.begin_read()?;
        let policies = match transaction.open_table(POLICIES) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(memories),
            Err(error) => return Err(error.into()),
        };
        for entry in policies.iter()? {
            let (name, bytes) = entry?;
            match serde_json::from_slice::<Memory>(bytes.value()) {
                Ok(memory) => drop(memories.policies.insert(name.value().into(), memory)),
                Err(error) => tracing::warn!(policy = name.value(), %error, "cannot read what this policy had learnt"),
            }
        }
        let generation = transaction.open_table(NUMBERS)?.get(GENERATION)?;
        memories.generation = generation.map_or(0, |g| g.value());
        Ok(memories)
    }

    fn write(&self, memories: &Memories) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut policies = transaction.open_table(POLICIES)?;
            policies.retain(|name, _| memories.policies.contains_key(name))?;
            for (name, memory) in &memories.policies {
                let bytes = serde_json::to_vec(memory).expect("plain structs with string keys become JSON");
                policies.insert(&**name, &*bytes)?;
            }
            transaction.open_table(NUMBERS)?.insert(GENERATION, memories.generation)?;
        }
        Ok(transaction.commit()?)
    }
}

/// What the second loop of the process that had this state folder learnt, without a change to a byte of it; `None` where
/// there is none.
///
/// # Errors
/// A process has the folder now, or the file cannot be read.
pub fn peek_keepalive(folder: &Path) -> Result<Option<KeepaliveMemory>, StoreError> {
    let path = folder.join(FILE);
    if !path.exists() {
        return Ok(None);
    }
    let failed = |source: redb::Error| StoreError::Database { path: path.clone(), source: Box::new(source) };
    let bytes = match ReadOnlyDatabase::open(&path) {
        Ok(database) => keepalive_bytes(&database),
        Err(DatabaseError::DatabaseAlreadyOpen) => return Err(StoreError::InUse { path }),
        Err(DatabaseError::RepairAborted) => repaired_copy(&path).and_then(|copy| keepalive_bytes(&copy)),
        Err(error) => return Err(failed(error.into())),
    };
    Ok(Some(learnt(bytes.map_err(failed)?)))
}

/// A process that was killed leaves a file that has to be repaired before it can be read: a copy in memory is.
fn repaired_copy(path: &Path) -> Result<Database, redb::Error> {
    let bytes = std::fs::read(path).map_err(redb::Error::Io)?;
    let backend = InMemoryBackend::new();
    backend.set_len(bytes.len() as u64).map_err(redb::Error::Io)?;
    backend.write(0, &bytes).map_err(redb::Error::Io)?;
    Ok(Database::builder().create_with_backend(backend)?)
}

fn keepalive_bytes(database: &impl ReadableDatabase) -> Result<Option<Vec<u8>>, redb::Error> {
    let table = match database.begin_read()?.open_table(KEEPALIVE) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(table.get(LEARNT)?.map(|bytes| bytes.value().to_vec()))
}

fn learnt(bytes: Option<Vec<u8>>) -> KeepaliveMemory {
    let warn = |error: &serde_json::Error| tracing::warn!(%error, "cannot read what the second loop had learnt");
    bytes.and_then(|bytes| serde_json::from_slice(&bytes).inspect_err(warn).ok()).unwrap_or_default()
}

/// Writes in a thread of its own, so that a slow disk delays no tick; the newest memories win.
#[derive(Debug)]
pub struct Saver<T> {
    sender: Option<mpsc::SyncSender<T>>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Saver<T> {
    /// Starts the thread, which writes with `save`.
    pub fn start(store: Store, save: fn(&Store, &T) -> Result<(), StoreError>) -> Self {
        let (sender, receiver) = mpsc::sync_channel::<T>(1);
        let thread = std::thread::Builder::new().name("flyball-state".to_owned()).spawn(move || {
            for memories in receiver {
                if let Err(error) = save(&store, &memories) {
                    tracing::error!(error = &error as &dyn std::error::Error, "state was not saved");
                }
            }
        });
        Self { sender: Some(sender), thread: thread.ok() }
    }

    /// Hands over; while the thread is busy the hand-over is left out, because the next tick brings newer ones. Whether
    /// it was taken.
    pub fn save(&self, memories: T) -> bool {
        self.sender.as_ref().is_some_and(|sender| sender.try_send(memories).is_ok())
    }

    /// Writes `last` and ends the thread. Blocks for as long as the disk takes.
    pub fn finish(mut self, last: T) {
        if let Some(sender) = self.sender.take() {
            let _ = sender.send(last);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::budget::BudgetMemory;
    use crate::sampling::memory::ServiceMemory;

    fn memories() -> Memories {
        let services =
            vec![ServiceMemory { name: "web".into(), probability: 0.25, operations: vec![("GET /".into(), 0.5)] }];
        let budget = BudgetMemory { configured: None, spans_per_second: Some(97.0), capacity: Some(100.0) };
        let memory = Memory { budget, spans_per_trace: Some(8.0), services };
        Memories { generation: 42, policies: [("shop".into(), memory)].into() }
    }

    #[test]
    fn what_was_saved_is_loaded_and_policies_that_left_are_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("opens");
        assert_eq!(store.load().expect("empty"), Memories::default());
        store.save(&memories()).expect("saves");
        drop(store);
        let store = Store::open(folder.path()).expect("opens again");
        assert_eq!(store.load().expect("loads"), memories());
        store.save(&Memories { generation: 43, ..Memories::default() }).expect("saves");
        assert_eq!(store.load().expect("loads"), Memories { generation: 43, ..Memories::default() });
    }

    #[test]
    fn a_second_process_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let _first = Store::open(folder.path()).expect("opens");
        assert!(matches!(Store::open(folder.path()), Err(StoreError::InUse { .. })));
    }

    #[test]
    fn a_damaged_file_is_moved_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(FILE), b"not a database".repeat(1000)).expect("written");
        let store = Store::open(folder.path()).expect("begins anew");
        assert_eq!(store.load().expect("empty"), Memories::default());
        assert!(folder.path().join("sampling.damaged").exists());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, b"").expect("written");
        let error = Store::open(&file.join("state")).expect_err("a file is in the way");
        assert!(error.to_string().contains("cannot create the state folder"), "{error}");
    }

    #[test]
    fn the_saver_writes_the_last_memories_before_it_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let saver = Saver::start(Store::open(folder.path()).expect("opens"), Store::save);
        saver.save(Memories::default());
        saver.finish(memories());
        assert_eq!(Store::open(folder.path()).and_then(|s| s.load()).expect("loads"), memories());
    }

    #[test]
    fn both_loops_remember_in_one_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("opens");
        assert_eq!(store.load_keepalive().expect("empty"), KeepaliveMemory::default());
        let learnt = KeepaliveMemory { generation: 7, ..KeepaliveMemory::default() };
        store.save_keepalive(&learnt).expect("saves");
        store.save(&memories()).expect("saves");
        drop(store);
        let store = Store::open(folder.path()).expect("opens again");
        assert_eq!((store.load().expect("loads"), store.load_keepalive().expect("loads")), (memories(), learnt));
    }
}
