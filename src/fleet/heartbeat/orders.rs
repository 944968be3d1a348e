//! What the loop orders of single devices, and how it rides on their acks.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};

use flyball_sdk::device::wire::{Request, sent, told};

use super::address::Address;
use super::counters::Count;
use super::handle::Told;
use super::shard::Shard;
use crate::fleet::registry::entry::{Entry, Ordered, OrderedProbe};
use crate::keepalive::observation::BindingClass;
use crate::keepalive::order::{DeviceCommand, DeviceOrder};

impl Shard {
    /// What the rest of the house says.
    pub(super) fn told(&mut self, told: Told) {
        match told {
            Told::Commands(commands) => commands.iter().for_each(|command| self.command(command)),
            Told::Passive(gap) => self.offered(*gap),
            Told::Scan(order) => self.begin_scan(order),
        }
    }

    fn command(&mut self, command: &DeviceCommand) {
        let Some(slot) = self.registry.find(&command.device) else {
            self.counts().add(Count::CommandDropped, 1);
            return;
        };
        if self.registry.get(slot).cohort != command.cohort {
            // Of the NAT that it was behind when this was decided. Where the loop was not reached when the device moved, it
            // is told again.
            self.counts().add(Count::CommandDropped, 1);
            self.registry.get_mut(slot).is_present = false;
            self.tell_present(slot);
            return;
        }
        let before = self.pace(self.registry.get(slot)).generation;
        let entry = self.registry.get_mut(slot);
        match command.order {
            DeviceOrder::Own(pace) => entry.own = Some(pace.into()),
            DeviceOrder::Cohort if entry.own.is_some() => {
                // The cohort's order may be older than the one of its own: it is told as a new one.
                (entry.own, entry.generation_floor) = (None, before + 1);
            }
            DeviceOrder::Cohort => {}
            DeviceOrder::Probe { order, class } => {
                entry.probe = Some(OrderedProbe { order, class, state: Ordered::Waiting });
            }
        }
        if command.is_urgent && self.push(slot) {
            self.counts().add(Count::Pushed, 1);
        }
    }
}

/// A new heartbeat was taken: a test that waits rides on its ack, one that rode on the last was told; unless the device
/// tries again, because that ack did not come.
pub(super) fn move_on(entry: &mut Entry, head: &Request) {
    let is_retry = head.flags & sent::RETRY != 0;
    if let Some(probe) = &mut entry.probe {
        probe.state = match probe.state {
            Ordered::Waiting => Ordered::JustTold,
            Ordered::JustTold if is_retry => Ordered::JustTold,
            Ordered::JustTold | Ordered::Told => Ordered::Told,
        };
    }
}

/// Flags and bits of a test for the ack to the newest heartbeat, also where it is asked for again.
pub(super) fn told_probe(entry: &Entry) -> (u16, u16) {
    match entry.probe.filter(|probe| probe.state == Ordered::JustTold) {
        Some(OrderedProbe { order, class: BindingClass::Unreplied, .. }) => {
            (told::PROBE | told::UNREPLIED, order.to_bits())
        }
        Some(OrderedProbe { order, .. }) => (told::PROBE, order.to_bits()),
        None => (0, 0),
    }
}

/// An address, told from others.
pub(super) fn fingerprint(address: &Address) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(address)
}
