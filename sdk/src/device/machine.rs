//! When a device beats, what it does with what it is answered, and the tests that it makes on order: all of it without a
//! socket, a clock or a thread. Whoever drives it tells the time (as the time since some start), hands in what arrived,
//! and does what is put out; the same machine runs in a gateway, in a lab with hundreds of them in one thread, and in a
//! simulator that knows neither bytes nor codes.
//!
//! A beat that nothing answers is sent again, every 3 s for a minute, then every 15 s until it is answered; nothing else
//! brings 99.98 % of reach through holes in the coverage. A deadline that was missed, because the device slept, is met
//! once. Beats know nothing of probes, so that no probe delays one.

mod binding;
mod bounds;
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

use binding::{Binding, FOLLOW_UP};
use probing::{Around, Probing, Told};
use voice::Voice;

use super::id::DeviceId;
use super::jitter::Pace;
use super::key::Mac;
use super::wire::{Ack, Answer, Request, kind, sent, told};

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
}

/// A device's state. It beats at once when it begins.
#[derive(Debug, Clone)]
pub struct Machine {
    settings: Settings,
    voice: Voice,
    /// As told, and as taken within the bounds.
    told: Option<Pace>,
    pace: Pace,
    beat: Beat,
    binding: Binding,
    probing: Probing,
    /// When the next beat, or the next sending of this one, is due.
    due: Duration,
    /// When a beat is due that takes a second ack's place.
    follow_up_at: Option<Duration>,
    is_link_new: bool,
    /// When something of the server came last.
    heard_at: Duration,
    /// There and back, of the last beat that was sent once.
    rtt: Duration,
    kept: Memory,
    may_keep_at: Duration,
}

/// The last beat.
#[derive(Debug, Clone, Copy, Default)]
struct Beat {
    /// Sequence of its first sending and of its last one.
    first: u32,
    last: u32,
    begun_at: Duration,
    sent_at: Duration,
    tries: u32,
    flags: u16,
    is_acked: bool,
    is_follow_up: bool,
    is_hello_said: bool,
}

impl Settings {
    /// With the pace and the bounds that a device has by default.
    pub fn new(device: DeviceId, key_id: u16) -> Self {
        Self { device, key_id, initial: INITIAL, bounds: Bounds::default() }
    }
}

impl Machine {
    /// A device that starts `now`. The memory is that of this start: see [`Memory::for_next_boot`]; whoever drives the
    /// machine has kept it already.
    pub fn new(settings: Settings, memory: Memory, now: Duration) -> Self {
        let told = memory.pace;
        let mut machine = Self {
            settings,
            voice: Voice::new(settings.device, settings.key_id, memory.boot),
            told,
            pace: settings.bounds.clamped(told.unwrap_or(settings.initial)),
            beat: Beat { is_acked: true, ..Beat::default() },
            binding: Binding::new(),
            probing: Probing::default(),
            due: now,
            follow_up_at: None,
            is_link_new: false,
            heard_at: now,
            rtt: Duration::ZERO,
            kept: memory,
            may_keep_at: now,
        };
        machine.voice.generation = machine.pace.generation;
        machine
    }

    /// When [`Self::timeout`] is to be called next.
    pub fn deadline(&self) -> Duration {
        let keep_at = (self.memory() != self.kept).then_some(self.may_keep_at);
        let others = [self.follow_up_at, self.probing.deadline(), keep_at];
        others.into_iter().flatten().fold(self.due, Duration::min)
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
        let is_follow_up = self.follow_up_at.is_some_and(|at| at <= now);
        if is_follow_up || self.due <= now {
            self.beat_now(now, is_follow_up, out);
        }
        let (probing, mut around) = self.around(now, out);
        probing.timeout(&mut around);
        self.keep(now, out);
    }

    /// The link has come up, or the device woke: a beat is due at once, and whatever was probed is given up.
    pub fn link_up(&mut self, now: Duration, out: &mut Vec<Output>) {
        self.probing.forget(out);
        self.binding.renewed();
        self.is_link_new = true;
        self.follow_up_at = None;
        self.beat.is_acked = true;
        self.due = if self.beat.tries == 0 { now } else { now.max(self.beat.sent_at + GAP_MIN) };
        self.timeout(now, out);
    }

    /// Takes an order that came another way than in an ack.
    pub fn order(&mut self, now: Duration, pace: Pace, out: &mut Vec<Output>) {
        self.obey(pace, out);
        self.timeout(now, out);
    }

    /// Takes what arrived on a flow, authenticated; `mac` is its code, which a new address has to echo.
    pub fn handle(&mut self, now: Duration, flow: Flow, answer: &Answer, mac: &Mac, out: &mut Vec<Output>) {
        match answer {
            Answer::Challenge { nonce } if flow == Flow::MAIN => self.challenged(now, *nonce, out),
            Answer::Challenge { .. } => {}
            Answer::Ack(ack) => {
                self.obey(ack.pace, out);
                if ack.kind == kind::ANSWER {
                    let (probing, mut around) = self.around(now, out);
                    probing.handle(flow, ack, &mut around);
                } else if flow == Flow::MAIN && (self.beat.first..=self.voice.sequence).contains(&ack.sequence) {
                    self.acked(now, ack, mac, out);
                }
            }
        }
        self.timeout(now, out);
    }

    fn around<'a>(&'a mut self, now: Duration, out: &'a mut Vec<Output>) -> (&'a mut Probing, Around<'a>) {
        let retry = self.pace.retry_wait(1).max(GAP_MIN);
        (&mut self.probing, Around { now, retry, rtt: self.rtt, voice: &mut self.voice, out })
    }

    /// A pace that is newer than the one in force is taken; the next beat is due by it.
    fn obey(&mut self, pace: Pace, out: &mut Vec<Output>) {
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
        if self.beat.is_acked && self.beat.tries > 0 && !self.is_link_new {
            self.due = self.next_due();
        }
    }

    fn next_due(&self) -> Duration {
        self.beat.sent_at + self.pace.wait(self.settings.device, self.beat.last)
    }

    fn acked(&mut self, now: Duration, ack: &Ack, mac: &Mac, out: &mut Vec<Output>) {
        if !self.beat.is_acked {
            self.beat_acked(now, ack, out);
        }
        self.heard_at = now;
        self.address(now, ack, mac, out);
        self.passed_late(ack, out);
        let is_hello_asked = ack.flags & told::HELLO != 0 && !self.beat.is_hello_said;
        if is_hello_asked && self.voice.is_allowed(now) {
            self.beat.is_hello_said = true;
            let message = Message::Hello(self.voice.request(kind::HELLO, 0));
            out.push(Output::Send { flow: Flow::MAIN, message });
        }
        self.probe(now, ack, out);
        if !self.binding.awaits() {
            self.follow_up_at = None;
        }
    }

    fn beat_acked(&mut self, now: Duration, ack: &Ack, out: &mut Vec<Output>) {
        self.beat.is_acked = true;
        let took = now - self.beat.begun_at;
        if self.beat.tries == 1 {
            self.rtt = took;
        }
        if now - self.heard_at > self.pace.longest() {
            self.binding.renewed();
            self.beat.is_follow_up = false;
        }
        self.due = self.next_due();
        self.follow_up_at = Some(now + FOLLOW_UP);
        let next = self.due.saturating_sub(now);
        out.push(Output::Event(Event::Acked { sequence: ack.sequence, took, tries: self.beat.tries, next }));
    }

    /// An ack to an address that is new to the server is answered with its code.
    fn address(&mut self, now: Duration, ack: &Ack, mac: &Mac, out: &mut Vec<Output>) {
        if ack.flags & told::NEW_ADDRESS == 0 {
            return self.binding.settled_down();
        }
        if self.binding.moving() {
            out.push(Output::Event(Event::Moved));
        }
        self.follow_up_at = self.follow_up_at.or(Some(now + FOLLOW_UP));
        if self.voice.is_allowed(now) {
            let answer = self.voice.request(kind::ANSWER, sent::NEW_ADDRESS);
            let message = Message::Request(Request { cookie: *mac, ..answer });
            out.push(Output::Send { flow: Flow::MAIN, message });
        }
    }

    /// A second ack passed later than 2 s after the binding was made; so did the ack of a beat in its place, unless the
    /// binding was lost again.
    fn passed_late(&mut self, ack: &Ack, out: &mut Vec<Output>) {
        let is_second = ack.flags & told::SECOND != 0;
        let is_followed_up = self.beat.is_follow_up && ack.flags & told::NEW_ADDRESS == 0;
        if is_second && self.binding.second_ack() || is_followed_up && self.binding.kept() {
            out.push(Output::Event(Event::Stream));
        }
    }

    fn probe(&mut self, now: Duration, ack: &Ack, out: &mut Vec<Output>) {
        let Some(told) = Told::from_ack(ack).filter(|told| self.probing.is_new(told)) else { return };
        if self.voice.is_allowed(now) {
            let (probing, mut around) = self.around(now, out);
            probing.begin(told, &mut around);
        }
    }

    /// The beat that waits for its ack is sent again, with the nonce.
    fn challenged(&mut self, now: Duration, nonce: Mac, out: &mut Vec<Output>) {
        if !self.beat.is_acked && self.voice.is_allowed(now) {
            self.send(now, self.beat.flags, nonce, out);
        }
    }

    fn beat_now(&mut self, now: Duration, is_follow_up: bool, out: &mut Vec<Output>) {
        self.follow_up_at = None;
        if self.beat.is_acked {
            self.begin(now, is_follow_up);
            self.send(now, self.beat.flags, [0; 16], out);
        } else {
            out.push(Output::Event(Event::Unanswered { tries: self.beat.tries }));
            self.send(now, self.beat.flags | sent::RETRY, [0; 16], out);
        }
    }

    fn begin(&mut self, now: Duration, is_follow_up: bool) {
        if is_follow_up {
            self.binding.followed_up();
        }
        let link_up = if std::mem::take(&mut self.is_link_new) { sent::LINK_UP } else { 0 };
        let stream = if self.binding.is_stream { sent::STREAM } else { 0 };
        let flags = link_up | stream;
        self.beat = Beat { begun_at: now, flags, is_follow_up, ..Beat::default() };
    }

    fn send(&mut self, now: Duration, flags: u16, cookie: Mac, out: &mut Vec<Output>) {
        let request = Request { cookie, ..self.voice.request(kind::HEARTBEAT, flags) };
        out.push(Output::Send { flow: Flow::MAIN, message: Message::Request(request) });
        if self.beat.tries == 0 {
            self.beat.first = request.sequence;
        }
        self.beat = Beat { last: request.sequence, sent_at: now, tries: self.beat.tries + 1, ..self.beat };
        self.due = now + self.pace.retry_wait(self.beat.tries).max(GAP_MIN);
    }

    fn keep(&mut self, now: Duration, out: &mut Vec<Output>) {
        let memory = self.memory();
        if memory != self.kept && now >= self.may_keep_at {
            (self.kept, self.may_keep_at) = (memory, now + REMEMBER_EVERY);
            out.push(Output::Remember(memory));
        }
    }
}
