//! The server's part of a side-flow test: answers the flow, sends to it when the device asks over its main flow, and takes
//! the result. Each datagram causes at most as many bytes as it has: one answer, or two.

use flyball_sdk::device::probe::{ProbeOrder, ProbePhase, ProbeReport};
use flyball_sdk::device::wire::{Ack, Answer, Request, kind, sent, told};

use super::address::Address;
use super::counters::Count;
use super::shard::{Shard, Speaker};
use crate::fleet::registry::Slot;
use crate::fleet::registry::entry::Ordered;
use crate::fleet::registry::replay::Place;
use crate::keepalive::observation::{BindingClass, ObservationKind};

impl Shard {
    /// A datagram of a side flow, or about one.
    pub(super) fn side(&mut self, slot: Slot, head: &Request, speaker: &Speaker) -> Result<(), Count> {
        let report = head.report().ok_or(Count::UnknownTest)?;
        let entry = self.registry.get(slot);
        match entry.window.place(head.boot, head.sequence) {
            Place::Highest { is_restart: false, .. } | Place::Late => {}
            // Sent until it is answered: the same result again is answered again, and counts once.
            Place::Duplicate | Place::Replayed if report.phase == ProbePhase::Report => {
                return self.reported_again(slot, head, &report, speaker);
            }
            _ => return Err(Count::Replayed),
        }
        self.registry.get_mut(slot).window.take(head.boot, head.sequence);
        match report.phase {
            ProbePhase::Open => self.open(slot, head, &report, speaker)?,
            ProbePhase::Settle => {
                self.flows.settle(head.device, &report, speaker.from, self.now)?;
                self.answer_side(head, &report, speaker, 0);
            }
            ProbePhase::Test => self.test(slot, head, &report, speaker)?,
            ProbePhase::Report => {
                // What nobody knows any more is answered too, or the device would tell it for ever.
                let taken = self.take_report(slot, &report, Some(speaker.from));
                self.answer_side(head, &report, speaker, 0);
                taken?;
            }
        }
        self.counts().add(Count::SideFlow, 1);
        Ok(())
    }

    fn open(&mut self, slot: Slot, head: &Request, report: &ProbeReport, speaker: &Speaker) -> Result<(), Count> {
        let class = if head.flags & sent::UNREPLIED != 0 { BindingClass::Unreplied } else { BindingClass::Stream };
        let ordered = self.registry.get_mut(slot).probe.as_mut().filter(|probe| probe.state != Ordered::Waiting);
        let is_ours = |order: ProbeOrder, of: BindingClass| order == report.order && of == class;
        let ordered = ordered.filter(|probe| is_ours(probe.order, probe.class)).ok_or(Count::UnknownTest)?;
        ordered.state = Ordered::Told;
        self.flows.open(head.device, report, class, speaker.from, self.now)?;
        if class == BindingClass::Stream {
            self.answer_side(head, report, speaker, 0);
        }
        Ok(())
    }

    /// The end of a silence: to the side flow, and to the main one. Both only where the device asks from where it is.
    fn test(&mut self, slot: Slot, head: &Request, report: &ProbeReport, speaker: &Speaker) -> Result<(), Count> {
        if !self.registry.get(slot).is_at(&speaker.from) {
            return Err(Count::Copied);
        }
        let side = self.flows.test(head.device, report, self.now)?;
        self.answer_side(head, report, &Speaker { from: side, ..*speaker }, 0);
        self.answer_side(head, report, speaker, told::CONTROL);
        let now = self.now;
        let entry = self.registry.get_mut(slot);
        (entry.heard, entry.either) = (now, now);
        Ok(())
    }

    fn reported_again(
        &mut self,
        slot: Slot,
        head: &Request,
        report: &ProbeReport,
        speaker: &Speaker,
    ) -> Result<(), Count> {
        match self.take_report(slot, report, Some(speaker.from)) {
            Ok(()) => {
                self.answer_side(head, report, speaker, 0);
                Ok(())
            }
            Err(_) => Err(Count::Replayed),
        }
    }

    /// A result; `from` is where the side flow spoke again.
    pub(super) fn take_report(&mut self, slot: Slot, report: &ProbeReport, from: Option<Address>) -> Result<(), Count> {
        let entry = self.registry.get(slot);
        let (device, cohort) = (entry.device, entry.cohort);
        if let Some(probe) = self.flows.report(device, report, from)? {
            self.counts().add(Count::Report, 1);
            self.tell(cohort, ObservationKind::Probe(probe));
        }
        Ok(())
    }

    /// The order's bits, with the flow's number in place of how many flows there are.
    fn answer_side(&mut self, head: &Request, report: &ProbeReport, to: &Speaker, flags: u16) {
        let slot = self.registry.find(&head.device);
        let pace = slot.map_or_else(|| self.first_pace(), |slot| self.pace(self.registry.get(slot)));
        let probe = ProbeOrder { flows: report.flow + 1, ..report.order }.to_bits();
        let ack = Ack { kind: kind::ANSWER, flags, sequence: head.sequence, pace, probe };
        self.answer(&Answer::Ack(ack), head, to);
    }
}
