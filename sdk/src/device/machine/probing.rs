//! The probe that runs, if one does: up to four side flows in parallel.
//!
//! The newest order wins, as with every order: one that runs is given up, its reports included, and its sockets are
//! closed before the new ones are opened, so that there are never more than four. The order that runs already, told again,
//! changes nothing. A restart, and a link that comes up, forget the probe: whoever ordered it orders again.

use std::time::Duration;

use super::output::{Event, Flow, Output};
use super::side::{Side, Work};
use super::voice::Voice;
use crate::device::probe::{FLOWS_MAX, ProbeOrder};
use crate::device::wire::{Ack, told};

/// An order as it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) order: ProbeOrder,
    pub(super) is_unreplied: bool,
    /// Of the beat whose ack told it.
    pub(super) sequence: u32,
}

/// What surrounds a probe.
pub(super) struct Around<'a> {
    pub(super) now: Duration,
    pub(super) retry: Duration,
    pub(super) rtt: Duration,
    pub(super) voice: &'a mut Voice,
    pub(super) out: &'a mut Vec<Output>,
}

/// The probe.
#[derive(Debug, Clone, Default)]
pub(super) struct Probing {
    told: Option<Told>,
    sides: [Option<Side>; FLOWS_MAX as usize],
}

impl Told {
    /// From an ack, where it holds an order.
    pub(super) fn from_ack(ack: &Ack) -> Option<Self> {
        let is_unreplied = ack.flags & told::UNREPLIED != 0;
        ack.order().map(|order| Self { order, is_unreplied, sequence: ack.sequence })
    }

    fn work<'a>(&self, around: &'a mut Around<'_>) -> Work<'a> {
        Work {
            now: around.now,
            order: self.order,
            is_unreplied: self.is_unreplied,
            retry: around.retry,
            rtt: around.rtt,
            voice: around.voice,
            out: around.out,
        }
    }
}

impl Probing {
    /// When something is due.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.sides.iter().flatten().map(|side| side.due).min()
    }

    /// Whether an order is one to begin now: neither the one that runs, nor one that the same beat's acks told before.
    pub(super) fn is_new(&self, told: &Told) -> bool {
        let is_running = self.sides.iter().any(Option::is_some);
        let is_same = |known: &Told| (known.order, known.is_unreplied) == (told.order, told.is_unreplied);
        !self.told.as_ref().is_some_and(|known| is_same(known) && (is_running || known.sequence == told.sequence))
    }

    /// Begins a probe, in place of the one that runs.
    pub(super) fn begin(&mut self, told: Told, around: &mut Around<'_>) {
        self.forget(around.out);
        self.told = Some(told);
        let order = told.order;
        let [shortest, longest] = [0, u16::from(order.flows) - 1].map(|flow| order.cell(flow).silence());
        around.out.push(Output::Event(Event::Probing { flows: order.flows, shortest, longest }));
        for (index, side) in (0..order.flows).zip(&mut self.sides) {
            *side = Some(Side::open(index, &mut told.work(around)));
        }
    }

    /// Gives up the probe that runs.
    pub(super) fn forget(&mut self, out: &mut Vec<Output>) {
        out.extend(self.sides.iter_mut().filter_map(Option::take).map(|side| Output::Close(side.flow())));
    }

    /// What is due.
    pub(super) fn timeout(&mut self, around: &mut Around<'_>) {
        self.each(around, |side, work| side.timeout(work));
    }

    /// Something came to a side flow, or to the main one as a control.
    pub(super) fn handle(&mut self, flow: Flow, ack: &Ack, around: &mut Around<'_>) {
        let Some(named) = ProbeOrder::from_bits(ack.probe) else { return };
        let is_control = ack.flags & told::CONTROL != 0;
        let order = self.told.map(|told| ProbeOrder { flows: named.flows, ..told.order });
        let arrived_at = if is_control { Flow::MAIN } else { Flow::side(named.flows - 1) };
        if order != Some(named) || arrived_at != flow {
            return;
        }
        let index = usize::from(named.flows - 1);
        self.each(around, |side, work| match side.flow() == Flow::side(index as u8) {
            true if is_control => side.controlled(ack),
            true => side.answered(ack, work),
            false => {}
        });
    }

    fn each(&mut self, around: &mut Around<'_>, mut act: impl FnMut(&mut Side, &mut Work<'_>)) {
        let Some(told) = self.told else { return };
        for slot in &mut self.sides {
            let Some(side) = slot else { continue };
            act(side, &mut told.work(around));
            if side.is_done() {
                around.out.push(Output::Close(side.flow()));
                *slot = None;
            }
        }
    }
}
