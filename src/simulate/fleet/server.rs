//! The server as devices meet it: what it knows of each one, what it answers, and what it tells the governor. It knows
//! what datagrams show, and nothing of NATs.

use std::sync::Arc;
use std::time::Duration;

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::jitter::Pace;
use flyball_sdk::device::machine::Flow;
use flyball_sdk::device::probe::{FLOWS_MAX, ProbeOrder, ProbePhase, ProbeReport};
use flyball_sdk::device::wire::{Ack, Request, kind, sent, told};

use crate::keepalive::cohort::CohortIndex;
use crate::keepalive::observation::{Beat, BindingClass, Observation, ObservationKind, Probe, Silence};
use crate::keepalive::order::{CohortOrder, DeviceCommand, DeviceOrder, Orders};
use crate::time::MonoTime;

/// From a heartbeat to its second ack.
pub(super) const SECOND_ACK: Duration = Duration::from_millis(2_100);
/// A binding older than this was made a stream by any packet after a reply.
const STREAM_AFTER: Duration = Duration::from_secs(2);
/// Not heard of for this much longer than its pace, a device is absent: all fast retries and three slow ones.
const ABSENT_AFTER: Duration = Duration::from_secs(105);
/// Missing datagrams in one silence that are a loss of the way; more are an outage.
const LOSS_RUN_MAX: u32 = 4;
/// Part of the wait after which a device is sent its order, where its beats are told.
const SOUND_AT: f64 = 0.97;
/// A beat that is late by more than three retries has not come.
const LATE: Duration = Duration::from_secs(10);
/// Devices are looked at for absence in so many parts, one a tick.
const SWEEPS: usize = 16;

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
    /// Whether the device has answered there.
    is_port_proven: bool,
    /// The first packet that is known to be of the binding.
    binding_since: MonoTime,
    is_stream: bool,
    is_known: bool,
    is_present: bool,
    /// The cohort of the address that it will be heard from.
    moves_to: Option<CohortIndex>,
    own: Option<Pace>,
    /// Orders are told with this generation at least.
    floor: u64,
    /// It was sent its order since it beat last.
    is_sounded: bool,
    /// Not heard of since the server began.
    is_unheard: bool,
    probe: Option<(ProbeOrder, BindingClass)>,
    sides: [Side; FLOWS_MAX as usize],
}

/// What the server knows of one side flow.
#[derive(Debug, Clone, Copy, Default)]
struct Side {
    order: u16,
    port: u32,
    is_told: bool,
}

/// A datagram.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrived<'a> {
    pub(super) at: MonoTime,
    /// The public port that it came from.
    pub(super) port: u32,
    pub(super) request: &'a Request,
}

/// What is answered, and over which flow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    pub(super) flow: Flow,
    pub(super) ack: Ack,
    pub(super) is_second_due: bool,
    /// When the device is to be sent its order again, so that its next beat shows whether that passed.
    pub(super) sound_at: Option<MonoTime>,
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
    swept: usize,
}

impl Server {
    pub(super) fn new(sessions: Vec<Session>, cohorts: usize) -> Self {
        let (orders, losses) = (Arc::default(), vec![(0, 0); cohorts]);
        Self { orders, sessions, observations: Vec::new(), losses, can_probe: Vec::new(), swept: 0 }
    }

    /// Told before anything comes, by device.
    pub(super) fn hears_who_probes(&mut self, can_probe: Vec<bool>) {
        self.can_probe = can_probe;
    }

    /// A heartbeat, or what a device says to an ack at a new address.
    pub(super) fn beaten(&mut self, index: u32, arrived: &Arrived<'_>) -> [Option<Answered>; 2] {
        let is_second_due = self.hears(index, arrived);
        let session = &mut self.sessions[index as usize];
        let is_beat = arrived.request.kind == kind::HEARTBEAT;
        session.is_port_proven |= !is_beat;
        let Some(order) = self.orders.cohort(session.cohort) else { return [None; 2] };
        let sound_at = order.tell_beats.map(|_| {
            let wait = session.pace(order).wait(session.device, arrived.request.sequence);
            arrived.at.plus(wait.mul_f64(SOUND_AT))
        });
        let mut ack = session.ack(order, arrived.request.sequence);
        if !is_beat {
            // That it is understood is said, or the device would beat once more for it.
            session.last_either = arrived.at;
            return [Some(Answered { flow: Flow::MAIN, ack, is_second_due, sound_at }), None];
        }
        if let Some((probe, class)) = session.probe.take() {
            ack.flags |= told::PROBE | if class == BindingClass::Unreplied { told::UNREPLIED } else { 0 };
            ack.probe = probe.to_bits();
        }
        session.last_either = arrived.at;
        [Some(Answered { flow: Flow::MAIN, ack, is_second_due, sound_at }), None]
    }

    /// A datagram about a probe.
    pub(super) fn probed(&mut self, index: u32, arrived: &Arrived<'_>) -> [Option<Answered>; 2] {
        let Some(report) = ProbeReport::from_bytes(arrived.request.report) else { return [None; 2] };
        let Some(flow) = Flow::numbered(usize::from(report.flow) + 1) else { return [None; 2] };
        if report.phase == ProbePhase::Test {
            self.hears(index, arrived);
        } else {
            self.hears_side(index, arrived, &report);
        }
        let session = &mut self.sessions[index as usize];
        let Some(order) = self.orders.cohort(session.cohort) else { return [None; 2] };
        let ack = session.ack(order, arrived.request.sequence);
        let probe = ProbeOrder { flows: report.flow + 1, ..report.order }.to_bits();
        let answer = |flow, flags| Answered {
            flow,
            ack: Ack { kind: kind::ANSWER, flags, probe, ..ack },
            is_second_due: false,
            sound_at: None,
        };
        match report.phase {
            ProbePhase::Test => {
                session.last_either = arrived.at;
                let is_heard = session.sides[usize::from(report.flow)].order == report.order.to_bits();
                [is_heard.then(|| answer(flow, 0)), Some(answer(Flow::MAIN, told::CONTROL))]
            }
            ProbePhase::Open if arrived.request.flags & sent::UNREPLIED != 0 => [None; 2],
            _ => [Some(answer(flow, 0)), None],
        }
    }

    /// The second ack to the heartbeat from this port, unless the device has moved since.
    pub(super) fn second_ack(&mut self, index: u32, now: MonoTime, port: u32) -> Option<Ack> {
        let session = &mut self.sessions[index as usize];
        if session.port != port {
            return None;
        }
        session.last_either = now;
        session.is_stream |= now.since(session.binding_since) > STREAM_AFTER;
        let order = self.orders.cohort(session.cohort)?;
        let ack = session.ack(order, session.sequence);
        Some(Ack { flags: ack.flags | told::SECOND, ..ack })
    }

    /// The order that a device has, under the next generation, unless it has beaten since; its port.
    pub(super) fn sound(&mut self, index: u32, sequence: u32) -> Option<(u32, Ack)> {
        let session = &mut self.sessions[index as usize];
        let order = self.orders.cohort(session.cohort).filter(|order| order.tell_beats.is_some())?;
        if session.sequence != sequence || !session.is_present {
            return None;
        }
        session.floor = session.pace(order).generation + 1;
        session.is_sounded = true;
        Some((session.port, session.ack(order, sequence)))
    }

    /// The order that a device has, unasked; its port.
    pub(super) fn pushed(&self, index: u32) -> Option<(u32, Ack)> {
        let session = &self.sessions[index as usize];
        let order = self.orders.cohort(session.cohort)?;
        session.is_known.then(|| (session.port, session.ack(order, session.sequence)))
    }

    /// A datagram on the main flow: what it teaches goes to the governor. Whether a second ack is due.
    fn hears(&mut self, index: u32, arrived: &Arrived<'_>) -> bool {
        self.join(index);
        let session = &mut self.sessions[index as usize];
        let (now, request) = (arrived.at, arrived.request);
        let (was_present, was_known) = (session.is_present, session.is_known);
        if !was_present {
            session.is_present = true;
            let (device, can_probe) = (session.device, self.can_probe[index as usize]);
            let kind = ObservationKind::Present { device, can_probe, has_own: session.own.is_some() };
            self.observations.push(Observation { at: now, cohort: session.cohort, kind });
        }
        let Some(order) = self.orders.cohort(session.cohort) else { return false };
        let silence = now.since(session.last_either);
        let has_moved = was_known && arrived.port != session.port;
        let is_same_boot = was_known && request.boot == session.boot;
        let is_sounded = request.kind == kind::HEARTBEAT && std::mem::take(&mut session.is_sounded);
        let missing = if is_same_boot { request.sequence.saturating_sub(session.sequence + 1) } else { 0 };
        if order.tell_beats.is_some() && request.kind == kind::HEARTBEAT && is_same_boot && !session.is_unheard {
            let beat = session.judged(order, arrived, (missing, has_moved, is_sounded));
            let kind = ObservationKind::Beat(beat);
            self.observations.push(Observation { at: now, cohort: session.cohort, kind });
        }
        if was_known && was_present && !is_sounded && silence >= order.tell_silences_from {
            let told = Silence {
                device: session.device,
                class: if session.is_stream { BindingClass::Stream } else { BindingClass::Unreplied },
                silence,
                gap: now.since(session.last_from),
                has_moved,
                is_same_address: true,
                is_doubtful: !is_same_boot || missing > 0,
            };
            let kind = ObservationKind::Silence(told);
            self.observations.push(Observation { at: now, cohort: session.cohort, kind });
        }
        if is_same_boot && request.kind == kind::HEARTBEAT && missing < LOSS_RUN_MAX {
            let was_unanswered = request.flags & sent::RETRY != 0 && missing == 0;
            let loss = &mut self.losses[session.cohort.0 as usize];
            loss.0 += missing + 1;
            loss.1 += missing + u32::from(was_unanswered);
        }
        let is_long = order.second_ack_after.is_some_and(|after| silence > after);
        let is_new = !is_same_boot || has_moved;
        session.takes(arrived, is_new || is_long || order.second_ack_after.is_none(), has_moved);
        order.second_ack_after.is_some() && (is_long || is_new)
    }

    /// Puts a device into the cohort that it comes to, if it comes to one. What it was ordered by itself, and what it was
    /// testing, was of the NAT before; and what it is told is newer than what it follows.
    fn join(&mut self, index: u32) {
        let session = &mut self.sessions[index as usize];
        let Some(cohort) = session.moves_to.take() else { return };
        let told = self.orders.cohort(session.cohort).map_or(0, |order| session.pace(order).generation);
        (session.cohort, session.is_present) = (cohort, false);
        (session.own, session.probe, session.floor) = (None, None, told + 1);
        session.sides = [Side::default(); FLOWS_MAX as usize];
    }

    fn hears_side(&mut self, index: u32, arrived: &Arrived<'_>, report: &ProbeReport) {
        let session = &mut self.sessions[index as usize];
        if arrived.request.boot == session.boot {
            session.sequence = session.sequence.max(arrived.request.sequence);
        }
        let side = &mut session.sides[usize::from(report.flow)];
        if report.phase != ProbePhase::Report {
            *side = Side { order: report.order.to_bits(), port: arrived.port, is_told: false };
            return;
        }
        if side.is_told || side.order != report.order.to_bits() {
            return;
        }
        side.is_told = true;
        let is_unreplied = arrived.request.flags & sent::UNREPLIED != 0;
        let kind = ObservationKind::Probe(Probe {
            device: session.device,
            class: if is_unreplied { BindingClass::Unreplied } else { BindingClass::Stream },
            silence: report.order.cell(u16::from(report.flow)).silence(),
            outcome: report.outcome,
            controls: report.controls,
            is_port_kept: Some(side.port == arrived.port),
        });
        self.observations.push(Observation { at: arrived.at, cohort: session.cohort, kind });
    }

    pub(super) fn obey(&mut self, index: u32, command: &DeviceCommand) {
        if self.sessions[index as usize].moves_to == Some(command.cohort) {
            // Only who knows of NATs what no server does orders this before the device was heard from there.
            self.join(index);
        }
        let session = &mut self.sessions[index as usize];
        if session.cohort != command.cohort {
            return;
        }
        let cohort = self.orders.cohort(session.cohort).map_or(0, |order| order.pace.generation);
        match command.order {
            DeviceOrder::Own(pace) => session.own = Some(pace),
            // A device follows no order that is older than its own.
            DeviceOrder::Cohort => {
                if let Some(own) = session.own.take().filter(|own| command.is_urgent && own.generation >= cohort) {
                    session.floor = own.generation + 1;
                }
            }
            DeviceOrder::Probe { order, class } => session.probe = Some((order, class)),
        }
    }

    /// Tells who has not been heard of for too long, and what the way loses.
    pub(super) fn sweep(&mut self, now: MonoTime) {
        self.swept = (self.swept + 1) % SWEEPS;
        let part = self.sessions.iter_mut().skip(self.swept).step_by(SWEEPS);
        for session in part.filter(|session| session.is_known && !session.is_unheard) {
            let Some(order) = self.orders.cohort(session.cohort) else { continue };
            if let Some(beat) = session.missed(order, now) {
                let kind = ObservationKind::Beat(beat);
                self.observations.push(Observation { at: now, cohort: session.cohort, kind });
            }
            if !session.is_present {
                continue;
            }
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

    /// Of its devices it knows what it had stored: who they are.
    pub(super) fn restarts(&mut self) {
        for session in &mut self.sessions {
            (session.is_present, session.probe, session.own) = (false, None, None);
            // How long it was silent is not known.
            (session.is_unheard, session.is_sounded) = (true, false);
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
            is_port_proven: true,
            binding_since: MonoTime::default(),
            is_stream: false,
            is_known: false,
            is_present: false,
            moves_to: None,
            own: None,
            floor: 0,
            is_sounded: false,
            is_unheard: true,
            probe: None,
            sides: [Side::default(); FLOWS_MAX as usize],
        }
    }

    /// The next that is heard of it comes from another carrier's address: it is asked for its labels, and is of the cohort
    /// that they make.
    pub(super) fn moves(&mut self, cohort: CohortIndex) {
        self.moves_to = Some(cohort);
    }

    fn ack(&self, order: &CohortOrder, sequence: u32) -> Ack {
        let flags = if self.is_port_proven { 0 } else { told::NEW_ADDRESS };
        let pace = self.pace(order);
        // The wire counts in 100 ms, rounded down.
        let interval = Duration::from_millis(pace.interval.as_millis() as u64 / 100 * 100);
        Ack { kind: kind::ACK, flags, sequence, pace: Pace { interval, ..pace }, probe: 0 }
    }

    fn pace(&self, order: &CohortOrder) -> Pace {
        let pace = self.own.unwrap_or(order.pace);
        Pace { generation: pace.generation.max(self.floor), ..pace }
    }

    /// What a beat shows of a rollout.
    fn judged(
        &self,
        order: &CohortOrder,
        arrived: &Arrived<'_>,
        (missing, has_moved, is_sounded): (u32, bool, bool),
    ) -> Beat {
        let request = arrived.request;
        let has_adopted = request.generation >= self.own.unwrap_or(order.pace).generation;
        let gap = arrived.at.since(self.last_from).as_secs_f64() / self.pace(order).longest().as_secs_f64();
        Beat {
            device: self.device,
            is_confirmed: missing == 0 && request.flags & sent::RETRY == 0 && !has_moved,
            gap_ratio: Some(gap as f32),
            is_reached: (is_sounded && has_adopted).then_some(request.generation >= self.floor),
            has_adopted,
        }
    }

    /// A silence that is longer than any wait of a rollout, told for as long as a round takes.
    fn missed(&self, order: &CohortOrder, now: MonoTime) -> Option<Beat> {
        let round = order.tell_beats?;
        let (silence, late) = (now.since(self.last_from), round + LATE);
        let beat =
            Beat { device: self.device, is_confirmed: false, gap_ratio: None, is_reached: None, has_adopted: false };
        (late..late + round).contains(&silence).then_some(beat)
    }

    fn takes(&mut self, arrived: &Arrived<'_>, is_maybe_fresh: bool, has_moved: bool) {
        if is_maybe_fresh {
            (self.binding_since, self.is_stream) = (arrived.at, false);
        } else {
            self.is_stream |= arrived.at.since(self.binding_since) > STREAM_AFTER;
        }
        self.is_port_proven &= !has_moved;
        (self.boot, self.sequence, self.port) = (arrived.request.boot, arrived.request.sequence, arrived.port);
        (self.last_from, self.last_either, self.is_known, self.is_unheard) = (arrived.at, arrived.at, true, false);
    }
}
