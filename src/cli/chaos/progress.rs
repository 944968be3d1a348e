//! One line while a scenario runs, on standard error: redrawn on a terminal, else a line now and then.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use super::{is_over, whole_seconds};
use crate::chaos::Progress;

/// Where nothing can be redrawn.
const EVERY: Duration = Duration::from_secs(5);

/// The line.
pub(super) struct ProgressLine<'a> {
    name: &'a str,
    is_terminal: bool,
    shown_at: Option<Instant>,
    phase: String,
}

impl<'a> ProgressLine<'a> {
    pub(super) fn new(name: &'a str) -> Self {
        Self { name, is_terminal: std::io::stderr().is_terminal(), shown_at: None, phase: String::new() }
    }

    /// Shows how far it is. A terminal that cannot be written to needs no progress.
    pub(super) fn show(&mut self, progress: &Progress<'_>) {
        let is_new = self.phase != progress.phase;
        if !self.is_terminal && !is_new && !is_over(self.shown_at, EVERY) {
            return;
        }
        self.shown_at = Some(Instant::now());
        progress.phase.clone_into(&mut self.phase);
        let line = line(self.name, progress);
        let mut out = std::io::stderr().lock();
        let _ = if self.is_terminal { write!(out, "\r\x1b[K{line}") } else { writeln!(out, "{line}") };
        let _ = out.flush();
    }

    /// Leaves the terminal as it was.
    pub(super) fn wipe(&self) {
        if self.is_terminal {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}

fn line(name: &str, progress: &Progress<'_>) -> String {
    let Progress { phase, figures, .. } = progress;
    let (at, of) = (progress.at.as_secs(), whole_seconds(progress.duration));
    let phase = if phase.is_empty() { String::new() } else { format!("{phase}: ") };
    format!("{name} {at}/{of}  {phase}{figures}")
}
