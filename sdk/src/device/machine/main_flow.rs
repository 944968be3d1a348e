//! The flow that carries beats and messages: when it beats, what it makes of acks, and how it keeps its binding.

use std::time::Duration;

use super::around::Around;
use super::binding::{Binding, FOLLOW_UP};
use super::bounds::GAP_MIN;
use super::output::{Event, Flow, Message};
use crate::device::key::Mac;
use crate::device::wire::{Ack, Request, kind, sent, told};

/// The main flow's state.
#[derive(Debug, Clone)]
pub(super) struct MainFlow {
    beat: Beat,
    binding: Binding,
    /// When the next beat, or the next sending of this one, is due.
    due: Duration,
    /// When a beat is due that takes a second ack's place.
    follow_up_at: Option<Duration>,
    is_link_new: bool,
    /// Sequence of the first sending that the binding may have been made by.
    bound_by: u32,
    /// When an ack came last.
    heard_at: Duration,
    /// There and back, of the last beat that was sent once.
    rtt: Duration,
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
    /// A silence that is longer than this was not promised to pass.
    promised: Duration,
    is_acked: bool,
    is_follow_up: bool,
    is_hello_said: bool,
}

impl MainFlow {
    /// Beats at once.
    pub(super) fn new(follows_up: bool, now: Duration) -> Self {
        let beat = Beat { is_acked: true, ..Beat::default() };
        Self {
            beat,
            binding: Binding::new(follows_up),
            due: now,
            follow_up_at: None,
            is_link_new: false,
            bound_by: 1,
            heard_at: now,
            rtt: Duration::ZERO,
        }
    }

    pub(super) fn deadline(&self) -> Duration {
        self.follow_up_at.map_or(self.due, |at| at.min(self.due))
    }

    pub(super) fn rtt(&self) -> Duration {
        self.rtt
    }

    /// Does what is due.
    pub(super) fn timeout(&mut self, around: &mut Around<'_>) {
        let is_follow_up = self.follow_up_at.is_some_and(|at| at <= around.now);
        if !is_follow_up && around.now < self.due {
            return;
        }
        self.follow_up_at = None;
        if self.beat.is_acked {
            self.begin(is_follow_up, around);
            self.send(self.beat.flags, [0; 16], around);
        } else {
            around.event(Event::Unanswered { tries: self.beat.tries });
            self.send(self.beat.flags | sent::RETRY, [0; 16], around);
        }
    }

    /// What is there now is a new binding: a beat is due at once.
    pub(super) fn link_up(&mut self, now: Duration) {
        self.binding.renewed();
        self.is_link_new = true;
        self.follow_up_at = None;
        self.beat.is_acked = true;
        self.due = if self.beat.tries == 0 { now } else { now.max(self.beat.sent_at + GAP_MIN) };
    }

    /// Another pace is in force.
    pub(super) fn repaced(&mut self, around: &Around<'_>) {
        if self.beat.is_acked && self.beat.tries > 0 && !self.is_link_new {
            self.due = self.next_due(around);
        }
    }

    /// Takes an ack; `mac` is its code. False where it is not of the last beat, nor of what was sent since.
    pub(super) fn acked(&mut self, ack: &Ack, mac: &Mac, around: &mut Around<'_>) -> bool {
        let is_sent = |first: u32| (first..=around.voice.sequence).contains(&ack.sequence);
        if is_sent(self.beat.first) {
            self.of_beat(ack, mac, around);
            return true;
        }
        // Beats may be closer than a second ack is late.
        if is_sent(self.bound_by) {
            self.passed_late(ack, around);
        }
        false
    }

    fn of_beat(&mut self, ack: &Ack, mac: &Mac, around: &mut Around<'_>) {
        if !self.beat.is_acked {
            self.beat_acked(ack, around);
        }
        self.heard_at = around.now;
        self.address(ack, mac, around);
        self.passed_late(ack, around);
        let is_hello_asked = ack.flags & told::HELLO != 0 && !self.beat.is_hello_said;
        if is_hello_asked && around.voice.is_allowed(around.now) {
            self.beat.is_hello_said = true;
            let hello = around.voice.request(kind::HELLO, 0);
            around.send(Flow::MAIN, Message::Hello(hello));
        }
        if !self.binding.awaits() {
            self.follow_up_at = None;
        }
    }

    /// The beat that waits for its ack is sent again, with the nonce.
    pub(super) fn challenged(&mut self, nonce: Mac, around: &mut Around<'_>) {
        if !self.beat.is_acked && around.voice.is_allowed(around.now) {
            self.send(self.beat.flags, nonce, around);
        }
    }

    fn next_due(&self, around: &Around<'_>) -> Duration {
        self.beat.sent_at + around.pace.wait(around.voice.device, self.beat.last)
    }

    fn beat_acked(&mut self, ack: &Ack, around: &mut Around<'_>) {
        self.beat.is_acked = true;
        let took = around.now - self.beat.begun_at;
        if self.beat.tries == 1 {
            self.rtt = took;
        }
        if around.now - self.heard_at > self.beat.promised {
            self.renewed();
            self.beat.is_follow_up = false;
        }
        self.due = self.next_due(around);
        self.follow_up_at = Some(around.now + FOLLOW_UP);
        let next = self.due.saturating_sub(around.now);
        around.event(Event::Acked { sequence: ack.sequence, took, tries: self.beat.tries, next });
    }

    /// An ack to an address that is new to the server is answered with its code.
    fn address(&mut self, ack: &Ack, mac: &Mac, around: &mut Around<'_>) {
        if ack.flags & told::NEW_ADDRESS == 0 {
            return self.binding.settled_down();
        }
        if self.binding.moving() {
            self.renewed();
            around.event(Event::Moved);
        }
        self.follow_up_at = self.follow_up_at.or(Some(around.now + FOLLOW_UP));
        if around.voice.is_allowed(around.now) {
            let answer = around.voice.request(kind::ANSWER, sent::NEW_ADDRESS);
            around.send(Flow::MAIN, Message::Request(Request { cookie: *mac, ..answer }));
        }
    }

    /// The last beat may have made the binding.
    fn renewed(&mut self) {
        self.binding.renewed();
        self.bound_by = self.beat.first;
    }

    /// A second ack passed later than 2 s after the binding was made; so did the ack of a beat in its place, unless the
    /// binding was lost again.
    fn passed_late(&mut self, ack: &Ack, around: &mut Around<'_>) {
        let is_second = ack.flags & told::SECOND != 0;
        let is_followed_up =
            self.beat.is_follow_up && ack.flags & told::NEW_ADDRESS == 0 && ack.sequence >= self.beat.first;
        if is_second && self.binding.second_ack() || is_followed_up && self.binding.kept() {
            around.event(Event::Stream);
        }
    }

    fn begin(&mut self, is_follow_up: bool, around: &Around<'_>) {
        if is_follow_up {
            self.binding.followed_up();
        }
        let is_link_new = std::mem::take(&mut self.is_link_new);
        if is_link_new {
            self.bound_by = around.voice.sequence.saturating_add(1);
        }
        let link_up = if is_link_new { sent::LINK_UP } else { 0 };
        // Of the binding in the silence that this beat ends.
        let stream = if self.binding.is_stream { sent::STREAM } else { 0 };
        let (flags, promised) = (link_up | stream, around.pace.longest());
        self.beat = Beat { begun_at: around.now, flags, promised, is_follow_up, ..Beat::default() };
    }

    fn send(&mut self, flags: u16, cookie: Mac, around: &mut Around<'_>) {
        let request = Request { cookie, ..around.voice.request(kind::HEARTBEAT, flags) };
        around.send(Flow::MAIN, Message::Request(request));
        if self.beat.tries == 0 {
            self.beat.first = request.sequence;
        }
        self.beat = Beat { last: request.sequence, sent_at: around.now, tries: self.beat.tries + 1, ..self.beat };
        self.due = around.now + around.retry_wait(self.beat.tries);
    }
}
