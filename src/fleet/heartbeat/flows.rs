//! Side flows that are being tested: whose, where they come from, and since when they are silent. Bounded; an order that
//! this server did not give opens none.

use std::collections::HashMap;
use std::time::Duration;

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::probe::{FLOWS_MAX as DEVICE_FLOWS_MAX, ProbeOrder, ProbeOutcome, ProbeReport, SETTLE};

use super::address::Address;
use super::counters::Count;
use crate::fleet::registry::entry::Stamp;
use crate::keepalive::observation::{BindingClass, Probe};

/// Flows of one worker at a time. 64 bytes each.
pub(super) const FLOWS_MAX: usize = 1 << 16;
/// Kept after its silence: for the tries, and for a report that is sent again.
const LINGER: Duration = Duration::from_secs(120);
/// Packets to a side flow at its end: a try may come twice.
const TESTED_MAX: u8 = 6;
/// A silence may seem this much shorter than it was: the packet that began it was the later one.
const SLACK: Duration = Duration::from_millis(500);

/// One flow.
#[derive(Debug, Clone, Copy)]
struct Flow {
    order: ProbeOrder,
    class: BindingClass,
    address: Address,
    /// Its last packet before the silence.
    silent_since: Stamp,
    is_settled: bool,
    tested: u8,
    tested_at: Stamp,
    is_reported: bool,
}

/// All of one worker.
#[derive(Debug, Default)]
pub(super) struct Flows(HashMap<(DeviceId, u8), Flow>);

impl Flows {
    /// A flow begins, or begins anew.
    pub(super) fn open(
        &mut self,
        device: DeviceId,
        report: &ProbeReport,
        class: BindingClass,
        from: Address,
        now: Stamp,
    ) -> Result<(), Count> {
        let key = (device, report.flow);
        if self.0.len() >= FLOWS_MAX && !self.0.contains_key(&key) {
            return Err(Count::TooManySideFlows);
        }
        let flow = Flow {
            order: report.order,
            class,
            address: from,
            silent_since: now,
            is_settled: class == BindingClass::Unreplied,
            tested: 0,
            tested_at: now,
            is_reported: false,
        };
        self.0.insert(key, flow);
        Ok(())
    }

    /// A flow has become a stream, and is silent from here on.
    pub(super) fn settle(
        &mut self,
        device: DeviceId,
        report: &ProbeReport,
        from: Address,
        now: Stamp,
    ) -> Result<(), Count> {
        let flow = self.flow(device, report)?;
        if flow.address != from || flow.tested > 0 || flow.class != BindingClass::Stream {
            return Err(Count::UnknownTest);
        }
        (flow.is_settled, flow.silent_since) = (true, now);
        Ok(())
    }

    /// The end of the silence: where to send to.
    pub(super) fn test(&mut self, device: DeviceId, report: &ProbeReport, now: Stamp) -> Result<Address, Count> {
        let flow = self.flow(device, report)?;
        if flow.tested >= TESTED_MAX || !flow.is_settled || flow.is_reported {
            return Err(Count::UnknownTest);
        }
        if flow.tested == 0 {
            flow.tested_at = now;
        }
        flow.tested += 1;
        Ok(flow.address)
    }

    /// What came of it: `None` where it was told already, and only the answer was lost. `from` is where the side flow
    /// spoke again, if it did.
    pub(super) fn report(
        &mut self,
        device: DeviceId,
        report: &ProbeReport,
        from: Option<Address>,
    ) -> Result<Option<Probe>, Count> {
        let flow = self.flow(device, report)?;
        if flow.is_reported {
            return Ok(None);
        }
        let silence = report.order.cell(report.flow.into()).silence();
        let is_long_enough = flow.tested_at.since(flow.silent_since) + SLACK >= silence;
        let is_tested = flow.tested > 0 && is_long_enough;
        if !is_tested && report.outcome != ProbeOutcome::Lost {
            return Err(Count::UnknownTest);
        }
        flow.is_reported = true;
        let (class, is_port_kept) = (flow.class, from.map(|from| from == flow.address));
        Ok(Some(Probe { device, class, silence, outcome: report.outcome, controls: report.controls, is_port_kept }))
    }

    /// Forgets those of a device: their results are taken no more. Those that were not told yet, as lost.
    pub(super) fn forget(&mut self, device: DeviceId) -> Vec<Probe> {
        let flows = (0..DEVICE_FLOWS_MAX).filter_map(|number| Some((number, self.0.remove(&(device, number))?)));
        let lost = flows.filter(|(_, flow)| !flow.is_reported).map(|(number, flow)| Probe {
            device,
            class: flow.class,
            silence: flow.order.cell(number.into()).silence(),
            outcome: ProbeOutcome::Lost,
            controls: 0,
            is_port_kept: None,
        });
        lost.collect()
    }

    /// Forgets those that nobody will ask for again.
    pub(super) fn sweep(&mut self, now: Stamp) {
        self.0.retain(|(_, number), flow| {
            let silence = flow.order.cell((*number).into()).silence();
            now.since(flow.silent_since) <= silence + SETTLE + LINGER
        });
    }

    fn flow(&mut self, device: DeviceId, report: &ProbeReport) -> Result<&mut Flow, Count> {
        let flow = self.0.get_mut(&(device, report.flow)).ok_or(Count::UnknownTest)?;
        if flow.order == report.order { Ok(flow) } else { Err(Count::UnknownTest) }
    }
}
