//! Who is where: one worker's part of the devices, found by id. Bounded over all workers; memory grows by chunks, so that
//! nothing is ever copied to make room, and the table of places is made once for the whole part.

pub mod entry;
pub mod load;
pub mod record;
pub mod replay;
pub mod save;

use std::hash::BuildHasher;
use std::time::Duration;

use flyball_sdk::device::id::DeviceId;
use foldhash::quality::RandomState;
use hashbrown::HashTable;

use self::entry::Entry;

/// A device that was not heard for this long is forgotten; it registers when it comes again.
pub const FORGET_AFTER: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Entries of a chunk.
const CHUNK: usize = 1 << CHUNK_BITS;
const CHUNK_BITS: u32 = 12;

/// A place in the registry; stays a device's until it is forgotten.
pub type Slot = u32;

/// One worker's devices.
#[derive(Debug)]
pub struct Registry {
    /// Ids are chosen outside: hashed with a key of this process's own.
    hasher: RandomState,
    slots: HashTable<Slot>,
    chunks: Vec<Vec<Entry>>,
    vacant: Vec<Slot>,
}

impl Registry {
    /// With room for about this many without a pause.
    pub fn new(expected: usize) -> Self {
        let hasher = RandomState::default();
        Self { hasher, slots: HashTable::with_capacity(expected), chunks: Vec::new(), vacant: Vec::new() }
    }

    /// Devices.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Places, vacant ones included: all slots are below.
    pub fn places(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    /// Where a device is.
    pub fn find(&self, device: &DeviceId) -> Option<Slot> {
        let hash = self.hasher.hash_one(device.0);
        self.slots.find(hash, |slot| self.get(*slot).device == *device).copied()
    }

    /// What is at a place.
    pub fn get(&self, slot: Slot) -> &Entry {
        &self.chunks[(slot >> CHUNK_BITS) as usize][slot as usize % CHUNK]
    }

    /// The same, to be changed. Its device must stay.
    pub fn get_mut(&mut self, slot: Slot) -> &mut Entry {
        &mut self.chunks[(slot >> CHUNK_BITS) as usize][slot as usize % CHUNK]
    }

    /// Adds a device that is not there.
    pub fn insert(&mut self, entry: Entry) -> Slot {
        let hash = self.hasher.hash_one(entry.device.0);
        let slot = self.place(entry);
        let Self { hasher, slots, chunks, .. } = self;
        let device = |slot: &Slot| chunks[(slot >> CHUNK_BITS) as usize][*slot as usize % CHUNK].device;
        slots.insert_unique(hash, slot, |slot| hasher.hash_one(device(slot).0));
        slot
    }

    fn place(&mut self, entry: Entry) -> Slot {
        if let Some(slot) = self.vacant.pop() {
            *self.get_mut(slot) = entry;
            return slot;
        }
        if self.chunks.last().is_none_or(|last| last.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks.last_mut().expect("there is one now").push(entry);
        (self.places() - 1) as Slot
    }

    /// Forgets a device.
    pub fn remove(&mut self, slot: Slot) {
        let hash = self.hasher.hash_one(self.get(slot).device.0);
        if let Ok(found) = self.slots.find_entry(hash, |other| *other == slot) {
            found.remove();
            self.get_mut(slot).is_vacant = true;
            self.vacant.push(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::entry::Stamp;
    use super::replay::Window;
    use super::*;
    use crate::fleet::heartbeat::address::Address;

    fn entry(n: u32) -> Entry {
        let device = DeviceId(std::array::from_fn(|i| if i < 4 { n.to_be_bytes()[i] } else { 7 }));
        Entry::new(device, 1, Window::new(0, n), Address::default(), Stamp::default())
    }

    #[test]
    fn devices_are_found_until_they_are_forgotten_and_places_are_used_again() {
        let mut registry = Registry::new(0);
        let slots: Vec<Slot> = (0..10_000).map(|n| registry.insert(entry(n))).collect();
        for (n, slot) in slots.iter().enumerate() {
            assert_eq!(registry.find(&entry(n as u32).device), Some(*slot));
        }
        (0..5_000).for_each(|n| registry.remove(slots[n]));
        registry.remove(slots[0]);
        assert_eq!((registry.len(), registry.places()), (5_000, 10_000));
        assert_eq!(
            (registry.find(&entry(4_999).device), registry.find(&entry(5_000).device)),
            (None, Some(slots[5_000]))
        );
        for n in 0..5_000 {
            registry.insert(entry(20_000 + n));
        }
        assert_eq!((registry.len(), registry.places()), (10_000, 10_000));
    }
}
