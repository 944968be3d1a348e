//! A test on a side flow, as the device makes it: open, settle, be silent, test, report.

use std::time::Duration;

use flyball_sdk::device::probe::{ProbeOrder, ProbeOutcome, SETTLE, TRIES, TRY_EVERY};

use super::nat::Binding;
use crate::keepalive::observation::{BindingClass, Probe};
use crate::time::MonoTime;

/// Time between two sendings of what was not answered.
pub(super) const AGAIN: Duration = Duration::from_secs(3);
/// Sendings of the packet that opens a flow, or settles it.
pub(super) const OPEN_TRIES: u8 = 5;
/// Sendings of a report.
pub(super) const REPORT_TRIES: u8 = 10;

/// One flow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flow {
    pub(super) device: u32,
    pub(super) boot: u32,
    pub(super) class: BindingClass,
    pub(super) silence: Duration,
    pub(super) binding: Binding,
    pub(super) stage: Stage,
    /// Sendings in this stage.
    pub(super) tries: u8,
    /// Whether the server has heard of the flow: else it cannot send there.
    pub(super) is_heard: bool,
    pub(super) controls: u8,
    pub(super) passed: u8,
    /// Whether the server has heard the outcome.
    pub(super) is_reported: bool,
    port: u32,
}

/// Where a test is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Open,
    Settle,
    Test,
    Report,
}

impl Flow {
    pub(super) fn new(device: u32, boot: u32, order: ProbeOrder, flow: u16, class: BindingClass) -> Self {
        Self {
            device,
            boot,
            class,
            silence: order.cell(flow).silence(),
            binding: Binding::none(0),
            stage: Stage::Open,
            tries: 0,
            is_heard: false,
            controls: 0,
            passed: 0,
            is_reported: false,
            port: 0,
        }
    }

    /// Opened or settled, and answered where it is to be: what comes next, and when.
    pub(super) fn went_on(&mut self, now: MonoTime) -> MonoTime {
        self.tries = 0;
        self.port = self.binding.port;
        let is_silent_from_now = self.class == BindingClass::Unreplied || self.stage == Stage::Settle;
        self.stage = if is_silent_from_now { Stage::Test } else { Stage::Settle };
        now.plus(if is_silent_from_now { self.silence } else { SETTLE })
    }

    /// One try of the test was made.
    pub(super) fn tried(&mut self, now: MonoTime, is_controlled: bool, has_passed: bool) -> MonoTime {
        self.tries += 1;
        self.controls += u8::from(is_controlled);
        self.passed += u8::from(has_passed);
        if self.tries >= TRIES {
            (self.stage, self.tries) = (Stage::Report, 0);
        }
        now.plus(TRY_EVERY)
    }

    /// What it came to, told from the side flow, whose port the server sees.
    pub(super) fn result(&self, device: flyball_sdk::device::id::DeviceId) -> Probe {
        let outcome = match (self.passed, self.controls) {
            (1.., _) => ProbeOutcome::Survived,
            (0, 1..) if self.is_heard => ProbeOutcome::Expired,
            _ => ProbeOutcome::Lost,
        };
        let is_port_kept = Some(self.binding.port == self.port);
        let (class, silence, controls) = (self.class, self.silence, self.controls);
        Probe { device, class, silence, outcome, controls, is_port_kept }
    }
}
