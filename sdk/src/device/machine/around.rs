//! What a flow works with: the time, the pace, the device's voice, and where to put what it wants done.

use std::time::Duration;

use super::bounds::GAP_MIN;
use super::output::{Event, Flow, Message, Output};
use super::voice::Voice;
use crate::device::jitter::Pace;

/// Around a flow.
pub(super) struct Around<'a> {
    pub(super) now: Duration,
    pub(super) pace: Pace,
    pub(super) voice: &'a mut Voice,
    pub(super) out: &'a mut Vec<Output>,
}

impl Around<'_> {
    pub(super) fn send(&mut self, flow: Flow, message: Message) {
        self.out.push(Output::Send { flow, message });
    }

    pub(super) fn event(&mut self, event: Event) {
        self.out.push(Output::Event(event));
    }

    /// From the `tries`-th sending to the next, if nothing answers.
    pub(super) fn retry_wait(&self, tries: u32) -> Duration {
        self.pace.retry_wait(tries).max(GAP_MIN)
    }
}
