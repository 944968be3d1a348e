//! The plant and its clock: things happen at their times; between two ticks devices know nothing of each other. The way
//! between a device and the server takes no time, and what is lost is lost between the device and its NAT.

use std::sync::Arc;

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::probe::{FLOWS_MAX, ProbeOrder};
use rand::RngExt;

use super::agenda::{Agenda, Due, What};
use super::device::Device;
use super::draw::{self, Drawn};
use super::flow::{AGAIN, Flow, OPEN_TRIES, REPORT_TRIES, Stage};
use super::law::{Law, Truth};
use super::ledger::{Account, Standing};
use super::recorder::Recorder;
use super::scenario::{FleetFault, FleetFaultKind, FleetLaw, FleetScenario, LossModel, Nat};
use super::server::{Arrived, SECOND_ACK, Server, Session};
use super::trace::FleetRun;
use crate::keepalive::cohort::{CohortEntry, CohortIndex, CohortKey, Labels, Transport, UNKNOWN};
use crate::keepalive::observation::{BindingClass, ObservationKind};
use crate::keepalive::policy::{Fleet, Fleets};
use crate::time::{MonoTime, Tick, WallTime};

/// Wall time at the start of every run.
const START_MS: i64 = 1_800_000_000_000;
/// Side flows that a device keeps at a time.
const FLOWS: u8 = FLOWS_MAX;

/// Runs one scenario under one law with one seed.
pub fn run(scenario: &FleetScenario, law: FleetLaw, seed: u64) -> FleetRun {
    let mut plant = Plant::new(scenario, law, seed);
    let mut now = MonoTime::default();
    while now.since(MonoTime::default()) < scenario.duration {
        now = now.plus(scenario.tick);
        while let Some(due) = plant.agenda.next(now) {
            plant.happens(due);
        }
        plant.faults(now);
        plant.tick(now);
        plant.record(now);
    }
    plant.settle_all(now);
    plant.recorder.close(scenario)
}

struct Plant<'a> {
    scenario: &'a FleetScenario,
    policy: Arc<Fleet>,
    agenda: Agenda,
    devices: Vec<Device>,
    accounts: Vec<Account>,
    nats: Vec<Nat>,
    known: Vec<(DeviceId, CohortIndex, u32)>,
    flows: Vec<Flow>,
    flows_free: Vec<u32>,
    cohorts: Vec<CohortEntry>,
    server: Server,
    is_server_down_until: MonoTime,
    law: Law,
    loss: LossModel,
    faults: Vec<FleetFault>,
    are_nats_changed: bool,
    recorder: Recorder,
}

impl<'a> Plant<'a> {
    fn new(scenario: &'a FleetScenario, law: FleetLaw, seed: u64) -> Self {
        let policy = Arc::new(scenario.policy.clone());
        let fleet = draw::draw(&scenario.carriers, seed);
        let cohorts = cohorts(&fleet, &policy);
        let devices: Vec<Device> =
            fleet.devices.iter().zip(0..).map(|((carrier, nat), i)| Device::new(i, *carrier, *nat, seed)).collect();
        let known: Vec<_> =
            devices.iter().map(|device| (device.id, CohortIndex(device.carrier + 1), device.nat)).collect();
        let sessions = known.iter().map(|(id, cohort, _)| Session::new(*id, *cohort)).collect();
        let mut plant = Self {
            law: Law::new(law, &policy, &cohorts),
            recorder: Recorder::new(scenario, &fleet),
            agenda: Agenda::new(),
            accounts: vec![Account::default(); devices.len()],
            server: Server::new(sessions, cohorts.len()),
            flows: Vec::new(),
            flows_free: Vec::new(),
            is_server_down_until: MonoTime::default(),
            loss: scenario.loss,
            faults: faults(scenario, &fleet, seed),
            are_nats_changed: true,
            nats: fleet.nats,
            scenario,
            policy,
            devices,
            known,
            cohorts,
        };
        plant.start(&fleet.carriers);
        plant.tick(MonoTime::default());
        plant
    }

    fn start(&mut self, carriers: &[draw::Carrier]) {
        let mut can_probe = Vec::new();
        for (index, device) in (0..).zip(&mut self.devices) {
            can_probe.push(device.fate.random::<f64>() >= self.scenario.deaf);
            let after = self.scenario.start_within.mul_f64(device.fate.random::<f64>());
            let at = MonoTime::default().plus(carriers[device.carrier as usize].joins_at + after);
            self.agenda.add(Due { at, device: index, what: What::PowerComes });
        }
        self.server.hears_who_probes(can_probe);
    }

    fn happens(&mut self, due: Due) {
        let Due { at, device, what } = due;
        match what {
            What::Beat => self.beats(device, at),
            What::SecondAck { port } => self.second_ack(device, at, port),
            What::Flow { slot } => self.flow_goes_on(slot, at),
            What::HoleBegins => self.hole(device, at, true),
            What::HoleEnds => self.hole(device, at, false),
            What::PowerGoes => self.power_goes(device, at),
            What::PowerComes => self.power_comes(device, at),
        }
    }

    /// Everything up to `now` is accounted for as it was until then.
    fn settle(&mut self, index: u32, now: MonoTime) {
        let device = &self.devices[index as usize];
        let session = &self.server.sessions[index as usize];
        let is_known_there = session.port == device.main.port;
        let standing = Standing {
            is_present: device.is_on && !device.is_in_hole,
            good_until: if is_known_there { device.main.expires } else { MonoTime::default() },
            is_exploring: self.recorder.is_exploring(device),
        };
        self.accounts[index as usize].settle(now, standing, self.recorder.sums(device.carrier));
    }

    fn beats(&mut self, index: u32, now: MonoTime) {
        let device = &mut self.devices[index as usize];
        if !device.is_on || device.beat_at != now {
            return; // Out of date.
        }
        device.tries += 1;
        let is_retry = device.tries > 1;
        let told = self.exchange(index, now, is_retry);
        let device = &mut self.devices[index as usize];
        if told.is_some() {
            device.tries = 0;
            device.beat_at = now.plus(device.pace.wait(device.id, device.sequence));
        } else {
            device.beat_at = now.plus(device.pace.retry_wait(device.tries));
        }
        self.agenda.add(Due { at: device.beat_at, device: index, what: What::Beat });
    }

    /// A heartbeat and its ack; `Some` where the ack came.
    fn exchange(&mut self, index: u32, now: MonoTime, is_retry: bool) -> Option<()> {
        let is_second_due = self.uplink(index, now, is_retry, false)?;
        let ack = self.server.ack(index, is_second_due)?;
        let device = &mut self.devices[index as usize];
        let nat = &self.nats[device.nat as usize];
        let has_passed = device.main.inbound(now, nat);
        self.server.sends(index, now);
        if ack.is_second_due {
            let what = What::SecondAck { port: device.main.port };
            self.agenda.add(Due { at: now.plus(SECOND_ACK), device: index, what });
        }
        if !has_passed || !device.receives(self.loss) {
            return None;
        }
        device.told(ack.pace);
        self.recorder.told(now, index, device, &self.nats);
        if let Some((order, class)) = ack.probe {
            self.opens(index, now, order, class);
        }
        Some(())
    }

    /// A datagram on the main flow; `Some` where the server heard it, and whether a second ack is due.
    fn uplink(&mut self, index: u32, now: MonoTime, is_retry: bool, is_probe: bool) -> Option<bool> {
        self.settle(index, now);
        let device = &mut self.devices[index as usize];
        self.recorder.sent(device.carrier, is_probe);
        if !device.sends(self.loss) {
            return None;
        }
        device.main.outbound(now, &self.nats[device.nat as usize]);
        if now < self.is_server_down_until {
            return None;
        }
        let (port, boot, sequence) = (device.main.port, device.boot, device.sequence);
        Some(self.server.hear(index, &Arrived { at: now, port, boot, sequence, is_retry }))
    }

    fn second_ack(&mut self, index: u32, now: MonoTime, port: u32) {
        if self.server.sessions[index as usize].port != port || now < self.is_server_down_until {
            return;
        }
        self.settle(index, now);
        self.server.sends(index, now);
        let device = &mut self.devices[index as usize];
        self.recorder.sums(device.carrier).second_acks += 1;
        if device.main.port == port {
            let nat = &self.nats[device.nat as usize];
            let has_passed = device.main.inbound(now, nat);
            let _is_seen = has_passed && device.receives(self.loss);
        }
    }

    fn opens(&mut self, index: u32, now: MonoTime, order: ProbeOrder, class: BindingClass) {
        for number in 0..u16::from(order.flows) {
            let device = &mut self.devices[index as usize];
            if device.flows >= FLOWS {
                return;
            }
            device.flows += 1;
            let flow = Flow::new(index, device.boot, order, number, class);
            let slot = match self.flows_free.pop() {
                Some(slot) => {
                    self.flows[slot as usize] = flow;
                    slot
                }
                None => {
                    self.flows.push(flow);
                    self.flows.len() as u32 - 1
                }
            };
            self.agenda.add(Due { at: now, device: index, what: What::Flow { slot } });
        }
    }

    fn flow_goes_on(&mut self, slot: u32, now: MonoTime) {
        let mut flow = self.flows[slot as usize];
        let is_there = self.devices[flow.device as usize].boot == flow.boot;
        let next = if !is_there {
            None
        } else {
            match flow.stage {
                Stage::Open | Stage::Settle => self.flow_opens(&mut flow, now),
                Stage::Test => Some(self.flow_tests(&mut flow, now)),
                Stage::Report => self.flow_reports(&mut flow, now),
            }
        };
        self.flows[slot as usize] = flow;
        match next {
            Some(at) => self.agenda.add(Due { at, device: flow.device, what: What::Flow { slot } }),
            None => {
                self.flows_free.push(slot);
                if is_there {
                    self.devices[flow.device as usize].flows -= 1;
                }
            }
        }
    }

    fn flow_opens(&mut self, flow: &mut Flow, now: MonoTime) -> Option<MonoTime> {
        flow.tries += 1;
        let is_answered = self.side_exchange(flow, now);
        if is_answered || flow.class == BindingClass::Unreplied {
            return Some(flow.went_on(now));
        }
        (flow.tries < OPEN_TRIES).then(|| now.plus(AGAIN))
    }

    fn flow_tests(&mut self, flow: &mut Flow, now: MonoTime) -> MonoTime {
        let is_heard = self.uplink(flow.device, now, false, true).is_some();
        let (mut is_controlled, mut has_passed) = (false, false);
        if is_heard {
            self.server.sends(flow.device, now);
            let device = &mut self.devices[flow.device as usize];
            let nat = &self.nats[device.nat as usize];
            is_controlled = device.main.inbound(now, nat) && device.receives(self.loss);
            has_passed = flow.is_heard && flow.binding.inbound(now, nat) && device.receives(self.loss);
        }
        flow.tried(now, is_controlled, has_passed)
    }

    fn flow_reports(&mut self, flow: &mut Flow, now: MonoTime) -> Option<MonoTime> {
        flow.tries += 1;
        if flow.tries == 1 || !flow.is_reported {
            flow.is_reported = self.side_uplink(flow, now);
            if flow.is_reported {
                let device = &self.devices[flow.device as usize];
                self.recorder.sums(device.carrier).tests += 1;
                self.server.tell(flow.device, now, ObservationKind::Probe(flow.result(device.id)));
            }
        } else {
            self.side_uplink(flow, now);
        }
        let device = &mut self.devices[flow.device as usize];
        let is_answered = flow.is_reported
            && flow.binding.inbound(now, &self.nats[device.nat as usize])
            && device.receives(self.loss);
        (!is_answered && flow.tries < REPORT_TRIES).then(|| now.plus(AGAIN))
    }

    /// A datagram from a side flow, answered there.
    fn side_exchange(&mut self, flow: &mut Flow, now: MonoTime) -> bool {
        if !self.side_uplink(flow, now) || flow.class == BindingClass::Unreplied {
            return false;
        }
        let device = &mut self.devices[flow.device as usize];
        flow.binding.inbound(now, &self.nats[device.nat as usize]) && device.receives(self.loss)
    }

    fn side_uplink(&mut self, flow: &mut Flow, now: MonoTime) -> bool {
        let device = &mut self.devices[flow.device as usize];
        self.recorder.sent(device.carrier, true);
        if !device.sends(self.loss) {
            return false;
        }
        flow.binding.outbound(now, &self.nats[device.nat as usize]);
        if now < self.is_server_down_until {
            return false;
        }
        flow.is_heard = true;
        self.server.hear_side(flow.device, device.sequence);
        true
    }

    fn hole(&mut self, index: u32, now: MonoTime, begins: bool) {
        self.settle(index, now);
        self.devices[index as usize].is_in_hole = begins;
        if !begins {
            self.plan_hole(index, now);
        }
    }

    fn plan_hole(&mut self, index: u32, now: MonoTime) {
        let Some(holes) = &self.scenario.holes else { return };
        let (gap, lasts) = self.devices[index as usize].next_absence(holes);
        let at = now.plus(gap);
        self.agenda.add(Due { at, device: index, what: What::HoleBegins });
        self.agenda.add(Due { at: at.plus(lasts), device: index, what: What::HoleEnds });
    }

    fn power_goes(&mut self, index: u32, now: MonoTime) {
        self.settle(index, now);
        self.devices[index as usize].is_on = false;
    }

    fn power_comes(&mut self, index: u32, now: MonoTime) {
        self.settle(index, now);
        let device = &mut self.devices[index as usize];
        let is_first = device.boot == 0;
        device.boots();
        device.beat_at = now;
        self.agenda.add(Due { at: now, device: index, what: What::Beat });
        if is_first {
            self.plan_hole(index, now);
        }
        let Some(absences) = &self.scenario.power_off else { return };
        let (gap, lasts) = self.devices[index as usize].next_absence(absences);
        let at = now.plus(gap);
        self.agenda.add(Due { at, device: index, what: What::PowerGoes });
        self.agenda.add(Due { at: at.plus(lasts), device: index, what: What::PowerComes });
    }

    fn faults(&mut self, now: MonoTime) {
        while let Some(fault) = self.faults.pop_if(|fault| fault.at <= now.since(MonoTime::default())) {
            let is_hit = |name: &str| fault.carrier.as_ref().is_none_or(|carrier| **carrier == *name);
            let hit: Vec<u32> =
                (0..).zip(&self.cohorts[1..]).filter(|(_, c)| is_hit(carrier_name(c))).map(|(i, _)| i).collect();
            match fault.kind {
                FleetFaultKind::TimeoutTimes(factor) => self.timeouts(&hit, factor, now),
                FleetFaultKind::NatReboot => self.reboot(&hit, now),
                FleetFaultKind::ServerRestart(lasts) => {
                    self.is_server_down_until = now.plus(lasts);
                    self.server.restarts();
                    self.law.restarts(&self.policy, &self.cohorts);
                    self.are_nats_changed = true;
                }
                FleetFaultKind::Loss(ratio) => self.loss = LossModel::Plain(ratio),
            }
        }
    }

    /// Bindings that are there keep their time; the next packet has the new one.
    fn timeouts(&mut self, carriers: &[u32], factor: f64, now: MonoTime) {
        self.are_nats_changed = true;
        for carrier in carriers {
            for nat in self.recorder.nats_of(*carrier) {
                let nat = &mut self.nats[nat as usize];
                nat.stream = nat.stream.mul_f64(factor);
                nat.unreplied = nat.unreplied.mul_f64(if nat.unreplied < nat.stream { 1.0 } else { factor });
                nat.unreplied = nat.unreplied.min(nat.stream);
                nat.granularity = nat.granularity.mul_f64(factor);
            }
            self.recorder.changed(*carrier, factor, now, &self.nats);
        }
    }

    fn reboot(&mut self, carriers: &[u32], now: MonoTime) {
        for index in 0..self.devices.len() as u32 {
            if carriers.contains(&self.devices[index as usize].carrier) {
                self.settle(index, now);
                self.devices[index as usize].main.forget(now);
            }
        }
        let devices = &self.devices;
        let is_hit = |flow: &&mut Flow| carriers.contains(&devices[flow.device as usize].carrier);
        self.flows.iter_mut().filter(is_hit).for_each(|flow| flow.binding.forget(now));
    }

    fn tick(&mut self, now: MonoTime) {
        if now < self.is_server_down_until {
            return;
        }
        self.server.sweep(now);
        let is_changed = std::mem::take(&mut self.are_nats_changed);
        let truth = Truth { nats: &self.nats, devices: &self.known, is_changed };
        let wall = WallTime::from_unix_ms(START_MS).plus(now.since(MonoTime::default()));
        let decided = self.law.tick(Tick { mono: now, wall }, &mut self.server.observations, &truth);
        for command in &decided.commands {
            self.server.obey(index_of(command.device), command);
        }
        if !Arc::ptr_eq(&self.server.orders, &decided.orders) {
            self.recorder.ordered(now, &decided.orders);
            self.server.orders = decided.orders;
        }
    }

    fn settle_all(&mut self, now: MonoTime) {
        (0..self.devices.len() as u32).for_each(|index| self.settle(index, now));
    }

    fn record(&mut self, now: MonoTime) {
        if self.recorder.is_sample_due(now) {
            self.settle_all(now);
            self.recorder.sample(now, &self.devices);
        }
    }
}

/// The low half of an id is the device's place.
fn index_of(device: DeviceId) -> u32 {
    u128::from_be_bytes(device.0) as u32
}

fn carrier_name(cohort: &CohortEntry) -> &str {
    cohort.labels.get("carrier").map_or("", AsRef::as_ref)
}

/// The cohort of unknown devices, and one a carrier.
fn cohorts(fleet: &Drawn, policy: &Arc<Fleet>) -> Vec<CohortEntry> {
    let fleets = Fleets { fleets: vec![Arc::clone(policy)] };
    let unknown = CohortKey { name: UNKNOWN.into(), transport: Transport::Udp };
    let entry = |carrier: &draw::Carrier| {
        let labels: Labels =
            [("carrier", &carrier.name), ("region", &carrier.region)].map(|(k, v)| (k.into(), Arc::clone(v))).into();
        let (fleet, key) = fleets.cohort_of(&labels, Transport::Udp);
        CohortEntry { key, labels, fleet: fleet.map(|fleet| Arc::clone(&fleet.name)) }
    };
    let first = CohortEntry { key: unknown, labels: Labels::new(), fleet: None };
    std::iter::once(first).chain(fleet.carriers.iter().map(entry)).collect()
}

/// What happens, the last first: what is written, and the carriers' own changes.
fn faults(scenario: &FleetScenario, fleet: &Drawn, seed: u64) -> Vec<FleetFault> {
    let mut faults = scenario.faults.clone();
    if let Some(every) = scenario.changes_every {
        faults.extend(draw::changes(fleet, every, scenario.duration, seed));
    }
    faults.sort_by_key(|fault| std::cmp::Reverse(fault.at));
    faults
}
