//! Where events go: a line each, flushed. A reader that went away, as `head` does, ends the command well.

use std::io::{self, Write as _};
use std::ops::ControlFlow;

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::machine::Event;

use super::super::Failure;
use super::{json, line};
use crate::time::Clock;

/// How events are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// For people.
    Lines,
    /// For people, of several devices.
    NamedLines,
    /// JSON lines.
    Json,
}

/// Standard output, in one style.
#[derive(Debug)]
pub(super) struct Output {
    style: Style,
    clock: Clock,
}

/// Something to show, whatever the transport.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shown {
    /// Joined: from here to there.
    Connected {
        /// This end.
        local: String,
        /// The server.
        server: String,
    },
    /// Of the device's machine.
    Event(Event),
    /// Something fails; with its causes.
    Trouble(String),
}

impl Output {
    pub(super) fn new(style: Style) -> Self {
        Self { style, clock: Clock::start() }
    }

    /// Shows one event of a device; tells whether anybody still reads.
    pub(super) fn show(&mut self, device: DeviceId, shown: &Shown) -> Result<ControlFlow<()>, Failure> {
        let at = self.clock.now().wall;
        let text = match self.style {
            Style::Json => json::line(device, at, shown),
            Style::Lines => line::line(at, shown),
            Style::NamedLines => format!("{device}  {}", line::line(at, shown)),
        };
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => Ok(ControlFlow::Continue(())),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
            Err(error) => Err(Failure::Runtime(anyhow::Error::from(error).context("standard output"))),
        }
    }
}
