//! The server as devices meet it: what it knows of each one, what it answers, and what it tells the governor. It knows
//! what datagrams show, and nothing of NATs.

use std::sync::Arc;
use std::time::Duration;

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::jitter::Pace;
use flyball_sdk::device::probe::ProbeOrder;

use crate::keepalive::cohort::CohortIndex;
use crate::keepalive::observation::{BindingClass, Observation, ObservationKind, Silence};
use crate::keepalive::order::{DeviceCommand, DeviceOrder, Orders};
use crate::time::MonoTime;

/// From a heartbeat to its second ack.
pub(super) const SECOND_ACK: Duration = Duration::from_millis(2_100);
/// Not heard of for this much longer than its pace, a device is absent: all fast retries and three slow ones.
const ABSENT_AFTER: Duration = Duration::from_secs(105);
/// Missing datagrams in one silence that are a loss of the way; more are an outage.
const LOSS_RUN_MAX: u32 = 4;

/// What the server knows of one device.
#[derive(Debug, Clone)]
pub(super) struct Session {
    device: DeviceId,
    cohort: CohortIndex,
    boot: u32,
    sequence: u32,
    last_from: MonoTime,
    last_either: MonoTime,
    /// The public port that the device was heard from last.
    pub(super) port: u32,
    /// The first packet that is known to be of the binding.
    binding_since: MonoTime,
    is_stream: bool,
    is_known: bool,
    is_present: bool,
    own: Option<Pace>,
    probe: Option<(ProbeOrder, BindingClass)>,
}

/// A datagram from a main flow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrived {
    pub(super) at: MonoTime,
    pub(super) port: u32,
    pub(super) boot: u32,
    pub(super) sequence: u32,
    pub(super) is_retry: bool,
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ack {
    pub(super) pace: Pace,
    pub(super) probe: Option<(ProbeOrder, BindingClass)>,
    pub(super) is_second_due: bool,
}

/// The server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) orders: Arc<Orders>,
    pub(super) sessions: Vec<Session>,
    pub(super) observations: Vec<Observation>,
    /// Sent and unanswered, by cohort.
    losses: Vec<(u32, u32)>,
    can_probe: Vec<bool>,
}

impl Server {
    pub(super) fn new(sessions: Vec<Session>, cohorts: usize) -> Self {
        let losses = vec![(0, 0); cohorts];
        Self { orders: Arc::default(), sessions, observations: Vec::new(), losses, can_probe: Vec::new() }
    }

    /// Told before anything comes, by device.
    pub(super) fn hears_who_probes(&mut self, can_probe: Vec<bool>) {
        self.can_probe = can_probe;
    }

    /// A datagram on the main flow; what it teaches goes to the governor.
    pub(super) fn hear(&mut self, index: u32, arrived: &Arrived) -> bool {
        let session = &mut self.sessions[index as usize];
        let now = arrived.at;
        let (was_present, was_known) = (session.is_present, session.is_known);
        if !session.is_present {
            session.is_present = true;
            let kind = ObservationKind::Present { device: session.device, can_probe: self.can_probe[index as usize] };
            self.observations.push(Observation { at: now, cohort: session.cohort, kind });
        }
        let Some(order) = self.orders.cohort(session.cohort) else { return false };
        let silence = now.since(session.last_either);
        let has_moved = was_known && arrived.port != session.port;
        let is_same_boot = was_known && arrived.boot == session.boot;
        let missing = if is_same_boot { arrived.sequence - session.sequence - 1 } else { 0 };
        if was_known && was_present && silence >= order.tell_silences_from {
            let told = Silence {
                device: session.device,
                class: if session.is_stream { BindingClass::Stream } else { BindingClass::Unreplied },
                silence,
                gap: now.since(session.last_from),
                has_moved,
                is_same_address: true,
                is_doubtful: !is_same_boot || missing > 0,
            };
            self.observations.push(Observation {
                at: now,
                cohort: session.cohort,
                kind: ObservationKind::Silence(told),
            });
        }
        if is_same_boot && missing < LOSS_RUN_MAX {
            let was_unanswered = arrived.is_retry && missing == 0;
            let loss = &mut self.losses[session.cohort.0 as usize];
            loss.0 += missing + 1;
            loss.1 += missing + u32::from(was_unanswered);
        }
        let is_second_due = order.second_ack_after.is_some_and(|after| silence > after || !was_known || has_moved);
        let is_maybe_fresh = !is_same_boot || has_moved || order.second_ack_after.is_none_or(|after| silence > after);
        session.took(arrived, is_maybe_fresh);
        is_second_due
    }

    /// Answers the datagram just heard.
    pub(super) fn ack(&mut self, index: u32, is_second_due: bool) -> Option<Ack> {
        let session = &mut self.sessions[index as usize];
        let order = self.orders.cohort(session.cohort)?;
        Some(Ack { pace: session.own.unwrap_or(order.pace), probe: session.probe.take(), is_second_due })
    }

    /// Sends unasked, or again, where the device was heard from last.
    pub(super) fn sends(&mut self, index: u32, now: MonoTime) {
        let session = &mut self.sessions[index as usize];
        session.last_either = now;
        session.is_stream |= now.since(session.binding_since) > Duration::from_secs(2);
    }

    /// A datagram from a side flow.
    pub(super) fn hear_side(&mut self, index: u32, sequence: u32) {
        let session = &mut self.sessions[index as usize];
        session.sequence = session.sequence.max(sequence);
    }

    pub(super) fn tell(&mut self, index: u32, at: MonoTime, kind: ObservationKind) {
        let cohort = self.sessions[index as usize].cohort;
        self.observations.push(Observation { at, cohort, kind });
    }

    pub(super) fn obey(&mut self, index: u32, command: &DeviceCommand) {
        let session = &mut self.sessions[index as usize];
        match command.order {
            DeviceOrder::Own(pace) => session.own = Some(pace),
            DeviceOrder::Cohort => session.own = None,
            DeviceOrder::Probe { order, class } => session.probe = Some((order, class)),
        }
    }

    /// Tells who has not been heard of for too long, and what the way loses.
    pub(super) fn sweep(&mut self, now: MonoTime) {
        for session in self.sessions.iter_mut().filter(|session| session.is_present) {
            let Some(order) = self.orders.cohort(session.cohort) else { continue };
            let pace = session.own.unwrap_or(order.pace);
            if now.since(session.last_from) > pace.longest() + ABSENT_AFTER {
                session.is_present = false;
                let kind = ObservationKind::Absent { device: session.device };
                self.observations.push(Observation { at: now, cohort: session.cohort, kind });
            }
        }
        for (index, (sent, unanswered)) in self.losses.iter_mut().enumerate().filter(|(_, loss)| loss.0 > 0) {
            let kind = ObservationKind::Loss { sent: *sent, unanswered: *unanswered };
            self.observations.push(Observation { at: now, cohort: CohortIndex(index as u32), kind });
            (*sent, *unanswered) = (0, 0);
        }
    }

    /// What it had stored is all that it knows.
    pub(super) fn restarts(&mut self) {
        for session in &mut self.sessions {
            (session.is_present, session.probe, session.own) = (false, None, None);
        }
    }
}

impl Session {
    pub(super) fn new(device: DeviceId, cohort: CohortIndex) -> Self {
        Self {
            device,
            cohort,
            boot: 0,
            sequence: 0,
            last_from: MonoTime::default(),
            last_either: MonoTime::default(),
            port: 0,
            binding_since: MonoTime::default(),
            is_stream: false,
            is_known: false,
            is_present: false,
            own: None,
            probe: None,
        }
    }

    fn took(&mut self, arrived: &Arrived, is_maybe_fresh: bool) {
        if is_maybe_fresh {
            (self.binding_since, self.is_stream) = (arrived.at, false);
        } else {
            self.is_stream |= arrived.at.since(self.binding_since) > Duration::from_secs(2);
        }
        (self.boot, self.sequence, self.port) = (arrived.boot, arrived.sequence, arrived.port);
        (self.last_from, self.last_either, self.is_known) = (arrived.at, arrived.at, true);
    }
}
