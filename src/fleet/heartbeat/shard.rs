//! What one worker knows and does, but for its socket: datagrams go in with their times, answers come out. What costs
//! least is looked at first: shape, key id, whether the device is here, the MAC, then what came before it, then where it
//! comes from. Whatever is refused on the way has changed nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use flyball_sdk::device::jitter::Pace;
use flyball_sdk::device::key::{Mac, MacKey};
use flyball_sdk::device::wire::{ANSWER_BYTES, Ack, Answer, Arrived, Malformed, Request, is_authentic, kind, told};

use super::address::Address;
use super::counters::{Count, WorkerCounts};
use super::flows::Flows;
use super::handle::Shared;
use super::names::Names;
use super::notices::Notices;
use super::passive::Waiting;
use super::pending::{self, Pending};
use super::scan::Scan;
use super::second::SecondAcks;
use super::secret::Secret;
use super::steer::worker_of;
use crate::fleet::cohorts::CohortTable;
use crate::fleet::keys::MasterKeys;
use crate::fleet::registry::entry::{Entry, Stamp};
use crate::fleet::registry::{Registry, Slot};
use crate::keepalive::cohort::CohortIndex;
use crate::keepalive::observation::{Observation, ObservationKind};
use crate::keepalive::order::{CohortOrder, Orders};
use crate::time::MonoTime;

/// Bytes for an address.
pub(super) type Outgoing = (Address, [u8; ANSWER_BYTES]);

/// One worker's part of the fleet.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) index: usize,
    pub(super) workers: u32,
    pub(super) devices_max: usize,
    pub(super) registry: Registry,
    pub(super) pending: Pending,
    pub(super) flows: Flows,
    pub(super) seconds: SecondAcks,
    pub(super) notices: Notices,
    pub(super) waiting: Waiting,
    pub(super) names: Names,
    pub(super) scan: Option<Scan>,
    pub(super) secret: Secret,
    pub(super) shared: Arc<Shared>,
    pub(super) cohorts: Arc<CohortTable>,
    /// As of this batch.
    pub(super) keys: Arc<MasterKeys>,
    pub(super) orders: Arc<Orders>,
    pub(super) hello_epoch: u32,
    pub(super) is_watched: bool,
    pub(super) now: Stamp,
    pub(super) mono: MonoTime,
    /// To be sent after this batch.
    pub(super) out: Vec<Outgoing>,
}

/// What a shard is made of.
pub(super) struct Parts {
    pub(super) index: usize,
    pub(super) workers: usize,
    pub(super) devices_max: usize,
    pub(super) registry: Registry,
    pub(super) shared: Arc<Shared>,
    pub(super) cohorts: Arc<CohortTable>,
}

/// A device that spoke, with the key that it spoke under.
#[derive(Clone, Copy)]
pub(super) struct Speaker {
    pub(super) key: MacKey,
    pub(super) from: Address,
}

impl Shard {
    pub(super) fn new(parts: Parts, mono: MonoTime) -> Self {
        let Parts { index, workers, devices_max, registry, shared, cohorts } = parts;
        let now = Stamp::of(mono);
        Self {
            index,
            workers: workers as u32,
            devices_max,
            registry,
            pending: Pending::new(pending::PLACES),
            flows: Flows::default(),
            seconds: SecondAcks::new(),
            notices: Notices::new(now),
            waiting: Waiting::default(),
            names: Names::default(),
            scan: None,
            secret: Secret::draw(),
            keys: shared.keys.load_full(),
            orders: Arc::default(),
            hello_epoch: shared.hello_epoch.load(Ordering::Relaxed),
            is_watched: false,
            shared,
            cohorts,
            now,
            mono,
            out: Vec::with_capacity(256),
        }
    }

    /// A batch begins: what is in force, and what time it is.
    pub(super) fn begin(&mut self, orders: &Arc<Orders>, mono: MonoTime) {
        (self.mono, self.now) = (mono, Stamp::of(mono));
        if !Arc::ptr_eq(&self.orders, orders) {
            self.orders = Arc::clone(orders);
        }
        self.hello_epoch = self.shared.hello_epoch.load(Ordering::Relaxed);
        self.is_watched = self.shared.is_watched.load(Ordering::Relaxed);
        if !Arc::ptr_eq(&self.keys, &self.shared.keys.load()) {
            self.change_keys();
        }
    }

    /// Keys that were derived from what is not in force any more are forgotten.
    fn change_keys(&mut self) {
        let keys = self.shared.keys.load_full();
        let retired = keys.retired(&self.keys);
        self.keys = keys;
        for slot in 0..self.registry.places() as Slot {
            let entry = self.registry.get_mut(slot);
            if retired.contains(&entry.key_id) {
                entry.key = None;
            }
        }
    }

    /// Takes one datagram.
    pub(super) fn datagram(&mut self, bytes: &[u8], from: Address) {
        if let Err(refusal) = self.take(bytes, from) {
            self.counts().add(refusal, 1);
        }
    }

    fn take(&mut self, bytes: &[u8], from: Address) -> Result<(), Count> {
        let arrived = Arrived::read(bytes).map_err(|malformed| match malformed {
            Malformed::Version(_) => Count::Version,
            _ => Count::Malformed,
        })?;
        let head = arrived.head();
        if self.workers > 1 && worker_of(&head.device.0, self.workers) != self.index {
            return Err(Count::Misrouted);
        }
        if !self.keys.has(head.key_id) {
            return Err(Count::UnknownKey);
        }
        match self.registry.find(&head.device) {
            Some(slot) => {
                let key = self.authenticated(slot, bytes, head)?;
                self.known(slot, &arrived, Speaker { key, from })
            }
            None => {
                let key = self.keys.device(head.key_id, head.device).ok_or(Count::UnknownKey)?;
                if !is_authentic(bytes, &key) {
                    return Err(Count::Forged);
                }
                self.stranger(&arrived, Speaker { key, from })
            }
        }
    }

    /// The key of a known device, if the datagram is authentic under it; another key in force becomes the device's.
    fn authenticated(&mut self, slot: Slot, bytes: &[u8], head: &Request) -> Result<MacKey, Count> {
        let entry = self.registry.get(slot);
        if let Some(key) = entry.key.filter(|_| entry.key_id == head.key_id) {
            return if is_authentic(bytes, &key) { Ok(key) } else { Err(Count::Forged) };
        }
        let key = self.keys.device(head.key_id, head.device).ok_or(Count::UnknownKey)?;
        if !is_authentic(bytes, &key) {
            return Err(Count::Forged);
        }
        let entry = self.registry.get_mut(slot);
        (entry.key, entry.key_id) = (Some(key), head.key_id);
        Ok(key)
    }

    fn known(&mut self, slot: Slot, arrived: &Arrived<'_>, speaker: Speaker) -> Result<(), Count> {
        match arrived {
            Arrived::Hello(hello) => self.hello(slot, hello, &speaker),
            Arrived::Request(request) if request.kind == kind::PROBE => self.side(slot, request, &speaker),
            Arrived::Request(request) => self.beat(slot, request, &speaker),
        }
    }

    pub(super) fn counts(&self) -> &WorkerCounts {
        self.shared.counters.worker(self.index)
    }

    pub(super) fn order(&self, cohort: CohortIndex) -> Option<&Arc<CohortOrder>> {
        self.orders.cohort(cohort)
    }

    /// What a device is to be told: its own pace, or its cohort's, and never as an older order than the one before. A cohort
    /// that the loop has not ordered anything for yet is not that of unknown devices: after a restart a device keeps what it
    /// has until then.
    pub(super) fn pace(&self, entry: &Entry) -> Pace {
        let first = || self.cohorts.first_pace(entry.cohort);
        let cohort = || self.orders.decided(entry.cohort).map_or_else(first, |order| order.pace);
        let pace = entry.own.map_or_else(cohort, Pace::from);
        Pace { generation: pace.generation.max(entry.generation_floor), ..pace }
    }

    /// Adds an answer; its MAC.
    pub(super) fn answer(&mut self, answer: &Answer, head: &Request, speaker: &Speaker) -> Mac {
        let bytes = answer.sealed(&speaker.key, head.key_id, head.device, head.boot);
        self.out.push((speaker.from, bytes));
        *bytes.last_chunk().expect("an answer ends with its MAC")
    }

    /// Acks what a known device sent from where it answered.
    pub(super) fn ack(&mut self, slot: Slot, head: &Request, speaker: &Speaker) {
        self.note_told(slot);
        let entry = self.registry.get(slot);
        let (pace, hello) = (self.pace(entry), entry.hello_epoch != self.hello_epoch);
        let (flags, probe) = super::orders::told_probe(entry);
        let flags = flags | if hello { told::HELLO } else { 0 };
        let ack = Ack { kind: kind::ACK, flags, sequence: head.sequence, pace, probe };
        self.answer(&Answer::Ack(ack), head, speaker);
        self.counts().add(Count::Acked, 1);
    }

    /// Tells the loop something of a device.
    pub(super) fn tell(&mut self, cohort: CohortIndex, kind: ObservationKind) {
        let observation = Observation { at: self.mono, cohort, kind };
        self.notices.add(observation, self.shared.counters.worker(self.index));
    }

    /// Tells the loop that a device is here, if it does not know.
    pub(super) fn tell_present(&mut self, slot: Slot) {
        let entry = self.registry.get_mut(slot);
        if entry.is_present {
            return;
        }
        entry.is_present = true;
        let (cohort, device, has_own) = (entry.cohort, entry.device, entry.own.is_some());
        self.tell(cohort, ObservationKind::Present { device, can_probe: true, has_own });
    }
}
