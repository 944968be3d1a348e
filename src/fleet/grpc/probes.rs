//! Probe orders of one session, and which of their results can be true.

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::probe::{Cell, ProbeOrder, ProbeOutcome, TRIES};

use crate::keepalive::observation::{BindingClass, Probe};
use crate::proto::flyball_v1::{self as proto, probe_result::Outcome};
use crate::time::MonoTime;

/// A device's clock may be fast by 1 / 1,000, ten times what quartz is off by, and a fifth of a cell.
const FAST_MAX: f64 = 1e-3;

/// One order that waits and one that was given; a new one takes the place of the one before.
#[derive(Debug, Default)]
pub(super) struct Probes {
    waiting: Option<(ProbeOrder, BindingClass)>,
    given: Option<Given>,
    /// The order before: its result may have been under way when the new one went out, and is as true.
    replaced: Option<Given>,
}

#[derive(Debug)]
struct Given {
    order: ProbeOrder,
    class: BindingClass,
    at: MonoTime,
    /// Flows whose result came, one bit each.
    done: u8,
}

impl Probes {
    pub(super) fn order(&mut self, order: ProbeOrder, class: BindingClass) {
        self.waiting = Some((order, class));
    }

    /// The order that waits, as a message.
    pub(super) fn give(&mut self, now: MonoTime) -> Option<proto::ProbeOrder> {
        let (order, class) = self.waiting.take()?;
        self.replaced = self.given.replace(Given { order, class, at: now, done: 0 });
        let silences_ms = order.cells().map(silence_ms).collect();
        Some(proto::ProbeOrder { id: u32::from(order.to_bits()), silences_ms })
    }

    /// What a result shows. It must be of the order given last or of the one before, the first of its flow, not sooner
    /// than the silence that it tells of, and an expiry needs a control.
    pub(super) fn result(&mut self, device: DeviceId, told: &proto::ProbeResult, now: MonoTime) -> Option<Probe> {
        let mut orders = [&mut self.given, &mut self.replaced].into_iter().flatten();
        orders.find_map(|given| given.result(device, told, now))
    }
}

impl Given {
    fn result(&mut self, device: DeviceId, told: &proto::ProbeResult, now: MonoTime) -> Option<Probe> {
        if u32::from(self.order.to_bits()) != told.id {
            return None;
        }
        let flow = u8::try_from(told.flow).ok().filter(|flow| *flow < self.order.flows)?;
        let controls = u8::try_from(told.controls).ok().filter(|controls| *controls <= TRIES)?;
        let outcome = outcome(told.outcome(), controls)?;
        let silence = self.order.cell(u16::from(flow)).silence();
        let is_too_soon = outcome != ProbeOutcome::Lost && now.since(self.at) < silence.mul_f64(1.0 - FAST_MAX);
        if self.done & 1 << flow != 0 || is_too_soon {
            return None;
        }
        self.done |= 1 << flow;
        Some(Probe { device, class: self.class, silence, outcome, controls, is_port_kept: None })
    }
}

fn outcome(told: Outcome, controls: u8) -> Option<ProbeOutcome> {
    match told {
        Outcome::Survived => Some(ProbeOutcome::Survived),
        Outcome::Expired => (controls > 0).then_some(ProbeOutcome::Expired),
        Outcome::Lost => Some(ProbeOutcome::Lost),
        Outcome::Unspecified => None,
    }
}

/// Rounded up: what is shown of a silence that is shorter by a part of a millisecond would be of the cell before.
fn silence_ms(cell: Cell) -> u32 {
    u32::try_from(cell.silence().as_micros().div_ceil(1_000)).expect("four hours")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DEVICE: DeviceId = DeviceId([1; 16]);

    fn at(seconds: u64) -> MonoTime {
        MonoTime::from_start(Duration::from_secs(seconds))
    }

    fn given() -> (Probes, ProbeOrder) {
        let order = ProbeOrder { first: Cell::at_most(Duration::from_secs(60)), flows: 2, step: 5 };
        let mut probes = Probes::default();
        probes.order(order, BindingClass::Stream);
        let message = probes.give(at(100)).expect("an order");
        assert_eq!((message.id, message.silences_ms.len()), (u32::from(order.to_bits()), 2));
        (probes, order)
    }

    fn told(order: ProbeOrder, flow: u32, outcome: Outcome) -> proto::ProbeResult {
        proto::ProbeResult { id: u32::from(order.to_bits()), flow, outcome: outcome.into(), controls: 1 }
    }

    #[test]
    fn a_result_counts_once_and_only_where_it_was_ordered() {
        let (mut probes, order) = given();
        assert_eq!(probes.give(at(101)), None, "given once");
        let survived = told(order, 0, Outcome::Survived);
        let probe = probes.result(DEVICE, &survived, at(161)).expect("a result");
        assert_eq!((probe.outcome, probe.silence), (ProbeOutcome::Survived, order.first.silence()));
        assert_eq!(probes.result(DEVICE, &survived, at(162)), None, "twice");
        for wrong in [
            told(order, 2, Outcome::Survived),
            told(order, 1, Outcome::Unspecified),
            proto::ProbeResult { id: survived.id + 1, ..told(order, 1, Outcome::Survived) },
            proto::ProbeResult { controls: 0, ..told(order, 1, Outcome::Expired) },
            proto::ProbeResult { controls: 4, ..told(order, 1, Outcome::Expired) },
        ] {
            assert_eq!(probes.result(DEVICE, &wrong, at(1_000)), None, "{wrong:?}");
        }
    }

    #[test]
    fn who_waits_as_long_as_it_was_told_by_a_clock_of_its_own_is_believed() {
        for number in 1..2_000 {
            let order = ProbeOrder::one(Cell::new(number));
            let mut probes = Probes::default();
            probes.order(order, BindingClass::Stream);
            let told_ms = probes.give(at(100)).expect("an order").silences_ms[0];
            let waited = Duration::from_millis(told_ms.into());
            let ended = at(100).plus(waited.mul_f64(1.0 - 100e-6));
            assert!(waited >= order.first.silence());
            assert!(probes.result(DEVICE, &told(order, 0, Outcome::Survived), ended).is_some(), "{order:?}");
        }
    }

    #[test]
    fn a_result_that_crossed_a_new_order_on_the_way_counts() {
        let (mut probes, order) = given();
        let next = ProbeOrder { first: order.first.plus(8), ..order };
        probes.order(next, BindingClass::Stream);
        probes.give(at(160)).expect("an order");
        let crossed = told(order, 0, Outcome::Survived);
        let probe = probes.result(DEVICE, &crossed, at(161)).expect("a result");
        assert_eq!(probe.silence, order.first.silence());
        assert_eq!(probes.result(DEVICE, &crossed, at(161)), None, "twice");
        assert_eq!(probes.result(DEVICE, &told(next, 0, Outcome::Survived), at(161)), None, "too soon");
        probes.order(order, BindingClass::Stream);
        probes.give(at(170)).expect("an order");
        probes.order(next, BindingClass::Stream);
        probes.give(at(171)).expect("an order");
        assert_eq!(probes.result(DEVICE, &told(order, 0, Outcome::Survived), at(180)), None, "the clock began anew");
    }

    #[test]
    fn no_silence_is_tested_in_less_time_than_it_takes() {
        let (mut probes, order) = given();
        assert_eq!(probes.result(DEVICE, &told(order, 1, Outcome::Expired), at(161)), None);
        assert!(probes.result(DEVICE, &told(order, 1, Outcome::Expired), at(175)).is_some());
        assert!(probes.result(DEVICE, &told(order, 0, Outcome::Lost), at(101)).is_some(), "given up at any time");
    }
}
