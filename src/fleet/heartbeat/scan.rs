//! A health scan: the worst devices of a cohort are asked, unasked, whether they are there.
//!
//! The question is an ack to the last heartbeat that asks for a hello: every device answers it, with its labels, and takes
//! nothing from it but the pace in force. It goes to the last address that the device answered from, through whatever
//! binding is left there. It is asked twice, because the way loses packets. A device that is sending in vain takes no ack to
//! what it sent before: it counts as silent, which it is.
//!
//! Limits: one scan a worker at a time; a later one takes the place of it. Finding the worst walks all devices of the
//! worker once, some tens of milliseconds for a hundred thousand.

use std::collections::HashMap;
use std::time::Duration;

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::wire::{Ack, Answer, kind, told};
use tokio::sync::mpsc::Sender;

use super::shard::Shard;
use crate::fleet::registry::Slot;
use crate::fleet::registry::entry::Stamp;
use crate::fleet::scanned::{SCAN_WAIT, Scanned};
use crate::keepalive::alarm::health::{DeviceHealth, Reach};
use crate::keepalive::alarm::{GONE_AFTER, SCAN_MAX};
use crate::keepalive::cohort::CohortIndex;

/// Who has not answered after this is asked again.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
const ROUNDS: u8 = 2;

/// What to scan, and where to tell.
#[derive(Debug)]
pub(super) struct ScanOrder {
    pub(super) cohort: CohortIndex,
    pub(super) reply: Sender<Scanned>,
}

/// The scan under way.
#[derive(Debug)]
pub(super) struct Scan {
    reply: Sender<Scanned>,
    /// As they were when it began: to be asked changes what there is to see.
    devices: Vec<(Slot, DeviceHealth)>,
    places: HashMap<DeviceId, usize>,
    more: u64,
    /// Next to be asked, in this round.
    next: usize,
    round: u8,
    round_began: Stamp,
    began: Stamp,
}

impl Shard {
    /// Finds the worst devices of a cohort; they are asked by and by.
    pub(super) fn begin_scan(&mut self, order: ScanOrder) {
        let mut worst: Vec<(u32, Slot)> = Vec::new();
        for slot in 0..self.registry.places() as Slot {
            let entry = self.registry.get(slot);
            let silence = self.now().since(entry.heard);
            if !entry.is_vacant && entry.cohort == order.cohort && silence < GONE_AFTER {
                worst.push(((self.standing(entry, silence) * 1e3) as u32, slot));
            }
        }
        let more = worst.len().saturating_sub(SCAN_MAX) as u64;
        worst.sort_unstable_by(|a, b| b.cmp(a));
        worst.truncate(SCAN_MAX);
        let devices: Vec<_> = worst.into_iter().map(|(_, slot)| (slot, self.health(slot))).collect();
        let places = devices.iter().enumerate().map(|(place, (_, health))| (health.device, place)).collect();
        let now = self.now();
        self.scan =
            Some(Scan { reply: order.reply, devices, places, more, next: 0, round: 1, round_began: now, began: now });
    }

    /// A device said hello: it is there.
    pub(super) fn scanned(&mut self, device: DeviceId) {
        let Some(scan) = &mut self.scan else { return };
        if let Some(place) = scan.places.get(&device) {
            let (slot, health) = &mut scan.devices[*place];
            let name = self.names.of(*slot);
            (health.reach, health.serial, health.firmware) = (Reach::Answered, name.serial, name.firmware);
        }
    }

    /// Asks the next ones, as many as the outgoing batch has room for; tells what was found when all had their time.
    pub(super) fn tend_scan(&mut self, max: usize) {
        let Some(mut scan) = self.scan.take() else { return };
        while scan.next < scan.devices.len() && self.out.len() < max {
            let (slot, health) = &mut scan.devices[scan.next];
            let is_there = self.registry.get(*slot).device == health.device;
            if health.reach != Reach::Answered && is_there && self.ask_for_hello(*slot) {
                health.reach = Reach::Silent;
            }
            scan.next += 1;
        }
        let now = self.now();
        if scan.next == scan.devices.len() && scan.round < ROUNDS && now.since(scan.round_began) >= AGAIN_AFTER {
            (scan.next, scan.round, scan.round_began) = (0, scan.round + 1, now);
        }
        let is_over = now.since(scan.began) >= SCAN_WAIT && scan.round == ROUNDS && scan.next == scan.devices.len();
        let has_waited = now.since(scan.round_began) >= AGAIN_AFTER;
        if scan.devices.is_empty() || is_over && has_waited {
            let found = scan.devices.into_iter().map(|(_, health)| health).collect();
            // Nobody may wait for it any more.
            let _ = scan.reply.try_send(Scanned { devices: found, more: scan.more });
        } else {
            self.scan = Some(scan);
        }
    }

    /// Whether there was somewhere to ask.
    fn ask_for_hello(&mut self, slot: Slot) -> bool {
        let entry = self.registry.get(slot);
        if entry.is_vacant || entry.is_unproven {
            return false;
        }
        let Some(key) = entry.key.or_else(|| self.keys.device(entry.key_id, entry.device)) else { return false };
        let (pace, sequence, address) = (self.pace(entry), entry.window.highest(), entry.address);
        let ack = Ack { kind: kind::ACK, flags: told::HELLO, sequence, pace, probe: 0 };
        let bytes = Answer::Ack(ack).sealed(&key, entry.key_id, entry.device, entry.window.boot());
        self.out.push((address, bytes));
        // It may have refreshed the binding: the silence of what carries messages begins anew.
        self.registry.get_mut(slot).either = self.now();
        true
    }

    fn health(&self, slot: Slot) -> DeviceHealth {
        let entry = self.registry.get(slot);
        let name = self.names.of(slot);
        DeviceHealth {
            device: entry.device,
            serial: name.serial,
            firmware: name.firmware,
            silent_for: self.now().since(entry.heard),
            gap: Duration::from_millis(entry.gap_ms.into()),
            intended: self.intended(entry),
            rebindings: entry.moves.into(),
            reach: Reach::NotAsked,
            pace: entry.off_pace.obedience(),
        }
    }
}
