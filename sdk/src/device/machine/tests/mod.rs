//! A machine on fake time. The rig drives it, keeps what it put out, and refuses at once what no machine may do.

mod beats;
mod channel;
mod orders;
mod probes;
mod properties;

use std::time::Duration;

use super::{Event, Flow, GAP_MIN, Machine, Memory, Message, Output, Settings};
use crate::device::id::DeviceId;
use crate::device::jitter::Pace;
use crate::device::wire::{Ack, Answer, Request, kind, told};

const DEVICE: DeviceId = DeviceId([0xd; 16]);
const PACE: Pace = Pace { generation: 10, interval: Duration::from_secs(80), jitter: 64, retry: 0, is_hostile: false };
const MAC: [u8; 16] = [0xac; 16];

fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// What was sent, and when.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sent {
    at: Duration,
    flow: Flow,
    request: Request,
    is_hello: bool,
}

struct Rig {
    machine: Machine,
    now: Duration,
    sent: Vec<Sent>,
    /// Of `sent`, what `news` has told.
    told: usize,
    events: Vec<Event>,
    kept: Vec<Memory>,
    open: Vec<Flow>,
    out: Vec<Output>,
}

impl Rig {
    /// Began at zero, and has beaten once.
    fn new() -> Self {
        Self::with(Memory { boot: 1, pace: None })
    }

    fn with(memory: Memory) -> Self {
        Self::of(Settings::new(DEVICE, 3), memory)
    }

    fn of(settings: Settings, memory: Memory) -> Self {
        let machine = Machine::new(settings, memory, Duration::ZERO);
        let (sent, told, events, kept, open, out) = Default::default();
        let mut rig = Self { machine, now: Duration::ZERO, sent, told, events, kept, open, out };
        rig.timeout();
        rig
    }

    /// At `PACE`, its last beat acked at `now`, and known to be a stream at a server that sends second acks.
    fn steady() -> Self {
        let mut rig = Self::with(Memory { boot: 1, pace: Some(PACE) });
        rig.ack(0);
        rig.ack(told::SECOND);
        rig
    }

    fn timeout(&mut self) {
        self.machine.timeout(self.now, &mut self.out);
        self.drain();
    }

    fn link_up(&mut self) {
        self.machine.link_up(self.now, &mut self.out);
        self.drain();
    }

    /// Lets time pass; everything due is done on time.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.machine.deadline() <= end {
            self.now = self.now.max(self.machine.deadline());
            self.timeout();
            assert!(self.machine.deadline() > self.now, "a deadline that is met is not due any more");
        }
        self.now = end;
    }

    fn handle(&mut self, flow: Flow, answer: Answer) {
        self.machine.handle(self.now, flow, &answer, &MAC, &mut self.out);
        self.drain();
    }

    /// The last beat is acked, at `PACE`.
    fn ack(&mut self, flags: u16) {
        self.ack_with(flags, PACE, 0);
    }

    fn ack_with(&mut self, flags: u16, pace: Pace, probe: u16) {
        let sequence = self.beats().last().expect("a beat").request.sequence;
        self.handle(Flow::MAIN, Answer::Ack(Ack { kind: kind::ACK, flags, sequence, pace, probe }));
    }

    fn beats(&self) -> Vec<Sent> {
        self.sent.iter().copied().filter(|sent| sent.request.kind == kind::HEARTBEAT).collect()
    }

    /// Everything sent since the last call.
    fn news(&mut self) -> Vec<Sent> {
        let news = self.sent[self.told..].to_vec();
        self.told = self.sent.len();
        news
    }

    fn drain(&mut self) {
        for output in std::mem::take(&mut self.out) {
            match output {
                Output::Open(flow) => {
                    assert!(flow != Flow::MAIN && !self.open.contains(&flow), "{flow:?} is open");
                    self.open.push(flow);
                    assert!(self.open.len() < Flow::COUNT, "at most four side flows");
                }
                Output::Close(flow) => {
                    assert!(self.open.contains(&flow), "{flow:?} is not open");
                    self.open.retain(|open| *open != flow);
                }
                Output::Send { flow, message } => {
                    assert!(flow == Flow::MAIN || self.open.contains(&flow), "{flow:?} is not open");
                    self.sent_now(flow, message);
                }
                Output::Remember(memory) => self.kept.push(memory),
                Output::Event(event) => self.events.push(event),
            }
        }
    }

    fn sent_now(&mut self, flow: Flow, message: Message) {
        let (request, is_hello) = match message {
            Message::Request(request) => (request, false),
            Message::Hello(request) => (request, true),
        };
        if let Some(last) = self.sent.last().map(|sent| sent.request) {
            assert!((request.boot, request.sequence) > (last.boot, last.sequence), "numbers rise");
        }
        self.sent.push(Sent { at: self.now, flow, request, is_hello });
    }
}
