//! The registry on its way to the disk, off the way of the heartbeats: a worker copies some thousand devices at a time,
//! between two batches, and one thread for all workers writes them. A file appears under its name when it is whole.
//!
//! ```text
//! magic · 80 bytes a device · cohorts (JSON) · their length u32 · devices u64 · CRC-32 of all before, u32
//! ```
//!
//! A file is as old as its copy, and each device in it as of its own moment; both are sound, since a device's state only
//! counts for itself. What was taken after the last copy could be replayed to a process that begins with it: unless the
//! last one ended in order and says so by a file of its own, each device's address must answer once more.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};

use super::record::{RECORD_BYTES, write};
use super::{Registry, Slot};
use crate::fleet::cohorts::CohortTable;
use crate::keepalive::cohort::Labels;

/// Begins each file.
pub const MAGIC: [u8; 8] = *b"flybdev1";
/// There only while no process has used the folder since one ended in order.
pub const CLEAN: &str = "devices.clean";
/// Devices that a worker copies between two batches: 0.1 ms.
const SLICE: Slot = 2_048;
/// Slices that may wait for the disk.
pub const PARCELS_QUEUE: usize = 16;

/// The file of a worker's devices.
pub fn file_of(folder: &Path, worker: usize) -> PathBuf {
    folder.join(format!("devices-{worker}.bin"))
}

/// A cohort, as a file names it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CohortRow {
    /// What the records call it.
    pub index: u32,
    /// `carrier=a,region=eu`.
    pub name: String,
    /// The labels that make it.
    pub labels: Vec<(String, String)>,
}

/// What a worker hands over.
#[derive(Debug)]
pub enum Parcel {
    /// Records.
    Records(usize, Vec<u8>),
    /// The last of them came.
    End(usize),
}

/// A copy under way.
#[derive(Debug)]
pub struct Copying {
    worker: usize,
    next: Slot,
    /// What the disk was not ready for.
    ready: Option<Parcel>,
    parcels: SyncSender<Parcel>,
}

impl Copying {
    /// From the first device on.
    pub fn begin(worker: usize, parcels: SyncSender<Parcel>) -> Self {
        Self { worker, next: 0, ready: None, parcels }
    }

    /// Copies a slice, if the disk is ready for it; whether that was all.
    pub fn step(&mut self, registry: &Registry) -> bool {
        let parcel = self.ready.take().unwrap_or_else(|| self.parcel(registry));
        let is_end = matches!(parcel, Parcel::End(_));
        match self.parcels.try_send(parcel) {
            Ok(()) => is_end,
            Err(TrySendError::Full(parcel)) => {
                self.ready = Some(parcel);
                false
            }
            Err(TrySendError::Disconnected(_)) => true,
        }
    }

    /// Copies all, and waits for the disk.
    pub fn finish(mut self, registry: &Registry) {
        loop {
            let parcel = self.ready.take().unwrap_or_else(|| self.parcel(registry));
            let is_end = matches!(parcel, Parcel::End(_));
            if self.parcels.send(parcel).is_err() || is_end {
                return;
            }
        }
    }

    fn parcel(&mut self, registry: &Registry) -> Parcel {
        let places = registry.places() as Slot;
        if self.next >= places {
            return Parcel::End(self.worker);
        }
        let end = places.min(self.next + SLICE);
        let mut records = Vec::with_capacity((end - self.next) as usize * RECORD_BYTES);
        let entries = (self.next..end).map(|slot| registry.get(slot)).filter(|entry| !entry.is_vacant);
        entries.for_each(|entry| write(entry, &mut records));
        self.next = end;
        Parcel::Records(self.worker, records)
    }
}

/// Writes what the workers hand over, until all of them have ended; a thread's whole life.
pub fn keep(folder: &Path, parcels: &Receiver<Parcel>, cohorts: &Arc<CohortTable>) {
    let mut files: HashMap<usize, Writing> = HashMap::new();
    for parcel in parcels {
        let (Parcel::Records(worker, _) | Parcel::End(worker)) = &parcel;
        let (worker, path) = (*worker, file_of(folder, *worker));
        let done = match parcel {
            Parcel::Records(_, records) => match files.remove(&worker).map_or_else(|| Writing::begin(&path), Ok) {
                Ok(mut file) => file.add(&records).map(|()| drop(files.insert(worker, file))),
                Err(error) => Err(error),
            },
            Parcel::End(_) => files
                .remove(&worker)
                .map_or_else(|| Writing::begin(&path), Ok)
                .and_then(|file| file.end(cohorts, &path)),
        };
        if let Err(error) = done {
            tracing::warn!(%error, file = %path.display(), "heartbeats: the registry cannot be written: devices would register anew after a restart");
        }
    }
}

/// Says that the files are of a process that ended in order, of this many workers.
pub fn mark_clean(folder: &Path) -> io::Result<()> {
    File::create(folder.join(CLEAN))?.sync_all()
}

struct Writing {
    file: BufWriter<File>,
    crc: crc32fast::Hasher,
    devices: u64,
}

impl Writing {
    fn begin(path: &Path) -> io::Result<Self> {
        let file = BufWriter::with_capacity(1 << 18, File::create(path.with_extension("tmp"))?);
        let mut writing = Self { file, crc: crc32fast::Hasher::new(), devices: 0 };
        writing.write(&MAGIC)?;
        Ok(writing)
    }

    fn add(&mut self, records: &[u8]) -> io::Result<()> {
        self.devices += (records.len() / RECORD_BYTES) as u64;
        self.write(records)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc.update(bytes);
        self.file.write_all(bytes)
    }

    fn end(mut self, cohorts: &CohortTable, path: &Path) -> io::Result<()> {
        let rows = serde_json::to_vec(&rows(cohorts))?;
        self.write(&rows)?;
        self.write(&u32::try_from(rows.len()).map_err(io::Error::other)?.to_be_bytes())?;
        self.write(&self.devices.to_be_bytes())?;
        let crc = self.crc.clone().finalize();
        self.file.write_all(&crc.to_be_bytes())?;
        self.file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_data()?;
        fs::rename(path.with_extension("tmp"), path)
    }
}

fn rows(cohorts: &CohortTable) -> Vec<CohortRow> {
    let text = |labels: &Labels| labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let cohorts = cohorts.since(0).into_iter().enumerate();
    let row = cohorts.map(|(index, entry)| CohortRow {
        index: index as u32,
        name: entry.key.name.to_string(),
        labels: text(&entry.labels),
    });
    row.collect()
}
