//! What the demo shows: one line a second, or on a terminal a small table that is drawn over itself, and a summary.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _, stdout};

use super::fleet::CarrierSecond;
use super::{carriers, pictures, story};
use crate::sampling::decision::PolicyDecision;

/// Lines between two headings, where lines are not drawn over.
const HEADING_EVERY: u64 = 15;
/// Lines between two blocks of the carriers, likewise.
const CARRIERS_EVERY: u64 = 5;
/// Seconds that are remembered, for the pictures and the summary: whole rounds of the story.
const REMEMBERED_SECONDS: usize = 3_600;

/// One second of the demo, from the controller's own decision and the plant's truth.
#[derive(Debug, Clone)]
pub(super) struct Second {
    pub(super) at: u64,
    pub(super) demand: f64,
    pub(super) received: f64,
    pub(super) lost: f64,
    pub(super) capacity: f64,
    pub(super) decision: Option<std::sync::Arc<PolicyDecision>>,
    /// Each carrier of the second loop.
    pub(super) carriers: Vec<CarrierSecond>,
    /// Each service's name, true requests/s and the probability that its SDK uses.
    pub(super) services: Vec<(&'static str, f64, f64)>,
}

/// Where and how the demo is shown.
pub(super) struct Screen {
    is_live: bool,
    drawn: usize,
    seconds: Vec<Second>,
}

impl Screen {
    pub(super) fn new(headless: bool) -> Self {
        Self { is_live: !headless && stdout().is_terminal(), drawn: 0, seconds: Vec::new() }
    }

    /// Plain text, above the live table.
    pub(super) fn say(&mut self, text: &str) {
        self.erase();
        write_out(&format!("{text}\n"));
    }

    /// Shows one more second.
    pub(super) fn show(&mut self, second: Second) {
        if let Some(event) = story::event(second.at) {
            self.say(&format!("{:>4}s  ── {event}", second.at));
        }
        if self.seconds.len() == REMEMBERED_SECONDS {
            self.seconds.remove(0);
        }
        self.seconds.push(second);
        if self.is_live { self.redraw() } else { self.print_line() }
    }

    /// The last seconds, at most an hour.
    pub(super) fn seconds(&self) -> &[Second] {
        &self.seconds
    }

    fn print_line(&self) {
        let Some(second) = self.seconds.last() else { return };
        if (self.seconds.len() as u64 - 1).is_multiple_of(HEADING_EVERY) {
            write_out(&format!("{}\n", heading(second)));
        }
        write_out(&format!("{}\n", line(second)));
        if second.at.is_multiple_of(CARRIERS_EVERY) {
            write_out(&carriers::block(second, &self.seconds));
        }
    }

    fn redraw(&mut self) {
        let Some(second) = self.seconds.last() else { return };
        let table = table(second, &self.seconds);
        self.erase();
        // Lines that a narrow terminal would wrap are cut instead: what is drawn over must have as many lines as it had.
        write_out(&format!("\x1b[?7l{table}\x1b[?7h"));
        self.drawn = table.lines().count();
    }

    fn erase(&mut self) {
        if self.drawn > 0 {
            write_out(&format!("\x1b[{}A\x1b[J", self.drawn));
            self.drawn = 0;
        }
    }
}

/// A reader that went away, as `head` does, ends nothing.
fn write_out(text: &str) {
    let mut out = stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn heading(second: &Second) -> String {
    let mut text = columns("time", "demand", "received", "lost", "budget", "why");
    for (name, ..) in &second.services {
        let _ = write!(text, " {name:>14}");
    }
    text.push('\n');
    text += &columns("", "req/s", "spans/s", "", "spans/s", "");
    for _ in &second.services {
        let _ = write!(text, " {:>14}", "req/s  prob.");
    }
    text
}

fn line(second: &Second) -> String {
    let mut text = columns(
        &format!("{}s", second.at),
        &format!("{:.0}", second.demand),
        &format!("{:.0}", second.received),
        &percent(second.loss_ratio()),
        &second.budget(),
        second.why(),
    );
    for (_, demand, probability) in &second.services {
        let _ = write!(text, " {demand:>6.0} {probability:>7.3}");
    }
    text
}

fn columns(time: &str, demand: &str, received: &str, lost: &str, budget: &str, why: &str) -> String {
    format!("{time:>5} {demand:>7} {received:>9} {lost:>7} {budget:>8}  {why:<13}")
}

fn table(second: &Second, all: &[Second]) -> String {
    let pictures = pictures::rows(all);
    format!("{}\n{}\n\n{pictures}\n{}", heading(second), line(second), carriers::block(second, all))
}

/// How it went, against what a fixed probability would have done with the same story.
pub(super) fn summary(seconds: &[Second], kept: Critical) -> String {
    let length = seconds.len().max(1) as f64;
    let sum = |of: fn(&Second) -> f64| seconds.iter().map(of).sum::<f64>();
    let (received, lost, capacity) = (sum(|s| s.received), sum(|s| s.lost), sum(|s| s.capacity));
    let loss = if received > 0.0 { lost / received } else { 0.0 };
    let mut text = format!("\nWhat the tracing backend saw in {} s:\n", seconds.len());
    let mut row = |name: &str, lost: f64, accepted: f64| {
        let _ = writeln!(text, "  {name:<38} {:>7} lost {accepted:>7.0} spans/s kept", percent(lost));
    };
    row("Flyball", loss, (received - lost) / length);
    for (name, probability) in [("a fixed probability of 1", 1.0), ("a fixed probability of 0.1", 0.1)] {
        let (lost, accepted) = story::with_fixed_probability(probability, seconds.len() as u64);
        row(&format!("{name} (computed)"), lost, accepted);
    }
    let _ = writeln!(text, "  its capacity was {:.0} spans/s on average.", capacity / length);
    let _ = writeln!(
        text,
        "Requests that failed: {}; {} of their traces were not sampled and kept all the same\n(`flyball.kept=error`), beside {} slow ones.",
        kept.failed, kept.errors, kept.slow
    );
    let _ = writeln!(text, "\nThe last {} seconds, each row up to its own maximum:", pictures::tail(seconds).len());
    text += &pictures::rows(seconds);
    text + &carriers::summary(seconds)
}

/// Critical traces that the span processors of the services kept.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Critical {
    pub(super) failed: u64,
    pub(super) errors: u64,
    pub(super) slow: u64,
}

fn percent(ratio: f64) -> String {
    format!("{:.1} %", 100.0 * ratio)
}

impl Second {
    fn loss_ratio(&self) -> f64 {
        if self.received > 0.0 { self.lost / self.received } else { 0.0 }
    }

    fn budget(&self) -> String {
        let budget = self.decision.as_ref().and_then(|d| d.inputs.budget_spans_per_second);
        budget.map_or_else(|| "-".to_owned(), |b| format!("{b:.0}"))
    }

    fn why(&self) -> &'static str {
        match &self.decision {
            Some(decision) => match decision.degraded {
                Some(reason) => reason.as_str(),
                None => decision.inputs.budget_reason.as_str(),
            },
            None => "-",
        }
    }
}
