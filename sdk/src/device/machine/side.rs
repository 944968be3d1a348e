//! The test of one silence on one side flow, as the module [`probe`](crate::device::probe) tells it, step by step.
//!
//! How it ends: *survived* where any of the three packets came to the side flow; *expired* where none did, and at least
//! [`CONTROLS_NEEDED`] of the three controls came to the main flow; else *lost*, which says nothing. With two controls, a
//! living binding is taken for an expired one only where all packets of one flow were lost, and none or one of the other.

use std::time::Duration;

use super::output::{Event, Flow, Message, Output, Probed};
use super::voice::Voice;
use crate::device::probe::{Cell, ProbeOrder, ProbeOutcome, ProbePhase, ProbeReport, SETTLE, TRIES, TRY_EVERY};
use crate::device::wire::{Ack, sent};

/// Controls without which "nothing came" is not taken for an expiry.
pub const CONTROLS_NEEDED: u8 = 2;
/// Sendings of what opens a flow, and of what settles it, before the test is given up.
const OPEN_TRIES: u8 = 4;
/// Sendings of a report.
const REPORT_TRIES: u8 = 6;
/// From the last question to the end of waiting for answers.
const ANSWER_WAIT: Duration = Duration::from_secs(3);
/// How late the end of a silence may be noticed: a silence that was longer than ordered (the device slept) is another
/// test. A 256th is less than a cell.
const LATE: Duration = Duration::from_millis(250);
const LATE_PART: u32 = 256;
/// The most of the main flow's round trip that is believed of a side flow on which nothing was answered: to the server
/// the silence seems shorter by it, and it refuses a test that seems to be shorter by half a second.
const UNMEASURED_RTT_MAX: Duration = Duration::from_millis(250);

/// A side flow at work.
#[derive(Debug, Clone)]
pub(super) struct Side {
    /// Of the order, from 0.
    index: u8,
    step: Step,
    /// Sendings within the step.
    tries: u8,
    /// Sequence of the step's first sending, and of each question.
    first: u32,
    questions: [u32; TRIES as usize],
    sent_at: Duration,
    pub(super) due: Duration,
    /// There and back, as the side flow saw it; the silence ends when the packet comes back, not when it is asked for.
    rtt: Option<Duration>,
    /// Bits: of which question the control, or the packet, came.
    controls: u8,
    passed: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Opening,
    Opened,
    Settling,
    Silent,
    Testing,
    Reporting(ProbeOutcome),
    Done,
}

/// What a side flow works with.
pub(super) struct Work<'a> {
    pub(super) now: Duration,
    pub(super) order: ProbeOrder,
    pub(super) is_unreplied: bool,
    /// Between two sendings of the same.
    pub(super) retry: Duration,
    /// There and back on the main flow, as far as it is known.
    pub(super) rtt: Duration,
    pub(super) voice: &'a mut Voice,
    pub(super) out: &'a mut Vec<Output>,
}

impl Side {
    /// Opens the flow.
    pub(super) fn open(index: u8, work: &mut Work<'_>) -> Self {
        let mut side = Self {
            index,
            step: Step::Opening,
            tries: 0,
            first: 0,
            questions: [0; TRIES as usize],
            sent_at: work.now,
            due: work.now,
            rtt: None,
            controls: 0,
            passed: 0,
        };
        work.out.push(Output::Open(side.flow()));
        side.step(Step::Opening, work);
        if work.is_unreplied {
            side.fall_silent(work);
        }
        side
    }

    pub(super) const fn flow(&self) -> Flow {
        Flow::side(self.index)
    }

    pub(super) fn is_done(&self) -> bool {
        self.step == Step::Done
    }

    fn cell(&self, order: ProbeOrder) -> Cell {
        order.cell(u16::from(self.index))
    }

    /// What is due.
    pub(super) fn timeout(&mut self, work: &mut Work<'_>) {
        if work.now < self.due {
            return;
        }
        match self.step {
            Step::Opening | Step::Settling if self.tries >= OPEN_TRIES => self.end(ProbeOutcome::Lost, work),
            Step::Opening | Step::Settling => self.say(work),
            Step::Opened => self.step(Step::Settling, work),
            Step::Silent if self.is_late(work) => self.end(ProbeOutcome::Lost, work),
            Step::Silent => self.step(Step::Testing, work),
            Step::Testing if self.tries >= TRIES => self.end(self.judged(), work),
            Step::Testing => self.say(work),
            Step::Reporting(_) if self.tries >= REPORT_TRIES => self.step = Step::Done,
            Step::Reporting(_) => self.say(work),
            Step::Done => {}
        }
    }

    fn is_late(&self, work: &Work<'_>) -> bool {
        work.now - self.due > LATE + self.cell(work.order).silence() / LATE_PART
    }

    fn judged(&self) -> ProbeOutcome {
        match (self.passed, self.controls.count_ones() as u8) {
            (1.., _) => ProbeOutcome::Survived,
            (0, CONTROLS_NEEDED..) => ProbeOutcome::Expired,
            _ => ProbeOutcome::Lost,
        }
    }

    /// Something came to the side flow.
    pub(super) fn answered(&mut self, ack: &Ack, work: &mut Work<'_>) {
        let is_of_step = (self.first..=work.voice.sequence).contains(&ack.sequence);
        match self.step {
            Step::Opening if is_of_step => {
                self.measure(ack, work.now);
                (self.step, self.due) = (Step::Opened, self.sent_at + SETTLE);
            }
            Step::Settling if is_of_step => {
                self.measure(ack, work.now);
                self.fall_silent(work);
            }
            // A late answer to an earlier sending: not silent yet.
            Step::Silent => self.fall_silent(work),
            Step::Testing if self.mark(ack.sequence).is_some_and(|bit| set(&mut self.passed, bit)) => {
                self.end(ProbeOutcome::Survived, work);
            }
            Step::Reporting(_) if is_of_step => self.step = Step::Done,
            _ => {}
        }
    }

    /// The control of a question came to the main flow.
    pub(super) fn controlled(&mut self, ack: &Ack) {
        if let (Step::Testing, Some(bit)) = (self.step, self.mark(ack.sequence)) {
            set(&mut self.controls, bit);
        }
    }

    fn mark(&self, sequence: u32) -> Option<usize> {
        self.questions[..usize::from(self.tries.min(TRIES))].iter().position(|question| *question == sequence)
    }

    fn measure(&mut self, ack: &Ack, now: Duration) {
        if self.tries == 1 && ack.sequence == self.first {
            let rtt = now - self.sent_at;
            self.rtt = Some(self.rtt.map_or(rtt, |shortest| shortest.min(rtt)));
        }
    }

    /// The silence begins. It ends when a packet comes back to the NAT, about a round trip after it is asked for; the
    /// shorter of what was measured is taken, since a silence that was cut short might survive wrongly.
    fn fall_silent(&mut self, work: &Work<'_>) {
        let rtt = self.rtt.unwrap_or(UNMEASURED_RTT_MAX).min(work.rtt);
        self.step = Step::Silent;
        self.due = work.now + self.cell(work.order).silence().saturating_sub(rtt);
    }

    fn end(&mut self, outcome: ProbeOutcome, work: &mut Work<'_>) {
        let probed = Probed {
            cell: self.cell(work.order),
            is_unreplied: work.is_unreplied,
            outcome,
            controls: self.controls.count_ones() as u8,
            passed: self.passed.count_ones() as u8,
        };
        work.out.push(Output::Event(Event::Probed(probed)));
        self.step(Step::Reporting(outcome), work);
    }

    fn step(&mut self, step: Step, work: &mut Work<'_>) {
        (self.step, self.tries) = (step, 0);
        self.say(work);
        self.first = work.voice.sequence;
    }

    /// Sends what the step sends, once more.
    fn say(&mut self, work: &mut Work<'_>) {
        let (phase, outcome) = match self.step {
            Step::Opening => (ProbePhase::Open, ProbeOutcome::Lost),
            Step::Settling => (ProbePhase::Settle, ProbeOutcome::Lost),
            Step::Testing => (ProbePhase::Test, ProbeOutcome::Lost),
            Step::Reporting(outcome) => (ProbePhase::Report, outcome),
            Step::Opened | Step::Silent | Step::Done => return,
        };
        let (controls, passed) = (self.controls.count_ones() as u8, self.passed.count_ones() as u8);
        let report = ProbeReport { order: work.order, flow: self.index, phase, outcome, controls, passed };
        let flags = if work.is_unreplied { sent::UNREPLIED } else { 0 };
        let request = work.voice.probe(flags, report);
        let flow = if phase == ProbePhase::Test { Flow::MAIN } else { self.flow() };
        work.out.push(Output::Send { flow, message: Message::Request(request) });
        if phase == ProbePhase::Test {
            self.questions[usize::from(self.tries)] = request.sequence;
        }
        self.tries += 1;
        self.sent_at = work.now;
        self.due = work.now
            + match (phase, self.tries) {
                (ProbePhase::Test, TRIES) => ANSWER_WAIT,
                (ProbePhase::Test, _) => TRY_EVERY,
                _ => work.retry,
            };
    }
}

/// Sets the bit; true where it was not set.
fn set(bits: &mut u8, bit: usize) -> bool {
    let before = std::mem::replace(bits, *bits | 1 << bit);
    before != *bits
}
