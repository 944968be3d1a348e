//! What the rest of the house may do with a running server: reload keys and prefixes, ask for labels again, read the
//! counts, and offer what the monitor saw. Cheap to clone; nothing here waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;

use arc_swap::ArcSwap;

use super::counters::{Count, Counters};
use super::scan::ScanOrder;
use super::steer::worker_of;
use crate::fleet::keys::MasterKeys;
use crate::fleet::prefixes::PrefixTable;
use crate::fleet::scanned::Scanned;
use crate::keepalive::cohort::CohortIndex;
use crate::keepalive::order::DeviceCommand;
use crate::monitor::event::Gap;

/// What a worker is told, besides datagrams.
#[derive(Debug)]
pub(super) enum Told {
    /// For devices of this worker.
    Commands(Vec<DeviceCommand>),
    /// What the monitor saw of one of its devices. It does not know whether that was the device.
    Passive(Box<Gap>),
    /// Look at the devices of a cohort.
    Scan(ScanOrder),
}

/// What all workers and all handles look at.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) keys: ArcSwap<MasterKeys>,
    pub(super) prefixes: ArcSwap<PrefixTable>,
    /// Changes when every device has to say hello again.
    pub(super) hello_epoch: AtomicU32,
    /// A monitor sees the silences.
    pub(super) is_watched: AtomicBool,
    /// Devices that are here, over all workers.
    pub(super) devices: AtomicUsize,
    pub(super) counters: Counters,
}

/// A handle on the server.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
    pub(super) workers: Arc<[SyncSender<Told>]>,
}

impl Handle {
    /// Other master keys from now on. Devices whose key is no longer among them are no longer known.
    pub fn set_keys(&self, keys: Arc<MasterKeys>) {
        self.shared.keys.store(keys);
    }

    /// Other prefixes from now on: for devices that register or say hello.
    pub fn set_prefixes(&self, prefixes: Arc<PrefixTable>) {
        self.shared.prefixes.store(prefixes);
    }

    /// Has every device say hello again with its next heartbeat: after other fleets or prefixes came into force.
    pub fn ask_for_labels(&self) {
        self.shared.hello_epoch.fetch_add(1, Ordering::Relaxed);
    }

    /// What is counted.
    pub fn counters(&self) -> Counters {
        self.shared.counters.clone()
    }

    /// Devices that are known.
    pub fn devices(&self) -> usize {
        self.shared.devices.load(Ordering::Relaxed)
    }

    /// Whether a monitor watches this server's port: then its gaps are the silences that count, and the workers tell
    /// none of their own.
    pub fn set_watched(&self, is_watched: bool) {
        self.shared.is_watched.store(is_watched, Ordering::Relaxed);
    }

    /// What the monitor saw. It becomes an observation if the device's authentic heartbeats agree with it, else it is
    /// counted and forgotten: the kernel reads ids that anybody can write.
    pub fn offer(&self, gap: &Gap) {
        let Ok(device) = gap.device.as_bytes().try_into() else { return };
        let worker = worker_of(device, self.workers.len() as u32);
        if self.workers[worker].try_send(Told::Passive(Box::new(gap.clone()))).is_err() {
            self.shared.counters.elsewhere(Count::PassiveRefused, 1);
        }
    }

    /// Scans the devices of a cohort: the worst of each worker, with what they answer. A worker that is busy leaves its own
    /// out, and a scan takes the place of one that is under way.
    pub async fn scan(&self, cohort: CohortIndex) -> Scanned {
        let (reply, mut found) = tokio::sync::mpsc::channel(self.workers.len());
        for worker in self.workers.iter() {
            let _ = worker.try_send(Told::Scan(ScanOrder { cohort, reply: reply.clone() }));
        }
        drop(reply);
        let mut all = Scanned::default();
        while let Some(part) = found.recv().await {
            all.add(part);
        }
        all
    }

    /// Hands each command to the worker that has the device.
    pub(super) fn command(&self, commands: Vec<DeviceCommand>) {
        let mut parts: Vec<Vec<DeviceCommand>> = self.workers.iter().map(|_| Vec::new()).collect();
        for command in commands {
            parts[worker_of(&command.device.0, self.workers.len() as u32)].push(command);
        }
        for (worker, part) in parts.into_iter().enumerate().filter(|(_, part)| !part.is_empty()) {
            let length = part.len() as u64;
            if self.workers[worker].try_send(Told::Commands(part)).is_err() {
                self.shared.counters.elsewhere(Count::CommandDropped, length);
            }
        }
    }
}
