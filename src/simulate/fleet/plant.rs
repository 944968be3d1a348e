//! The plant and its clock: things happen at their times; between two ticks devices know nothing of each other. Unless
//! netem says otherwise the way between a device and the server takes no time, and what is lost is lost between the
//! device and its NAT.

mod transit;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::machine::{Event, Flow, Machine, Message, Output};
use flyball_sdk::device::wire::Answer;
use rand::RngExt;

use self::transit::{Delivery, Transit};
use super::agenda::{Agenda, Due, What};
use super::device::Device;
use super::draw::{self, Drawn};
use super::law::{Law, Truth};
use super::ledger::{Account, Standing};
use super::recorder::Recorder;
use super::scenario::{
    FleetFault, FleetFaultKind, FleetLaw, FleetScenario, LossModel, Nat, PolicyPlan, is_chosen, labels,
};
use super::server::{Server, Session};
use super::trace::FleetRun;
use crate::keepalive::cohort::{CohortEntry, CohortIndex, CohortKey, Labels, Transport, UNKNOWN};
use crate::keepalive::policy::{Fleet, Fleets, Pin};
use crate::keepalive::wave::spec::Command;
use crate::time::{MonoTime, Tick, WallTime};

/// Wall time at the start of every run.
const START_MS: i64 = 1_800_000_000_000;

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
    /// What a machine wants done; kept for its room.
    out: Vec<Output>,
    cohorts: Vec<CohortEntry>,
    server: Server,
    is_server_down_until: MonoTime,
    law: Law,
    loss: LossModel,
    faults: Vec<FleetFault>,
    are_nats_changed: bool,
    /// What the server's wall clock was set forward by.
    clock_step_ms: i64,
    recorder: Recorder,
    transit: Transit,
    /// Has come to the device whose turn it is.
    delivered: VecDeque<Delivery>,
}

impl<'a> Plant<'a> {
    fn new(scenario: &'a FleetScenario, law: FleetLaw, seed: u64) -> Self {
        let policy = Arc::new(scenario.policy.clone());
        let fleet = draw::draw(&scenario.carriers, seed);
        let cohorts = cohorts(&fleet, &policy);
        let devices: Vec<Device> = fleet
            .devices
            .iter()
            .zip(0..)
            .map(|((carrier, nat), i)| Device::new(i, *carrier, *nat, seed, scenario))
            .collect();
        let known: Vec<_> =
            devices.iter().map(|device| (device.id(), CohortIndex(device.carrier + 1), device.nat)).collect();
        let sessions = known.iter().map(|(id, cohort, _)| Session::new(*id, *cohort)).collect();
        let mut plant = Self {
            law: Law::new(law, &policy, &cohorts),
            recorder: Recorder::new(scenario, &fleet),
            agenda: Agenda::new(),
            accounts: vec![Account::default(); devices.len()],
            server: Server::new(sessions, cohorts.len()),
            out: Vec::new(),
            is_server_down_until: MonoTime::default(),
            loss: scenario.loss,
            faults: faults(scenario, &fleet, seed),
            are_nats_changed: true,
            clock_step_ms: 0,
            transit: Transit::new(scenario, devices.len(), fleet.carriers.len(), seed),
            delivered: VecDeque::new(),
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
            What::Wake => self.wakes(device, at),
            What::SecondAck { port } => self.second_ack(device, at, port),
            What::Sound { sequence } => {
                if at >= self.is_server_down_until
                    && let Some((port, ack)) = self.server.sound(device, sequence)
                {
                    self.down_unasked(device, at, port, &Answer::Ack(ack));
                }
            }
            What::Arrives { place } => self.arrives(device, at, place),
            What::HoleBegins => self.hole(device, at, true),
            What::HoleEnds => self.hole(device, at, false),
            What::PowerGoes => self.power_goes(device, at),
            What::PowerComes => {
                self.power_comes(device, at);
                self.plan_power_off(device, at);
            }
            What::PowerReturns => self.power_comes(device, at),
        }
    }

    /// Everything up to `now` is accounted for as it was until then.
    fn settle(&mut self, index: u32, now: MonoTime) {
        let device = &self.devices[index as usize];
        let main = device.main();
        let is_known_there = self.server.sessions[index as usize].port == main.port;
        let standing = Standing {
            is_present: device.is_on && !device.is_in_hole,
            good_until: if is_known_there { main.expires } else { MonoTime::default() },
            is_overpaced: self.recorder.is_overpaced(index),
        };
        self.accounts[index as usize].settle(now, standing, self.recorder.sums(device.carrier));
    }

    fn wakes(&mut self, index: u32, now: MonoTime) {
        let device = &self.devices[index as usize];
        if device.is_on && device.wakes_at == now {
            self.drive(index, now, |machine, now, out| machine.timeout(now, out));
        }
    }

    /// The machine acts, what it wants done is done, and its timer is set.
    fn drive(&mut self, index: u32, now: MonoTime, act: impl FnOnce(&mut Machine, Duration, &mut Vec<Output>)) {
        let since = now.since(MonoTime::default());
        let mut out = std::mem::take(&mut self.out);
        act(&mut self.devices[index as usize].machine, since, &mut out);
        let mut done = 0;
        while let Some(output) = out.get(done).copied() {
            done += 1;
            match output {
                Output::Send { flow, message: Message::Request(request) } => {
                    self.leaves(index, now, flow, &request);
                    while let Some(came) = self.delivered.pop_front() {
                        let machine = &mut self.devices[index as usize].machine;
                        machine.handle(since, came.flow, &came.answer, &[0; 16], &mut out);
                    }
                }
                Output::Open(flow) => self.devices[index as usize].opens(flow),
                Output::Remember(memory) => self.devices[index as usize].memory = memory,
                // A pace may come with what is no ack of a beat, and be another when the next beat is acked.
                Output::Event(Event::Acked { .. } | Event::Pace(_)) => {
                    self.recorder.acked(now, index, &self.devices[index as usize], &self.nats);
                }
                Output::Event(Event::Probed(_)) => {
                    self.recorder.sums(self.devices[index as usize].carrier).tests += 1;
                }
                Output::Send { message: Message::Hello(_), .. } | Output::Close(_) | Output::Event(_) => {}
            }
        }
        out.clear();
        self.out = out;
        self.set_timer(index, now);
    }

    /// A timer that was put off is looked at when it runs out.
    fn set_timer(&mut self, index: u32, now: MonoTime) {
        let device = &mut self.devices[index as usize];
        let deadline = MonoTime::from_start(device.machine.deadline()).max(now);
        if device.wakes_at <= now || deadline < device.wakes_at {
            device.wakes_at = deadline;
            self.agenda.add(Due { at: deadline, device: index, what: What::Wake });
        }
    }

    fn second_ack(&mut self, index: u32, now: MonoTime, port: u32) {
        if now < self.is_server_down_until {
            return;
        }
        let Some(ack) = self.server.second_ack(index, now, port) else { return };
        self.recorder.sums(self.devices[index as usize].carrier).second_acks += 1;
        self.down_unasked(index, now, port, &Answer::Ack(ack));
    }

    /// To the port that the server knows.
    fn down_unasked(&mut self, index: u32, now: MonoTime, port: u32, answer: &Answer) {
        self.settle(index, now);
        self.answers(index, now, Delivery { flow: Flow::MAIN, answer: *answer, is_asked: false }, port);
        self.deliver(index, now);
    }

    fn hole(&mut self, index: u32, now: MonoTime, begins: bool) {
        self.settle(index, now);
        let device = &mut self.devices[index as usize];
        device.is_in_hole = begins;
        if begins {
            return;
        }
        if device.is_on && self.scenario.are_holes_noticed {
            self.drive(index, now, |machine, now, out| machine.link_up(now, out));
        }
        self.plan_hole(index, now);
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
        let is_first = device.memory.boot == 0;
        device.boots(now);
        self.drive(index, now, |machine, now, out| machine.timeout(now, out));
        if is_first {
            self.plan_hole(index, now);
        }
    }

    fn plan_power_off(&mut self, index: u32, now: MonoTime) {
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
                FleetFaultKind::ServerRestart { lasts, .. } => self.restart(lasts, now),
                FleetFaultKind::Rollout(command) => self.command(&hit, command, now),
                FleetFaultKind::Loss(ratio) => self.loss = LossModel::Plain(ratio),
                FleetFaultKind::Pin(nat_timeout) => self.pin(&hit, nat_timeout),
                FleetFaultKind::Policy(policy) => self.follow(&policy, now),
                FleetFaultKind::CarrierChange { from, to, share } => self.change_carrier(&from, &to, share, now),
                FleetFaultKind::Ports(max) => self.limit_ports(&hit, max),
                FleetFaultKind::PowerOff { lasts, share } => self.power_off(&hit, lasts, share, now),
                FleetFaultKind::ClockStep { seconds } => self.clock_step_ms += (seconds * 1_000.0) as i64,
            }
        }
    }

    fn restart(&mut self, lasts: Duration, now: MonoTime) {
        let before = self.law.rollouts();
        self.is_server_down_until = now.plus(lasts);
        self.server.restarts();
        self.law.restarts(&self.policy, &self.cohorts);
        self.are_nats_changed = true;
        self.recorder.restarted([&before, &self.law.rollouts()], &self.cohorts, &self.devices);
    }

    /// The operator says this of the rollouts of these carriers; a server that is away hears nothing.
    fn command(&mut self, carriers: &[u32], command: Command, now: MonoTime) {
        let name = |carrier: &u32| &*self.cohorts[*carrier as usize + 1].key.name;
        let names: Vec<&str> = carriers.iter().map(name).collect();
        let wall = self.wall(now);
        let is_away = now < self.is_server_down_until;
        let obeyed = if is_away { 0 } else { self.law.command(&names, command, wall) };
        self.recorder.commanded(obeyed);
    }

    /// The server's wall clock.
    fn wall(&self, now: MonoTime) -> WallTime {
        WallTime::from_unix_ms(START_MS + self.clock_step_ms).plus(now.since(MonoTime::default()))
    }

    fn follow(&mut self, policy: &PolicyPlan, now: MonoTime) {
        self.policy = Arc::new(policy.fleet.clone());
        self.law.follows(&self.policy);
        self.are_nats_changed = true;
        self.recorder.follows(policy.fleet.interval, now, &self.nats);
    }

    /// Sockets stay, and the NAT that they were behind is another: it has no binding of theirs yet.
    fn change_carrier(&mut self, from: &str, to: &str, share: f64, now: MonoTime) {
        let place = |name: &str| self.cohorts[1..].iter().position(|cohort| carrier_name(cohort) == name);
        let (Some(from), Some(to)) = (place(from), place(to)) else { return };
        let (from, to) = (from as u32, to as u32);
        let nats = self.recorder.nats_of(to);
        let theirs = (0..self.devices.len()).filter(|index| self.devices[*index].carrier == from);
        let theirs: Vec<usize> = theirs.enumerate().filter(|(i, _)| is_chosen(*i, share)).map(|(_, at)| at).collect();
        for (i, index) in theirs.into_iter().enumerate() {
            self.settle(index as u32, now);
            let (device, nat) = (&mut self.devices[index], nats[i % nats.len()]);
            device.moves(to, nat);
            self.known[index] = (device.id(), CohortIndex(to + 1), nat);
            self.server.sessions[index].moves(CohortIndex(to + 1));
            self.recorder.moved(index as u32, to, now);
        }
        self.law.forgets_what_it_told();
        self.are_nats_changed = true;
    }

    fn limit_ports(&mut self, carriers: &[u32], max: u32) {
        for carrier in carriers {
            for nat in self.recorder.nats_of(*carrier) {
                self.nats[nat as usize].ports_max = Some(max);
            }
        }
    }

    fn power_off(&mut self, carriers: &[u32], lasts: Duration, share: f64, now: MonoTime) {
        for carrier in carriers {
            let theirs = (0..self.devices.len()).filter(|index| self.devices[*index].carrier == *carrier);
            let chosen: Vec<usize> =
                theirs.enumerate().filter(|(i, _)| is_chosen(*i, share)).map(|(_, at)| at).collect();
            for index in chosen.into_iter().filter(|index| self.devices[*index].is_on).collect::<Vec<_>>() {
                self.power_goes(index as u32, now);
                self.agenda.add(Due { at: now.plus(lasts), device: index as u32, what: What::PowerReturns });
            }
        }
    }

    /// The operator says how long these carriers' NATs keep a binding.
    fn pin(&mut self, carriers: &[u32], nat_timeout: Duration) {
        let mut policy = Fleet::clone(&self.policy);
        for carrier in carriers {
            let labels = &self.cohorts[*carrier as usize + 1].labels;
            let cohort = labels.iter().filter(|(key, _)| &***key == "carrier");
            let cohort: Labels = cohort.map(|(key, value)| (Arc::clone(key), Arc::clone(value))).collect();
            policy.pins.retain(|pin| pin.cohort != cohort);
            policy.pins.insert(0, Pin { cohort, nat_timeout, until: None, reason: "scenario".into() });
        }
        self.policy = Arc::new(policy);
        self.law.follows(&self.policy);
    }

    /// Bindings that are there keep their time; the next packet has the new one.
    fn timeouts(&mut self, carriers: &[u32], factor: f64, now: MonoTime) {
        self.are_nats_changed = true;
        for carrier in carriers {
            for nat in self.recorder.nats_of(*carrier) {
                self.nats[nat as usize] = self.nats[nat as usize].times(factor);
            }
            self.recorder.changed(*carrier, factor, now, &self.nats);
        }
    }

    fn reboot(&mut self, carriers: &[u32], now: MonoTime) {
        for index in 0..self.devices.len() as u32 {
            if carriers.contains(&self.devices[index as usize].carrier) {
                self.settle(index, now);
                self.devices[index as usize].bindings.iter_mut().for_each(|binding| binding.forget(now));
            }
        }
    }

    fn tick(&mut self, now: MonoTime) {
        if now < self.is_server_down_until {
            return;
        }
        self.server.sweep(now);
        let wall = self.wall(now);
        let is_changed = std::mem::take(&mut self.are_nats_changed);
        let truth = Truth { nats: &self.nats, devices: &self.known, is_changed };
        let decided = self.law.tick(Tick { mono: now, wall }, &mut self.server.observations, &truth);
        for event in &decided.events {
            self.recorder.released(now, event, &self.cohorts, &self.devices);
        }
        for command in &decided.commands {
            self.server.obey(index_of(command.device), command);
        }
        if !Arc::ptr_eq(&self.server.orders, &decided.orders) {
            self.recorder.ordered(now, &decided.orders);
            self.server.orders = decided.orders;
        }
        for command in decided.commands.iter().filter(|command| command.is_urgent) {
            let index = index_of(command.device);
            if let Some((port, ack)) = self.server.pushed(index) {
                self.down_unasked(index, now, port, &Answer::Ack(ack));
            }
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
        let labels = labels(&carrier.name, &carrier.region);
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
    // Of one time, in the order in which they are written.
    faults.sort_by_key(|fault| fault.at);
    faults.reverse();
    faults
}
