//! A datagram's way between a device, its NAT and the server. Where no netem holds it takes no time, and is walked at
//! once; else the agenda carries it from stop to stop, so that a binding is touched in the order in which packets pass.

use flyball_sdk::device::machine::Flow;
use flyball_sdk::device::wire::{Answer, Request, kind};
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

use super::{Plant, carrier_name};
use crate::simulate::fleet::agenda::{Due, What};
use crate::simulate::fleet::scenario::{FleetScenario, with_base};
use crate::simulate::fleet::server::{Answered, Arrived, SECOND_ACK};
use crate::simulate::netem::pipe::{Arrivals, Pipe};
use crate::simulate::netem::schedule::{self, Link, Place};
use crate::simulate::netem::{Direction, Netem};
use crate::time::MonoTime;

/// A heartbeat in its Ethernet frame: 80 bytes of payload, 8 of UDP, 20 of IP, 14 of Ethernet. Answers are shorter, and
/// counted the same.
const FRAME_BYTES: u32 = 122;

/// Where a datagram is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stop {
    /// From the device, at its NAT.
    Nat { flow: Flow, request: Request },
    /// At the server, from this port of the NAT.
    Server { flow: Flow, request: Request, port: u32 },
    /// From the server, at the NAT; to this port.
    Back { answer: Delivery, port: u32 },
    /// At the device.
    Device(Delivery),
}

/// An answer to a device.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delivery {
    pub(super) flow: Flow,
    pub(super) answer: Answer,
    /// Whether the device waits for it.
    pub(super) is_asked: bool,
}

/// What is on its way, and what the links remember. Empty where a scenario has no netem.
#[derive(Debug)]
pub(super) struct Transit {
    /// Of each device, carrier, and the server: up and down.
    devices: Vec<[Pipe; 2]>,
    carriers: Vec<[Pipe; 2]>,
    server: [Pipe; 2],
    /// By place; at most what the links' limits hold.
    held: Vec<Option<Stop>>,
    free: Vec<u32>,
    random: Pcg64Mcg,
}

impl Transit {
    pub(super) fn new(scenario: &FleetScenario, devices: usize, carriers: usize, seed: u64) -> Self {
        let pipes = |count| vec![<[Pipe; 2]>::default(); if scenario.netem.is_empty() { 0 } else { count }];
        Self {
            devices: pipes(devices),
            carriers: pipes(carriers),
            server: Default::default(),
            held: Vec::new(),
            free: Vec::new(),
            random: Pcg64Mcg::seed_from_u64(seed ^ 0x6e65_7465_6d00),
        }
    }

    fn hold(&mut self, stop: Stop) -> u32 {
        if let Some(place) = self.free.pop() {
            self.held[place as usize] = Some(stop);
            return place;
        }
        self.held.push(Some(stop));
        self.held.len() as u32 - 1
    }

    fn release(&mut self, place: u32) -> Option<Stop> {
        self.free.push(place);
        self.held[place as usize].take()
    }
}

impl Plant<'_> {
    /// A datagram leaves its device.
    pub(super) fn leaves(&mut self, index: u32, now: MonoTime, flow: Flow, request: &Request) {
        if flow == Flow::MAIN {
            self.settle(index, now);
        }
        let device = &self.devices[index as usize];
        self.recorder.sent(device.carrier, request.kind == kind::PROBE);
        if device.is_in_hole {
            return;
        }
        for at in self.crosses(index, now, Place::Devices, Direction::Up).into_iter().flatten() {
            self.goes(index, now, at, Stop::Nat { flow, request: *request });
        }
    }

    /// An answer leaves the server, to this port of the device's NAT.
    pub(super) fn answers(&mut self, index: u32, now: MonoTime, answer: Delivery, port: u32) {
        for at in self.crosses(index, now, Place::Server, Direction::Down).into_iter().flatten() {
            for at in self.crosses(index, at, Place::Carriers, Direction::Down).into_iter().flatten() {
                self.goes(index, now, at, Stop::Back { answer, port });
            }
        }
    }

    /// What was on its way is at its next stop.
    pub(super) fn arrives(&mut self, index: u32, now: MonoTime, place: u32) {
        let Some(stop) = self.transit.release(place) else { return };
        self.settle(index, now);
        self.is_at(index, now, stop);
        self.deliver(index, now);
    }

    /// Hands the device what has come.
    pub(super) fn deliver(&mut self, index: u32, now: MonoTime) {
        while let Some(Delivery { flow, answer, is_asked }) = self.delivered.pop_front() {
            self.drive(index, now, |machine, now, out| machine.handle(now, flow, &answer, &[0; 16], out));
            if !is_asked {
                self.recorder.told(now, index, &self.devices[index as usize]);
            }
        }
    }

    fn goes(&mut self, index: u32, now: MonoTime, at: MonoTime, stop: Stop) {
        if at <= now {
            return self.is_at(index, now, stop);
        }
        let place = self.transit.hold(stop);
        self.agenda.add(Due { at, device: index, what: What::Arrives { place } });
    }

    fn is_at(&mut self, index: u32, now: MonoTime, stop: Stop) {
        match stop {
            Stop::Nat { flow, request } => self.at_nat(index, now, flow, request),
            Stop::Server { flow, request, port } => self.at_server(index, now, flow, &request, port),
            Stop::Back { answer, port } => self.back_at_nat(index, now, answer, port),
            Stop::Device(answer) => {
                let device = &self.devices[index as usize];
                if device.is_on && !device.is_in_hole {
                    self.delivered.push_back(answer);
                }
            }
        }
    }

    fn at_nat(&mut self, index: u32, now: MonoTime, flow: Flow, request: Request) {
        if !self.has_port(index, now, flow) {
            return;
        }
        let device = &mut self.devices[index as usize];
        let binding = &mut device.bindings[flow.number()];
        binding.outbound(now, &self.nats[device.nat as usize]);
        let port = binding.port;
        for at in self.crosses(index, now, Place::Carriers, Direction::Up).into_iter().flatten() {
            for at in self.crosses(index, at, Place::Server, Direction::Up).into_iter().flatten() {
                self.goes(index, now, at, Stop::Server { flow, request, port });
            }
        }
    }

    /// Whether the NAT has a binding for the flow, or a port for a new one.
    fn has_port(&self, index: u32, now: MonoTime, flow: Flow) -> bool {
        let device = &self.devices[index as usize];
        let Some(max) = self.nats[device.nat as usize].ports_max else { return true };
        let neighbours = self.devices.iter().filter(|other| other.nat == device.nat);
        let taken = neighbours.flat_map(|other| &other.bindings).filter(|binding| binding.is_alive(now)).count();
        device.bindings[flow.number()].is_alive(now) || taken < max as usize
    }

    fn at_server(&mut self, index: u32, now: MonoTime, flow: Flow, request: &Request, port: u32) {
        if now < self.is_server_down_until {
            return;
        }
        let is_probe = request.kind == kind::PROBE;
        let arrived = Arrived { at: now, port, request };
        let answers = if is_probe { self.server.probed(index, &arrived) } else { self.server.beaten(index, &arrived) };
        for answer in answers.into_iter().flatten() {
            self.plan(index, now, &answer, port);
            let other = &self.devices[index as usize].bindings[answer.flow.number()];
            let port = if answer.flow == flow { port } else { other.port };
            let answer = Delivery { flow: answer.flow, answer: Answer::Ack(answer.ack), is_asked: true };
            self.answers(index, now, answer, port);
        }
    }

    /// What the server will say later.
    fn plan(&mut self, index: u32, now: MonoTime, answer: &Answered, port: u32) {
        if answer.is_second_due {
            self.agenda.add(Due { at: now.plus(SECOND_ACK), device: index, what: What::SecondAck { port } });
        }
        if let Some(at) = answer.sound_at {
            self.agenda.add(Due { at, device: index, what: What::Sound { sequence: answer.ack.sequence } });
        }
    }

    fn back_at_nat(&mut self, index: u32, now: MonoTime, answer: Delivery, port: u32) {
        let device = &mut self.devices[index as usize];
        let binding = &mut device.bindings[answer.flow.number()];
        if binding.port != port || !binding.inbound(now, &self.nats[device.nat as usize]) {
            return;
        }
        for at in self.crosses(index, now, Place::Devices, Direction::Down).into_iter().flatten() {
            self.goes(index, now, at, Stop::Device(answer));
        }
    }

    /// One link, one way. Where no netem holds a device's link loses what the scenario says, and the others nothing.
    fn crosses(&mut self, index: u32, now: MonoTime, place: Place, direction: Direction) -> Arrivals {
        let Some(netem) = self.netem(index, now, place, direction) else {
            let device = &mut self.devices[index as usize];
            let passes = match (place, direction) {
                (Place::Devices, Direction::Up) => device.sends(self.loss),
                (Place::Devices, Direction::Down) => device.receives(self.loss),
                (Place::Carriers | Place::Server, _) => true,
            };
            return [passes.then_some(now), None];
        };
        let carrier = self.devices[index as usize].carrier;
        let transit = &mut self.transit;
        let pipes = match place {
            Place::Devices => &mut transit.devices[index as usize],
            Place::Carriers => &mut transit.carriers[carrier as usize],
            Place::Server => &mut transit.server,
        };
        pipes[direction as usize].send(&netem, now, FRAME_BYTES, &mut transit.random)
    }

    fn netem(&self, index: u32, now: MonoTime, place: Place, direction: Direction) -> Option<Netem> {
        if self.scenario.netem.is_empty() {
            return None;
        }
        let carrier = carrier_name(&self.cohorts[self.devices[index as usize].carrier as usize + 1]);
        let at = now.since(MonoTime::default());
        let netem = schedule::at(&self.scenario.netem, at, Link { place, carrier, direction })?;
        Some(if place == Place::Devices { with_base(netem, self.loss) } else { netem.clone() })
    }
}
