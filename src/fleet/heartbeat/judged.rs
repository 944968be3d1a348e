//! What a rollout judges: each beat of a cohort that has one, silences that are longer than any wait of it, and whether
//! what was sent just before a beat was due had passed the NAT. And orders that are sent unasked.
//!
//! A device whose binding has expired beats on as if nothing had been, over a new binding, and where the NAT gives the
//! same port again nothing shows that it could not be reached. So just before its beat is due it is sent the order that
//! it has, under the next generation: the beat that follows says which one it has seen. That costs a datagram a beat
//! while a rollout is judged, and no answer. It refreshes the binding, of which nothing is left to show by then.
//!
//! What befalls devices of both arms alike must show alike in both. Silences are told from one length on, whichever
//! interval the device has, and for one length of time after; a device that started anew, or came from another network,
//! tells nothing; nor does one of which an earlier process knew.
//!
//! Limits: a carrier that gives another *address* with each binding is seen by what was sent alone.

use std::time::Duration;

use flyball_sdk::device::wire::{Ack, Answer, Request, kind, sent};

use super::counters::Count;
use super::pending::Ended;
use super::shard::Shard;
use crate::fleet::registry::Slot;
use crate::fleet::registry::entry::Entry;
use crate::keepalive::cohort::CohortIndex;
use crate::keepalive::observation::{Beat, ObservationKind};

/// Part of the wait after which a device is sent something; less, where it is looked at more rarely.
const SOUND_AT: f64 = 0.97;
/// Retries that a beat may need, before it is taken for one that did not come.
const RETRIES: u32 = 3;
/// And what the network and a busy device take.
const MARGIN: Duration = Duration::from_secs(1);
/// A silence is told so often, in a round.
const TOLD_PER_ROUND: u32 = 8;

impl Shard {
    /// A beat came: `None` = from where the device was, else whether from the same host.
    pub(super) fn judge(&mut self, slot: Slot, head: &Request, ended: &Ended, (missed, moved): (u32, Option<bool>)) {
        let entry = self.registry.get(slot);
        let (cohort, device) = (entry.cohort, entry.device);
        if self.round(cohort).is_none() || moved == Some(false) {
            return;
        }
        let (pace, has_adopted) = (self.pace(entry), head.generation >= self.ordered(entry));
        let is_reached = (entry.is_sounded && has_adopted).then_some(head.generation >= entry.generation_floor);
        let is_confirmed = missed == 0 && head.flags & sent::RETRY == 0 && moved.is_none();
        let gap_ratio = Some((ended.gap.as_secs_f64() / pace.longest().as_secs_f64()) as f32);
        self.tell(cohort, ObservationKind::Beat(Beat { device, is_confirmed, gap_ratio, is_reached, has_adopted }));
    }

    /// A device is looked at, `period` after the last time: it may be due to be sent something, or be silent for too long.
    pub(super) fn look_for_beats(&mut self, slot: Slot, silence: Duration, period: Duration) {
        let entry = self.registry.get(slot);
        let Some(round) = self.round(entry.cohort).filter(|_| !entry.is_unheard) else { return };
        let pace = self.pace(entry);
        let wait = pace.wait(entry.device, entry.window.highest());
        let sound_at = wait.mul_f64(SOUND_AT).min(wait.saturating_sub(period));
        if entry.is_present && !entry.is_sounded && (sound_at..wait).contains(&silence) {
            self.sound(slot);
            return;
        }
        let late = round + pace.retry_wait(1) * RETRIES + MARGIN;
        let step = (round / TOLD_PER_ROUND).max(period);
        let is_new = silence.as_nanos() / step.as_nanos().max(1)
            > silence.saturating_sub(period).as_nanos() / step.as_nanos().max(1);
        if is_new && (late..late + round + step).contains(&silence) {
            let (cohort, device) = (entry.cohort, entry.device);
            let beat = Beat { device, is_confirmed: false, gap_ratio: None, is_reached: None, has_adopted: false };
            self.tell(cohort, ObservationKind::Beat(beat));
        }
    }

    /// Sends a device the order that it has, so that its next beat shows whether that passed.
    fn sound(&mut self, slot: Slot) {
        let generation = self.pace(self.registry.get(slot)).generation + 1;
        let entry = self.registry.get_mut(slot);
        (entry.generation_floor, entry.is_sounded) = (generation, true);
        if self.push(slot) {
            self.counts().add(Count::Sounded, 1);
        }
    }

    /// Sends a device its order unasked; whether it could be.
    pub(super) fn push(&mut self, slot: Slot) -> bool {
        let entry = self.registry.get(slot);
        if entry.is_vacant || entry.is_unproven {
            return false;
        }
        let Some(key) = entry.key.or_else(|| self.keys.device(entry.key_id, entry.device)) else { return false };
        let pace = self.pace(entry);
        let ack = Ack { kind: kind::ACK, flags: 0, sequence: entry.window.highest(), pace, probe: 0 };
        let bytes = Answer::Ack(ack).sealed(&key, entry.key_id, entry.device, entry.window.boot());
        self.out.push((entry.address, bytes));
        true
    }

    fn round(&self, cohort: CohortIndex) -> Option<Duration> {
        self.order(cohort).and_then(|order| order.tell_beats)
    }

    /// The generation of what was ordered, without what it was raised by since.
    fn ordered(&self, entry: &Entry) -> u64 {
        let own = entry.own.map(|own| flyball_sdk::device::jitter::Pace::from(own).generation);
        own.or_else(|| self.order(entry.cohort).map(|order| order.pace.generation)).unwrap_or(0)
    }
}
