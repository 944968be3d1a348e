//! What user space tells the running program: which addresses belong to which cohort, which devices do, and since when
//! somebody watches. Shared by whoever reloads prefixes and by the keeper of the interfaces; each call is a few system
//! calls on maps, and blocks for no longer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, MapData, MapError};
use tokio::sync::Notify;

use super::mirror::{Control, DeviceKey, WATCHING_FROM_HERE, WATCHING_NOT};
use super::prefixes::{COHORTS_MAX, Prefixes};

/// Why the program was not told.
#[derive(Debug, thiserror::Error)]
pub enum SteerError {
    /// More cohorts than the program counts apart.
    #[error("{found} cohorts are more than the {COHORTS_MAX} that are counted: group prefixes by fewer labels")]
    Cohorts {
        /// How many there are.
        found: usize,
    },
    /// No cohort has this number.
    #[error("there is no cohort {cohort}: there are {known}")]
    Unknown {
        /// As asked for.
        cohort: u16,
        /// How many there are.
        known: usize,
    },
    /// The kernel refuses an entry; those before it are in force.
    #[error(
        "kernel refuses an entry of map `{map}`; it has room for twice the prefixes it was started with, or 65,536"
    )]
    Map {
        /// Which map.
        map: &'static str,
        /// The kernel's answer.
        #[source]
        source: MapError,
    },
}

/// A handle on the running program; cheap to clone.
#[derive(Clone)]
pub struct Steering(Arc<Shared>);

struct Shared {
    maps: Mutex<Maps>,
    cohorts: AtomicUsize,
    census: Notify,
}

pub(super) struct Maps {
    pub(super) control: Array<MapData, Control>,
    pub(super) prefixes: LpmTrie<MapData, [u8; 16], u32>,
    pub(super) assignments: aya::maps::HashMap<MapData, DeviceKey, u32>,
    /// What `prefixes` holds, by bits and address.
    pub(super) in_force: HashMap<(u8, [u8; 16]), u16>,
}

impl Steering {
    pub(super) fn new(maps: Maps) -> Self {
        Self(Arc::new(Shared { maps: Mutex::new(maps), cohorts: AtomicUsize::new(1), census: Notify::new() }))
    }

    /// Replaces all prefixes. Devices that are known move to their new cohort with their next packet. Numbers of
    /// cohorts must keep their meaning: the program counts by them.
    ///
    /// # Errors
    /// More cohorts than are counted, or the kernel refuses one; those told before it are in force.
    pub fn set_prefixes(&self, prefixes: &Prefixes) -> Result<(), SteerError> {
        let found = prefixes.names.len();
        if found > COHORTS_MAX {
            return Err(SteerError::Cohorts { found });
        }
        self.0.cohorts.fetch_max(found, Ordering::Relaxed);
        let mut maps = self.maps();
        let told = maps.replace(prefixes);
        // Also after half of them: those are in force.
        maps.control(|control| control.epoch = control.epoch.wrapping_add(1))?;
        told
    }

    /// Says of single devices which cohort they belong to, whatever their address. All at once: after each call, every
    /// device asks anew. At most 65,536 are remembered; then the least recently used is forgotten.
    ///
    /// # Errors
    /// A cohort that the prefixes do not name, before anything is told; or the kernel refuses one.
    pub fn assign(&self, devices: &[(DeviceKey, u16)]) -> Result<(), SteerError> {
        let known = self.cohorts();
        if let Some((_, cohort)) = devices.iter().find(|(_, cohort)| usize::from(*cohort) >= known) {
            return Err(SteerError::Unknown { cohort: *cohort, known });
        }
        let mut maps = self.maps();
        let assignments = &mut maps.assignments;
        let mut told = devices.iter().map(|(device, cohort)| assignments.insert(device, u32::from(*cohort), 0));
        let told = told.try_for_each(|one| one.map_err(|source| SteerError::Map { map: "assignments", source }));
        maps.control(|control| control.epoch = control.epoch.wrapping_add(1))?;
        told
    }

    /// Asks for a census now, besides the regular ones.
    pub fn request_census(&self) {
        self.0.census.notify_one();
    }

    pub(super) async fn census_requested(&self) {
        self.0.census.notified().await;
    }

    /// How many cohorts there are, or were: counts of one that is gone are still counts.
    pub(super) fn cohorts(&self) -> usize {
        self.0.cohorts.load(Ordering::Relaxed)
    }

    /// From now on somebody watches; what was last seen before has an unknown gap. It is the program that says when now
    /// is, at the next packet: it has a clock of its own.
    pub(super) fn watching_from_here(&self) -> Result<(), SteerError> {
        self.maps().control(|control| control.watching_since = WATCHING_FROM_HERE)
    }

    /// Until [`Self::watching_from_here`], no gap is known.
    pub(super) fn blind(&self) -> Result<(), SteerError> {
        self.maps().control(|control| control.watching_since = WATCHING_NOT)
    }

    fn maps(&self) -> MutexGuard<'_, Maps> {
        // Each call leaves the maps as the kernel has them, also one that panicked.
        self.0.maps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Maps {
    fn replace(&mut self, wanted: &Prefixes) -> Result<(), SteerError> {
        let wanted: HashMap<_, _> = wanted.rows.iter().map(|row| ((row.bits, row.address), row.cohort)).collect();
        // First what goes: the map may have no room for both.
        let gone: Vec<_> = self.in_force.keys().filter(|key| !wanted.contains_key(*key)).copied().collect();
        for (bits, address) in gone {
            match self.prefixes.remove(&Key::new(u32::from(bits), address)) {
                Ok(()) | Err(MapError::KeyNotFound) => self.in_force.remove(&(bits, address)),
                Err(source) => return Err(SteerError::Map { map: "prefixes", source }),
            };
        }
        for ((bits, address), cohort) in wanted {
            if self.in_force.get(&(bits, address)) == Some(&cohort) {
                continue;
            }
            let told = self.prefixes.insert(&Key::new(u32::from(bits), address), u32::from(cohort), 0);
            told.map_err(|source| SteerError::Map { map: "prefixes", source })?;
            self.in_force.insert((bits, address), cohort);
        }
        Ok(())
    }

    /// The one writer of the map `control`: its two fields change one at a time.
    fn control(&mut self, change: impl FnOnce(&mut Control)) -> Result<(), SteerError> {
        let refused = |source| SteerError::Map { map: "control", source };
        let mut control = self.control.get(&0, 0).map_err(refused)?;
        change(&mut control);
        self.control.set(0, control, 0).map_err(refused)
    }
}
