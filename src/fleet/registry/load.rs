//! The registry from the disk. A file that is damaged is refused as a whole and set aside: its devices register anew,
//! which costs each of them one more exchange; half a file would be worse, since nobody would look.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Registry;
use super::entry::{Entry, Stamp};
use super::record::{RECORD_BYTES, read};
use super::save::{CLEAN, CohortRow, MAGIC};
use crate::error_chain::chain;
use crate::fleet::cohorts::CohortTable;
use crate::fleet::heartbeat::steer::worker_of;
use crate::keepalive::cohort::{CohortIndex, Transport};

const TRAILER_BYTES: usize = 4 + 8 + 4;
/// No registry is larger.
const FILE_MAX_BYTES: u64 = 4 << 30;

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// It cannot be read.
    #[error("cannot be read")]
    Read(#[source] io::Error),
    /// It is no registry, or of another version.
    #[error("is no registry of this version")]
    Magic,
    /// Its code is not that of its content.
    #[error("its checksum is wrong")]
    Checksum,
    /// Its lengths contradict each other.
    #[error("its lengths do not add up")]
    Length,
    /// Its cohorts cannot be read.
    #[error("its cohorts cannot be read")]
    Cohorts(#[source] serde_json::Error),
}

/// Fills `registries`, one a worker, from the files in `folder`; at most `devices_max`. From here on the folder is not
/// one that a process left in order. Returns how many devices there are.
///
/// # Errors
/// The folder cannot be made or listed.
pub fn load(
    folder: &Path,
    registries: &mut [Registry],
    devices_max: usize,
    cohorts: &CohortTable,
    now: Stamp,
) -> io::Result<usize> {
    fs::create_dir_all(folder)?;
    let is_clean = fs::remove_file(folder.join(CLEAN)).is_ok();
    for path in files(folder)? {
        match File::open(&path).and_then(|file| file.cohorts(cohorts).map(|map| (file, map))) {
            Ok((file, cohorts)) => {
                let entries = file.entries(now).map(|entry| placed(entry, &cohorts, is_clean));
                entries.for_each(|entry| add(registries, devices_max, entry));
            }
            Err(damage) => set_aside(&path, &damage),
        }
    }
    let devices = count(registries);
    if devices > 0 {
        tracing::info!(devices, is_clean, "heartbeats: the registry is as it was");
    }
    Ok(devices)
}

/// Removes the files of workers that there are no more; once those that are have written theirs.
pub fn remove_strays(folder: &Path, workers: usize) {
    let files = files(folder).unwrap_or_default();
    let strays = files.into_iter().filter(|path| number(path).is_some_and(|worker| worker >= workers));
    strays.for_each(|path| drop(fs::remove_file(path)));
}

fn count(registries: &[Registry]) -> usize {
    registries.iter().map(Registry::len).sum()
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    files.retain(|path| number(path).is_some());
    files.sort();
    Ok(files)
}

fn number(path: &Path) -> Option<usize> {
    path.file_name()?.to_str()?.strip_prefix("devices-")?.strip_suffix(".bin")?.parse().ok()
}

fn set_aside(path: &Path, damage: &Damage) {
    let aside = path.with_extension("damaged");
    let moved = fs::rename(path, &aside).is_ok();
    tracing::warn!(
        file = %path.display(), moved_to = moved.then(|| aside.display().to_string()), error = %chain(damage),
        "heartbeats: a file of the registry is damaged: its devices register anew"
    );
}

/// With the cohort's number of this process; unproven where the last one may have known more.
fn placed(mut entry: Entry, cohorts: &HashMap<u32, (CohortIndex, bool)>, is_clean: bool) -> Entry {
    let (cohort, is_same) = cohorts.get(&entry.cohort.0).copied().unwrap_or_default();
    entry.cohort = cohort;
    if !is_same {
        // A cohort that is made otherwise now: the device must say its labels again.
        (entry.hello_epoch, entry.own) = (0, None);
    }
    entry.is_unproven = !is_clean;
    entry
}

fn add(registries: &mut [Registry], devices_max: usize, entry: Entry) {
    let worker = worker_of(&entry.device.0, registries.len() as u32);
    let rank = |entry: &Entry| (entry.window.boot(), entry.window.highest());
    if let Some(slot) = registries[worker].find(&entry.device) {
        // In two files, after the number of workers changed: the later one counts.
        let known = registries[worker].get_mut(slot);
        if rank(known) < rank(&entry) {
            *known = entry;
        }
    } else if count(registries) < devices_max {
        registries[worker].insert(entry);
    }
}

/// A whole file, checked.
struct File {
    bytes: Vec<u8>,
    devices: usize,
    cohorts_at: usize,
}

impl File {
    fn open(path: &Path) -> Result<Self, Damage> {
        if fs::metadata(path).map_err(Damage::Read)?.len() > FILE_MAX_BYTES {
            return Err(Damage::Length);
        }
        Self::check(fs::read(path).map_err(Damage::Read)?)
    }

    fn check(bytes: Vec<u8>) -> Result<Self, Damage> {
        let body = bytes.strip_prefix(&MAGIC[..]).ok_or(Damage::Magic)?;
        let (rest, trailer) = body.split_last_chunk::<TRAILER_BYTES>().ok_or(Damage::Length)?;
        let (fields, crc) = trailer.split_last_chunk::<4>().ok_or(Damage::Length)?;
        if crc32fast::hash(&bytes[..bytes.len() - 4]) != u32::from_be_bytes(*crc) {
            return Err(Damage::Checksum);
        }
        let (cohorts, devices) = fields.split_first_chunk::<4>().ok_or(Damage::Length)?;
        let cohorts = u32::from_be_bytes(*cohorts) as usize;
        let devices = devices.iter().fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
        let records = rest.len().checked_sub(cohorts).ok_or(Damage::Length)?;
        if records % RECORD_BYTES != 0 || (records / RECORD_BYTES) as u64 != devices {
            return Err(Damage::Length);
        }
        Ok(Self { devices: devices as usize, cohorts_at: MAGIC.len() + records, bytes })
    }

    fn entries(&self, now: Stamp) -> impl Iterator<Item = Entry> {
        let records = &self.bytes[MAGIC.len()..MAGIC.len() + self.devices * RECORD_BYTES];
        records.as_chunks::<RECORD_BYTES>().0.iter().map(move |record| read(record, now))
    }

    /// This process's numbers by the file's, and whether they still mean the same.
    fn cohorts(&self, table: &CohortTable) -> Result<HashMap<u32, (CohortIndex, bool)>, Damage> {
        let json = &self.bytes[self.cohorts_at..self.bytes.len() - TRAILER_BYTES];
        let rows: Vec<CohortRow> = serde_json::from_slice(json).map_err(Damage::Cohorts)?;
        let resolve = |row: CohortRow| {
            let labels = row.labels.iter().map(|(key, value)| (Arc::from(key.as_str()), Arc::from(value.as_str())));
            let index = table.resolve(&labels.collect(), Transport::Udp);
            let is_same = table.since(index.0 as usize).first().is_some_and(|entry| *entry.key.name == *row.name);
            (row.index, (index, is_same))
        };
        Ok(rows.into_iter().map(resolve).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use flyball_sdk::device::id::DeviceId;

    use super::super::replay::Window;
    use super::super::save::{Copying, file_of, keep, mark_clean};
    use super::*;
    use crate::fleet::heartbeat::address::Address;
    use crate::keepalive::cohort::Labels;
    use crate::keepalive::policy::{Fleet, Fleets};

    fn cohorts() -> Arc<CohortTable> {
        Arc::new(CohortTable::new(Arc::new(Fleets { fleets: vec![Arc::new(Fleet::named("all"))] })))
    }

    fn labels(carrier: &str) -> Labels {
        [("carrier".into(), carrier.into())].into()
    }

    fn entry(n: u32, cohort: CohortIndex) -> Entry {
        let device = DeviceId(std::array::from_fn(|i| if i < 4 { n.to_be_bytes()[i] } else { 7 }));
        let entry = Entry::new(device, 1, Window::new(0, n), Address::default(), Stamp::default());
        Entry { cohort, hello_epoch: 1, ..entry }
    }

    /// Written by `workers`, of which each has what is steered to it.
    fn written(folder: &Path, workers: usize, devices: u32) {
        let table = cohorts();
        let _other = table.resolve(&labels("other"), Transport::Udp);
        let cohort = table.resolve(&labels("a"), Transport::Udp);
        let mut registries: Vec<Registry> = (0..workers).map(|_| Registry::new(0)).collect();
        (0..devices).for_each(|n| add(&mut registries, usize::MAX, entry(n, cohort)));
        let (parcels, received) = sync_channel(4);
        std::thread::scope(|scope| {
            let table = &table;
            scope.spawn(move || keep(folder, &received, table));
            for (worker, registry) in registries.iter().enumerate() {
                Copying::begin(worker, parcels.clone()).finish(registry);
            }
            drop(parcels);
        });
    }

    fn loaded(folder: &Path, workers: usize, devices_max: usize) -> (Vec<Registry>, Arc<CohortTable>) {
        let (mut registries, table): (Vec<Registry>, _) = ((0..workers).map(|_| Registry::new(0)).collect(), cohorts());
        load(folder, &mut registries, devices_max, &table, Stamp::default()).expect("a folder");
        (registries, table)
    }

    #[test]
    fn devices_are_there_again_with_another_number_of_workers_and_of_the_same_cohort() {
        let folder = tempfile::tempdir().expect("a folder");
        written(folder.path(), 3, 10_000);
        let (registries, table) = loaded(folder.path(), 2, 1 << 20);
        assert_eq!(count(&registries), 10_000);
        let device = entry(77, CohortIndex(0)).device;
        let registry = &registries[worker_of(&device.0, 2)];
        let found = registry.get(registry.find(&device).expect("it is there"));
        assert_eq!((found.window.highest(), found.cohort), (77, table.resolve(&labels("a"), Transport::Udp)));
        assert!(found.is_unproven, "the process did not say that it ended in order");
        remove_strays(folder.path(), 2);
        assert!(!file_of(folder.path(), 2).exists() && file_of(folder.path(), 1).exists());
    }

    #[test]
    fn a_process_that_ended_in_order_is_trusted_once() {
        let folder = tempfile::tempdir().expect("a folder");
        written(folder.path(), 1, 10);
        mark_clean(folder.path()).expect("written");
        let is_unproven = || loaded(folder.path(), 1, 100).0[0].get(0).is_unproven;
        assert_eq!((is_unproven(), is_unproven()), (false, true));
    }

    #[test]
    fn no_more_devices_are_read_than_are_allowed() {
        let folder = tempfile::tempdir().expect("a folder");
        written(folder.path(), 1, 100);
        assert_eq!(count(&loaded(folder.path(), 4, 30).0), 30);
    }

    #[test]
    fn a_file_with_any_byte_changed_or_missing_is_set_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        written(folder.path(), 1, 3);
        let path = file_of(folder.path(), 0);
        let whole = fs::read(&path).expect("written");
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            assert!(File::check(changed).is_err(), "byte {at}");
            assert!(File::check(whole[..at].to_vec()).is_err(), "cut at {at}");
        }
        fs::write(&path, &whole[..whole.len() - 1]).expect("written");
        assert_eq!(count(&loaded(folder.path(), 1, 100).0), 0);
        assert!(!path.exists() && path.with_extension("damaged").exists());
    }
}
