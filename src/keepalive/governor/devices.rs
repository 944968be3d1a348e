//! The devices: some fifty bytes each, found by their ids, bounded.
//!
//! A device that is away keeps what it has shown, for most come back to the same NAT; when the table is full, the one
//! that left first makes room. When nobody is away, a device more is not taken: it has the cohort's order, which is safe
//! for devices of which nothing is known.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use flyball_sdk::device::id::DeviceId;
use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::keepalive::cohort::CohortIndex;
use crate::keepalive::device::Shown;

/// Most devices: a million, and a half more for those that are away.
pub(super) const DEVICES_MAX: usize = 1_500_000;
/// Tests in a row of which nothing was heard, after which a device is taken for one that makes none.
const SILENT_TESTS_MAX: u8 = 4;

/// A device's place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Slot(pub u32);

/// One device.
#[derive(Debug, Clone)]
pub(super) struct Device {
    /// Who.
    pub(super) id: DeviceId,
    /// Where it is in its cohort's list of members.
    pub(super) position: u32,
    /// When it is looked at again, in seconds since the start; 0 = not waiting.
    pub(super) due: u32,
    /// Of its NAT.
    pub(super) shown: Shown,
    cohort: u16,
    /// Of its own, in units of 100 ms; 0 = it has the cohort's.
    pub(super) own: u16,
    /// The order that it was given last, as on the wire; 0 = it tests nothing.
    pub(super) testing: u16,
    /// Packets that it has spent on tests on `day`.
    pub(super) packets: u16,
    /// Days since the start, modulo 256.
    pub(super) day: u8,
    /// Flows of the order whose end was not told yet.
    pub(super) flows_open: u8,
    /// Tests in a row of which nothing was heard.
    pub(super) silent_tests: u8,
    /// When it was given a pace of its own, in seconds since the start.
    pub(super) own_since: u32,
    /// What else there is to know.
    pub(super) is: Is,
    /// As what its cohort counts it.
    pub(super) counted: Is,
}

/// Statements about a device.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Is(u16);

impl Is {
    /// It is there.
    pub(super) const PRESENT: u16 = 1;
    /// It makes tests.
    pub(super) const PROBING: u16 = 1 << 1;
    /// It waits in its cohort's queue.
    pub(super) const QUEUED: u16 = 1 << 2;
    /// The clock's queue holds it.
    pub(super) const TIMED: u16 = 1 << 3;
    /// The list of those that are away holds it.
    pub(super) const LEFT: u16 = 1 << 4;
    /// It waits to be reviewed.
    pub(super) const TOUCHED: u16 = 1 << 5;
    /// It survived what the shortest offer asks for.
    pub(super) const PROVEN: u16 = 1 << 6;
    /// It did not.
    pub(super) const LOWER: u16 = 1 << 7;
    /// It has a pace of its own.
    pub(super) const OWN: u16 = 1 << 8;
    /// It is the same that its cohort has.
    pub(super) const SAME: u16 = 1 << 9;
    /// It came back: what it was told before is told again.
    pub(super) const RETURNED: u16 = 1 << 10;
    /// It confirmed the pace that it was told last.
    pub(super) const CONFIRMED: u16 = 1 << 11;
    /// A rollout has given it the new interval.
    pub(super) const NEW: u16 = 1 << 12;
    /// And it has confirmed that.
    pub(super) const ADOPTED: u16 = 1 << 13;
    /// When it came, its edge had a pace of its own for it.
    pub(super) const PACED: u16 = 1 << 14;

    /// Whether all of these are true.
    pub(super) const fn all(self, statements: u16) -> bool {
        self.0 & statements == statements
    }

    /// Makes these true, or false.
    pub(super) const fn set(&mut self, statements: u16, is_true: bool) {
        if is_true { self.0 |= statements } else { self.0 &= !statements }
    }
}

impl Device {
    /// Which cohort it is of.
    pub(super) const fn cohort(&self) -> CohortIndex {
        CohortIndex(self.cohort as u32)
    }

    /// Whether a test can be ordered now.
    pub(super) const fn is_free(&self) -> bool {
        self.is.all(Is::PRESENT | Is::PROBING) && self.testing == 0
    }

    /// Nothing was heard of a test in time.
    pub(super) const fn test_was_silent(&mut self) {
        self.silent_tests = self.silent_tests.saturating_add(1);
        if self.silent_tests >= SILENT_TESTS_MAX {
            self.is.set(Is::PROBING, false);
        }
    }

    /// Its NAT is another one now. What it spent on learning the one before does not count: a device that may test no more
    /// would stay at the floor until the next day, which costs more than tests do.
    pub(super) fn begin_anew(&mut self) {
        self.shown.forget();
        self.packets = 0;
    }

    /// Takes `packets` from the day's allowance, if it has them.
    pub(super) fn spend(&mut self, packets: u16, allowance: u32, day: u8) -> bool {
        let is_within = self.has_left(packets, allowance, day);
        if is_within {
            self.packets = packets + if self.day == day { self.packets } else { 0 };
            self.day = day;
        }
        is_within
    }

    /// Whether the day's allowance has these `packets` left.
    pub(super) fn has_left(&self, packets: u16, allowance: u32, day: u8) -> bool {
        let spent = if self.day == day { self.packets } else { 0 };
        u32::from(spent) + u32::from(packets) <= allowance.min(u32::from(u16::MAX))
    }
}

/// All devices.
#[derive(Debug, Default)]
pub(super) struct Devices {
    hasher: RandomState,
    by_id: HashTable<u32>,
    slots: Vec<Device>,
    left: VecDeque<Slot>,
    max: usize,
}

impl Devices {
    /// An empty table.
    pub(super) fn new(max: usize) -> Self {
        Self { max, ..Self::default() }
    }

    /// Where a device is.
    pub(super) fn find(&self, id: DeviceId) -> Option<Slot> {
        let hash = self.hasher.hash_one(id.0);
        self.by_id.find(hash, |slot| self.slots[*slot as usize].id == id).map(|slot| Slot(*slot))
    }

    /// The device in a slot.
    pub(super) fn get(&self, slot: Slot) -> &Device {
        &self.slots[slot.0 as usize]
    }

    /// The device in a slot, to be changed.
    pub(super) fn get_mut(&mut self, slot: Slot) -> &mut Device {
        &mut self.slots[slot.0 as usize]
    }

    /// Puts a device that is not there into a slot; `None` where there is no room. The device whose room it takes is
    /// still in its cohort's list: `evicted` is called with it first.
    pub(super) fn insert(
        &mut self,
        id: DeviceId,
        cohort: CohortIndex,
        evicted: impl FnOnce(&mut Self, Slot),
    ) -> Option<Slot> {
        let slot =
            if self.slots.len() < self.max { self.pushed(id, cohort) } else { self.reused(id, cohort, evicted)? };
        let (hasher, slots) = (&self.hasher, &self.slots);
        let rehash = |slot: &u32| hasher.hash_one(slots[*slot as usize].id.0);
        self.by_id.insert_unique(hasher.hash_one(id.0), slot.0, rehash);
        Some(slot)
    }

    /// Puts a device into another cohort. What it has shown was of another NAT.
    pub(super) fn move_to(&mut self, slot: Slot, cohort: CohortIndex) {
        let device = self.get_mut(slot);
        device.cohort = number(cohort);
        (device.shown, device.own) = (Shown::default(), 0);
        device.is.set(Is::QUEUED, false);
    }

    /// A device is away from now on.
    pub(super) fn leave(&mut self, slot: Slot) {
        let device = &mut self.slots[slot.0 as usize];
        device.is.set(Is::PRESENT, false);
        if !device.is.all(Is::LEFT) {
            device.is.set(Is::LEFT, true);
            self.left.push_back(slot);
        }
    }

    fn pushed(&mut self, id: DeviceId, cohort: CohortIndex) -> Slot {
        let slot = Slot(u32::try_from(self.slots.len()).expect("bounded far below"));
        self.slots.push(fresh(id, cohort));
        slot
    }

    fn reused(&mut self, id: DeviceId, cohort: CohortIndex, evicted: impl FnOnce(&mut Self, Slot)) -> Option<Slot> {
        let slot = loop {
            let slot = self.left.pop_front()?;
            let device = self.get_mut(slot);
            device.is.set(Is::LEFT, false);
            // One that came back stays; so does one that the clock's queue still names.
            if !device.is.all(Is::PRESENT) && !device.is.all(Is::TIMED) {
                break slot;
            }
        };
        evicted(self, slot);
        let old = self.get(slot).id;
        let (hash, slots) = (self.hasher.hash_one(old.0), &self.slots);
        if let Ok(entry) = self.by_id.find_entry(hash, |slot| slots[*slot as usize].id == old) {
            entry.remove();
        }
        *self.get_mut(slot) = fresh(id, cohort);
        Some(slot)
    }
}

fn number(cohort: CohortIndex) -> u16 {
    u16::try_from(cohort.0).unwrap_or(0)
}

fn fresh(id: DeviceId, cohort: CohortIndex) -> Device {
    Device {
        id,
        position: 0,
        due: 0,
        shown: Shown::default(),
        cohort: number(cohort),
        own: 0,
        testing: 0,
        packets: 0,
        day: 0,
        flows_open: 0,
        silent_tests: 0,
        own_since: 0,
        is: Is::default(),
        counted: Is::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> DeviceId {
        DeviceId([n; 16])
    }

    #[test]
    fn a_device_is_small() {
        assert!(size_of::<Device>() <= 52, "{}", size_of::<Device>());
    }

    #[test]
    fn the_one_that_left_first_makes_room_and_those_present_never_do() {
        let mut devices = Devices::new(2);
        let insert = |devices: &mut Devices, n| {
            let slot = devices.insert(id(n), CohortIndex(1), |_, _| ());
            slot.inspect(|slot| devices.get_mut(*slot).is.set(Is::PRESENT, true))
        };
        let first = insert(&mut devices, 1).expect("room");
        let second = insert(&mut devices, 2).expect("room");
        assert_eq!(insert(&mut devices, 3), None);
        devices.leave(first);
        devices.leave(second);
        devices.get_mut(first).is.set(Is::PRESENT, true);
        assert_eq!(insert(&mut devices, 3), Some(second));
        assert_eq!((devices.find(id(1)), devices.find(id(2)), devices.find(id(3))), (Some(first), None, Some(second)));
    }

    #[test]
    fn a_day_s_allowance_is_for_a_day() {
        let mut devices = Devices::new(1);
        let slot = devices.insert(id(1), CohortIndex(1), |_, _| ()).expect("room");
        let device = devices.get_mut(slot);
        assert!(device.spend(8, 16, 0) && device.spend(8, 16, 0) && !device.spend(1, 16, 0) && device.spend(8, 16, 1));
    }
}
