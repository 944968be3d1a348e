//! When a device beats, what it does with what it is answered, and the tests that it makes on order: all of it without a
//! socket, a clock or a thread. Whoever drives it tells the time (as the time since some start), hands in what arrived,
//! and does what is put out; the same machine runs in a gateway, in a lab with hundreds of them in one thread, and in a
//! simulator that knows neither bytes nor codes.
//!
//! A beat that nothing answers is sent again, every 3 s for a minute, then every 15 s until it is answered; nothing else
//! brings 99.98 % of reach through holes in the coverage. A deadline that was missed, because the device slept, is met
//! once. Beats know nothing of probes, so that no probe delays one.

mod around;
mod binding;
mod bounds;
mod main_flow;
mod memory;
mod output;
mod probing;
mod side;
#[cfg(test)]
mod tests;
mod voice;

use std::time::Duration;

pub use bounds::{BadBounds, Bounds, GAP_MIN};
pub use memory::{MEMORY_BYTES, Memory};
pub use output::{Event, Flow, Message, Output, Probed};
pub use side::CONTROLS_NEEDED;

use around::Around;
use main_flow::MainFlow;
use probing::{Probing, Told};
use voice::Voice;

use super::id::DeviceId;
use super::jitter::Pace;
use super::key::Mac;
use super::wire::{Ack, Answer, kind, told};

/// The pace of a device that was never told one.
pub const INITIAL: Pace =
    Pace { generation: 0, interval: Duration::from_secs(15), jitter: 64, retry: 0, is_hostile: false };
/// A memory is put out at most this often, so that a flash lives; the first change, and the last, are always.
const REMEMBER_EVERY: Duration = Duration::from_secs(600);

/// Who a machine is, and what it accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Who.
    pub device: DeviceId,
    /// Which master key its key is derived from.
    pub key_id: u16,
    /// Until it is told one: [`INITIAL`].
    pub initial: Pace,
    /// What it accepts.
    pub bounds: Bounds,
    /// Whether it beats once more where a second ack on a new binding was lost; else it leaves all of that to the server.
    pub follows_up: bool,
}

/// A device's state. It beats at once when it begins.
#[derive(Debug, Clone)]
pub struct Machine {
    settings: Settings,
    voice: Voice,
    /// As told, and as taken within the bounds.
    told: Option<Pace>,
    pace: Pace,
    main: MainFlow,
    probing: Probing,
    kept: Memory,
    may_keep_at: Duration,
}

impl Settings {
    /// With the pace and the bounds that a device has by default.
    pub fn new(device: DeviceId, key_id: u16) -> Self {
        Self { device, key_id, initial: INITIAL, bounds: Bounds::default(), follows_up: true }
    }
}

impl Machine {
    /// A device that starts `now`. The memory is that of this start: see [`Memory::for_next_boot`]; whoever drives the
    /// machine has kept it already.
    pub fn new(settings: Settings, memory: Memory, now: Duration) -> Self {
        let told = memory.pace;
        let pace = settings.bounds.clamped(told.unwrap_or(settings.initial));
        let mut voice = Voice::new(settings.device, settings.key_id, memory.boot);
        voice.generation = pace.generation;
        let (main, probing) = (MainFlow::new(settings.follows_up, now), Probing::default());
        Self { settings, voice, told, pace, main, probing, kept: memory, may_keep_at: now }
    }

    /// When [`Self::timeout`] is to be called next.
    pub fn deadline(&self) -> Duration {
        let keep_at = (self.memory() != self.kept).then_some(self.may_keep_at);
        [self.probing.deadline(), keep_at].into_iter().flatten().fold(self.main.deadline(), Duration::min)
    }

    /// Who it is, and what it accepts.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The pace in force.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// Which start this is; answers are authenticated for it.
    pub fn boot(&self) -> u32 {
        self.voice.boot
    }

    /// What it would keep over a restart now.
    pub fn memory(&self) -> Memory {
        Memory { boot: self.voice.boot, pace: self.told }
    }

    /// Does what is due. It may come late: what was missed meanwhile is not made up for.
    pub fn timeout(&mut self, now: Duration, out: &mut Vec<Output>) {
        let (main, probing, mut around) = self.parts(now, out);
        main.timeout(&mut around);
        probing.timeout(main.rtt(), &mut around);
        self.keep(now, out);
    }

    /// The link has come up, or the device woke: a beat is due at once, and whatever was probed is given up.
    pub fn link_up(&mut self, now: Duration, out: &mut Vec<Output>) {
        self.probing.forget(out);
        self.main.link_up(now);
        self.timeout(now, out);
    }

    /// Takes an order that came another way than in an ack.
    pub fn order(&mut self, now: Duration, pace: Pace, out: &mut Vec<Output>) {
        self.obey(now, pace, out);
        self.timeout(now, out);
    }

    /// Takes what arrived on a flow, authenticated; `mac` is its code, which a new address has to echo.
    pub fn handle(&mut self, now: Duration, flow: Flow, answer: &Answer, mac: &Mac, out: &mut Vec<Output>) {
        match answer {
            Answer::Ack(ack) => {
                // What asks a new address who is there has a nonce for its generation.
                if ack.flags & told::NEW_ADDRESS == 0 {
                    self.obey(now, ack.pace, out);
                }
                self.answered(now, flow, ack, mac, out);
            }
            Answer::Challenge { nonce } if flow == Flow::MAIN => {
                let (main, _, mut around) = self.parts(now, out);
                main.challenged(*nonce, &mut around);
            }
            Answer::Challenge { .. } => {}
        }
        self.timeout(now, out);
    }

    fn answered(&mut self, now: Duration, flow: Flow, ack: &Ack, mac: &Mac, out: &mut Vec<Output>) {
        let (main, probing, mut around) = self.parts(now, out);
        if ack.kind == kind::ANSWER {
            probing.handle(flow, ack, main.rtt(), &mut around);
        } else if flow == Flow::MAIN && main.acked(ack, mac, &mut around) {
            let order = Told::from_ack(ack).filter(|told| probing.is_new(told));
            if let Some(told) = order.filter(|_| around.voice.is_allowed(now)) {
                probing.begin(told, main.rtt(), &mut around);
            }
        }
    }

    fn parts<'a>(
        &'a mut self,
        now: Duration,
        out: &'a mut Vec<Output>,
    ) -> (&'a mut MainFlow, &'a mut Probing, Around<'a>) {
        let around = Around { now, pace: self.pace, voice: &mut self.voice, out };
        (&mut self.main, &mut self.probing, around)
    }

    /// A pace that is newer than the one in force is taken; the next beat is due by it.
    fn obey(&mut self, now: Duration, pace: Pace, out: &mut Vec<Output>) {
        if pace.generation <= self.pace.generation {
            return;
        }
        let (before, taken) = (self.pace, self.settings.bounds.clamped(pace));
        (self.told, self.pace, self.voice.generation) = (Some(pace), taken, pace.generation);
        if (Pace { generation: taken.generation, ..before }) != taken {
            out.push(Output::Event(Event::Pace(taken)));
        }
        if before.is_hostile != taken.is_hostile {
            out.push(Output::Event(Event::Hostile(taken.is_hostile)));
        }
        let (main, _, around) = self.parts(now, out);
        main.repaced(&around);
    }

    fn keep(&mut self, now: Duration, out: &mut Vec<Output>) {
        let memory = self.memory();
        if memory != self.kept && now >= self.may_keep_at {
            (self.kept, self.may_keep_at) = (memory, now + REMEMBER_EVERY);
            out.push(Output::Remember(memory));
        }
    }
}
