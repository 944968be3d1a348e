//! Where events go: a line each, flushed. A reader that went away, as `head` does, ends the command well.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::ops::ControlFlow;

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::machine::Event;
use tonic::Status;

use super::super::Failure;
use super::{json, line};
use crate::time::Clock;

/// How events are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// For people.
    Lines,
    /// JSON lines.
    Json,
}

/// Standard output, in one style.
#[derive(Debug)]
pub(super) struct Output {
    style: Style,
    device: DeviceId,
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
    pub(super) fn new(style: Style, device: DeviceId) -> Self {
        Self { style, device, clock: Clock::start() }
    }

    /// Shows one event; tells whether anybody still reads.
    pub(super) fn show(&mut self, shown: &Shown) -> Result<ControlFlow<()>, Failure> {
        let at = self.clock.now().wall;
        let text = match self.style {
            Style::Json => json::line(self.device, at, shown),
            Style::Lines => line::line(at, shown),
        };
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => Ok(ControlFlow::Continue(())),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
            Err(error) => Err(Failure::Runtime(anyhow::Error::from(error).context("standard output"))),
        }
    }
}

/// An error with its causes, in one line. Libraries repeat their causes, and a status says its code before its words: each
/// thing is said once.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // The SDK's errors hold it boxed, and so it is seen here.
        let status = error.downcast_ref::<Box<Status>>();
        let said = status.map_or_else(|| error.to_string(), |status| status.message().to_owned());
        cause = error.source();
        let is_last_of_it = cause.is_none_or(|cause| !said.ends_with(&cause.to_string()));
        if is_last_of_it && !text.ends_with(&said) {
            let _ = write!(text, ": {said}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use flyball_sdk::device::grpc::SessionError;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        #[source]
        source: Option<Box<dyn Error>>,
    }

    fn link(text: &'static str, source: Option<Box<dyn Error>>) -> Box<dyn Error> {
        Box::new(Link { text, source })
    }

    #[test]
    fn what_a_cause_repeats_is_said_once() {
        let refused = link("tcp connect error: refused", Some(link("refused", None)));
        let chained = link("cannot connect", Some(link("transport error", Some(refused))));
        assert_eq!(chain(&*chained), "cannot connect: transport error: refused");
        let broke = SessionError::Broke(Box::new(Status::unavailable("shutting down")));
        assert_eq!(chain(&broke), "the session broke: shutting down");
        let refused = SessionError::Refused(Box::new(Status::unauthenticated("wrong token")));
        assert_eq!(chain(&refused), "the server refuses the session: wrong token");
    }
}
