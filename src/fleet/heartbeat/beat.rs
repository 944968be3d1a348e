//! Heartbeats of devices that are here.
//!
//! A device is believed to be where it last *answered* from. A heartbeat from elsewhere may be a copy that somebody sent
//! on: its address is asked, once, with an ack whose MAC only the device can send back; until it does, nothing moves, and
//! nothing more goes there.

use std::time::Duration;

use flyball_sdk::device::probe::ProbePhase;
use flyball_sdk::device::wire::{Ack, Answer, Hello, Request, kind, sent, told};

use super::address::Address;
use super::census;
use super::counters::Count;
use super::hello;
use super::orders;
use super::pending::{Asked, Ended};
use super::shard::{Shard, Speaker};
use crate::fleet::registry::Slot;
use crate::fleet::registry::entry::{Entry, Stamp};
use crate::fleet::registry::replay::Place;
use crate::keepalive::cohort::{CohortIndex, Labels, Transport};
use crate::keepalive::observation::{BindingClass, ObservationKind, Silence};

/// A retry after more missing heartbeats than this tells of a hole in coverage, not of a packet that the way lost.
const LOST_IN_A_ROW_MAX: u32 = 3;

impl Shard {
    /// A heartbeat, or what answers an ack to a new address.
    pub(super) fn beat(&mut self, slot: Slot, head: &Request, speaker: &Speaker) -> Result<(), Count> {
        let entry = self.registry.get(slot);
        let is_there = entry.is_at(&speaker.from);
        match entry.window.place(head.boot, head.sequence) {
            Place::Highest { missed, .. } if is_there => {
                self.accept(slot, head, missed);
                self.reported(slot, head);
                self.ack(slot, head, speaker);
                Ok(())
            }
            Place::Highest { .. } => self.beat_from_elsewhere(slot, head, speaker),
            Place::Late if is_there => {
                self.registry.get_mut(slot).window.take(head.boot, head.sequence);
                self.ack(slot, head, speaker);
                self.counts().add(Count::Accepted, 1);
                Ok(())
            }
            Place::Duplicate if is_there => {
                self.counts().add(Count::Duplicate, 1);
                self.ack(slot, head, speaker);
                Ok(())
            }
            // A device that tries again takes a new number: this is a copy.
            Place::Duplicate | Place::Late => Err(Count::Copied),
            Place::Replayed => Err(Count::Replayed),
            Place::Stale => self.stale(slot, head, speaker),
        }
    }

    /// The newest of a device, from where it answered.
    fn accept(&mut self, slot: Slot, head: &Request, missed: u32) {
        let now = self.now;
        let ended = ended(self.registry.get(slot), head, missed, now);
        let interval = self.pace(self.registry.get(slot)).interval;
        let entry = self.registry.get_mut(slot);
        let (is_unheard, cohort) = (entry.is_unheard, entry.cohort);
        let is_restart = entry.window.boot() != head.boot;
        entry.window.take(head.boot, head.sequence);
        entry.gap_ms = ended.gap.as_millis() as u32;
        // Before the ack of this one tells it another pace.
        let is_own = !is_restart && !is_unheard && missed == 0 && head.flags & (sent::RETRY | sent::LINK_UP) == 0;
        census::gap_ended(entry, ended.gap, interval, is_own);
        (entry.heard, entry.either, entry.is_unheard) = (now, now, false);
        orders::move_on(entry, head);
        self.counts().add(Count::Accepted, 1);
        if !is_restart && !is_unheard {
            self.judge(slot, head, &ended, (missed, None));
        }
        // What was sent in it may have kept the binding, or not have passed.
        let is_sounded = std::mem::take(&mut self.registry.get_mut(slot).is_sounded);
        if !is_restart && !is_unheard && missed <= LOST_IN_A_ROW_MAX {
            let unanswered = if head.flags & sent::RETRY != 0 { missed.max(1) } else { 0 };
            self.notices.add_loss(cohort, missed + 1, unanswered);
        }
        let order = self.order(cohort);
        let is_told = order.is_some_and(|order| ended.silence >= order.tell_silences_from);
        let after = order.and_then(|order| order.second_ack_after);
        if !is_unheard && is_told && !self.is_watched && !is_sounded {
            self.tell_silence(slot, &ended, None);
        }
        // How long it was silent is not known, or long: the binding may be a new one.
        if after.is_some_and(|after| is_unheard || ended.silence > after) {
            self.schedule_second(slot, head);
        }
        self.tell_present(slot);
    }

    /// The newest of a device, from where it did not answer yet.
    fn beat_from_elsewhere(&mut self, slot: Slot, head: &Request, speaker: &Speaker) -> Result<(), Count> {
        let answers = (head.kind == kind::ANSWER && head.flags & sent::NEW_ADDRESS != 0)
            .then(|| self.pending.answer(&head.device, &speaker.from, &head.cookie, self.now))
            .flatten();
        match answers {
            Some(asked) => self.moved(slot, head, speaker, &asked),
            None => {
                let Place::Highest { missed, .. } = self.registry.get(slot).window.place(head.boot, head.sequence)
                else {
                    return Err(Count::Replayed);
                };
                let ended = ended(self.registry.get(slot), head, missed, self.now);
                let before = self.pending.of(&head.device).and_then(|asked| asked.ended);
                // Asked again: what ended is what the first of them ended, since then the binding is a new one.
                let ended = before.filter(|before| before.gap <= ended.gap).unwrap_or(ended);
                self.registry.get_mut(slot).window.take(head.boot, head.sequence);
                self.ask(head, speaker, Some(ended));
            }
        }
        Ok(())
    }

    /// Asks an address whether the device is there.
    pub(super) fn ask(&mut self, head: &Request, speaker: &Speaker, ended: Option<Ended>) {
        let slot = self.registry.find(&head.device);
        let entry = slot.map(|slot| self.registry.get(slot));
        let wants_labels = entry.is_none_or(|entry| {
            entry.hello_epoch != self.hello_epoch || self.is_elsewhere(&entry.address, &speaker.from)
        });
        let pace = entry.map_or_else(|| self.first_pace(), |entry| self.pace(entry));
        let generation = self.secret.generation(head.device, head.boot, head.sequence);
        let flags = told::NEW_ADDRESS | if wants_labels { told::HELLO } else { 0 };
        let pace = flyball_sdk::device::jitter::Pace { generation, ..pace };
        let ack = Ack { kind: kind::ACK, flags, sequence: head.sequence, pace, probe: 0 };
        let cookie = self.answer(&Answer::Ack(ack), head, speaker);
        let (device, from, at) = (head.device, speaker.from, self.now);
        let (boot, sequence) = (head.boot, head.sequence);
        self.pending.put(Asked { device, from, cookie, boot, sequence, at, ended });
        self.counts().add(Count::Acked, 1);
        self.counts().add(Count::AddressAsked, 1);
    }

    /// The device is where this came from; where it was. Behind another carrier it is asked for its labels until it has said
    /// them, and another network ended its side flows, not their age.
    fn settle_at(&mut self, slot: Slot, speaker: &Speaker) -> Address {
        let entry = self.registry.get(slot);
        let (before, cohort, device) = (entry.address, entry.cohort, entry.device);
        if !before.is_same_ip(&speaker.from) {
            let lost = self.flows.forget(device);
            lost.into_iter().for_each(|probe| self.tell(cohort, ObservationKind::Probe(probe)));
        }
        let is_elsewhere = self.is_elsewhere(&before, &speaker.from);
        let entry = self.registry.get_mut(slot);
        (entry.address, entry.is_unproven) = (speaker.from, false);
        if is_elsewhere {
            entry.hello_epoch = 0;
        }
        before
    }

    /// The device answered from its new address.
    fn moved(&mut self, slot: Slot, head: &Request, speaker: &Speaker, asked: &Asked) {
        let now = self.now;
        let before = self.settle_at(slot, speaker);
        let entry = self.registry.get_mut(slot);
        let (cohort, is_unheard) = (entry.cohort, entry.is_unheard);
        entry.came_from = orders::fingerprint(&before);
        entry.window.take(head.boot, head.sequence);
        (entry.heard, entry.either, entry.is_unheard) = (now, now, false);
        orders::move_on(entry, head);
        let has_moved = before != speaker.from;
        if has_moved {
            entry.moves = entry.moves.saturating_add(1);
            self.counts().add(Count::AddressMoved, 1);
        }
        self.counts().add(Count::Accepted, 1);
        if let Some(ended) = asked.ended.filter(|_| has_moved && !is_unheard) {
            self.judge(slot, head, &ended, (0, Some(before.is_same_ip(&speaker.from))));
        }
        self.registry.get_mut(slot).is_sounded = false;
        if let Some(ended) = asked.ended {
            let entry = self.registry.get_mut(slot);
            entry.gap_ms = ended.gap.as_millis() as u32;
            census::gap_ended(entry, ended.gap, Duration::ZERO, false);
            let from = self.order(cohort).map(|order| order.tell_silences_from);
            let is_told = from.is_some_and(|from| ended.silence >= from);
            if is_told && has_moved && !is_unheard && !self.is_watched {
                self.tell_silence(slot, &ended, Some(before.is_same_ip(&speaker.from)));
            }
        }
        if self.order(cohort).is_some_and(|order| order.second_ack_after.is_some()) {
            self.schedule_second(slot, head);
        }
        self.tell_present(slot);
        self.ack(slot, head, speaker);
    }

    /// Lower counters than before: a replay, or a device that lost them. Which of the two, it can say from where it is.
    fn stale(&mut self, slot: Slot, head: &Request, speaker: &Speaker) -> Result<(), Count> {
        if head.cookie == [0; 16] {
            let nonce = self.secret.challenge(&speaker.from, head.device, head.boot, self.mono);
            self.answer(&Answer::Challenge { nonce }, head, speaker);
            self.counts().add(Count::Challenged, 1);
            return Ok(());
        }
        if !self.secret.is_answer(&head.cookie, &speaker.from, head.device, head.boot, self.mono) {
            return Err(Count::StaleNonce);
        }
        let now = self.now;
        self.settle_at(slot, speaker);
        let entry = self.registry.get_mut(slot);
        entry.window = crate::fleet::registry::replay::Window::new(head.boot, head.sequence);
        (entry.heard, entry.either, entry.is_unheard) = (now, now, false);
        orders::move_on(entry, head);
        let cohort = entry.cohort;
        self.counts().add(Count::Restarted, 1);
        self.counts().add(Count::Accepted, 1);
        if self.order(cohort).is_some_and(|order| order.second_ack_after.is_some()) {
            self.schedule_second(slot, head);
        }
        self.tell_present(slot);
        self.ack(slot, head, speaker);
        Ok(())
    }

    /// A device's labels.
    pub(super) fn hello(&mut self, slot: Slot, hello: &Hello<'_>, speaker: &Speaker) -> Result<(), Count> {
        let head = &hello.head;
        let entry = self.registry.get(slot);
        let is_there = entry.is_at(&speaker.from);
        match entry.window.place(head.boot, head.sequence) {
            Place::Highest { .. } | Place::Late if is_there => {}
            Place::Duplicate if is_there => {
                self.ack(slot, head, speaker);
                return Ok(());
            }
            Place::Highest { .. } => return self.beat_from_elsewhere(slot, head, speaker),
            Place::Replayed | Place::Stale => return Err(Count::Replayed),
            Place::Late | Place::Duplicate => return Err(Count::Copied),
        }
        let labels = hello::labels(hello.labels).ok_or(Count::BadLabels)?;
        let cohort = self.cohort_of(labels.clone(), speaker);
        let (now, epoch) = (self.now, self.hello_epoch);
        let entry = self.registry.get_mut(slot);
        entry.window.take(head.boot, head.sequence);
        (entry.heard, entry.either, entry.hello_epoch, entry.has_spoken) = (now, now, epoch, true);
        self.counts().add(Count::Hello, 1);
        self.names.take(slot, &labels);
        self.scanned(hello.head.device);
        self.put_into(slot, cohort);
        self.ack(slot, head, speaker);
        Ok(())
    }

    /// The cohort of a device with these labels; what it does not say, its address may.
    pub(super) fn cohort_of(&self, mut labels: Labels, speaker: &Speaker) -> CohortIndex {
        self.shared.prefixes.load().complete(&mut labels, speaker.from.ip());
        self.cohorts.resolve(&labels, Transport::Udp)
    }

    /// Whether prefixes say other labels of the one address than of the other: the device is behind another carrier.
    fn is_elsewhere(&self, before: &Address, now: &Address) -> bool {
        let prefixes = self.shared.prefixes.load();
        !before.is_same_ip(now) && prefixes.labels(before.ip()) != prefixes.labels(now.ip())
    }

    /// Another cohort's device from now on. What it was ordered by itself was for the NAT before. The cohort's pace may be
    /// older than what the device follows: it is told as a new one.
    fn put_into(&mut self, slot: Slot, cohort: CohortIndex) {
        let told = self.pace(self.registry.get(slot)).generation;
        let entry = self.registry.get_mut(slot);
        if entry.cohort != cohort {
            (entry.own, entry.probe, entry.generation_floor) = (None, None, told + 1);
            (entry.cohort, entry.is_present) = (cohort, false);
        }
        self.tell_present(slot);
    }

    /// A result that came with a heartbeat: its side flow could not tell it.
    fn reported(&mut self, slot: Slot, head: &Request) {
        if let Some(report) = head.report().filter(|report| report.phase == ProbePhase::Report) {
            let refused = self.take_report(slot, &report, None).err();
            refused.into_iter().for_each(|refusal| self.counts().add(refusal, 1));
        }
    }

    fn tell_silence(&mut self, slot: Slot, ended: &Ended, moved: Option<bool>) {
        let entry = self.registry.get(slot);
        let class = if ended.is_stream { BindingClass::Stream } else { BindingClass::Unreplied };
        let silence = Silence {
            device: entry.device,
            class,
            silence: ended.silence,
            gap: ended.gap,
            has_moved: moved.is_some(),
            is_same_address: moved.unwrap_or(true),
            is_doubtful: ended.is_doubtful,
        };
        let cohort = entry.cohort;
        self.tell(cohort, ObservationKind::Silence(silence));
    }

    pub(super) fn schedule_second(&mut self, slot: Slot, head: &Request) {
        if !self.seconds.add(slot, head.boot, head.sequence, self.now) {
            self.counts().add(Count::SecondAckDropped, 1);
        }
    }
}

/// The silence that a datagram ends.
fn ended(entry: &Entry, head: &Request, missed: u32, now: Stamp) -> Ended {
    let is_doubtful = missed > 0 || entry.window.boot() != head.boot || head.flags & (sent::RETRY | sent::LINK_UP) != 0;
    Ended {
        silence: now.since(entry.either),
        gap: now.since(entry.heard),
        is_stream: head.flags & sent::STREAM != 0,
        is_doubtful,
    }
}
