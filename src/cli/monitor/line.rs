//! An event as a line for people: when, what, who, and what happened in words.

use std::fmt::Write as _;
use std::time::Duration;

use crate::monitor::event::{Event, EventKind};

/// Widths of the first columns; a longer value pushes the rest.
const WIDTHS: [usize; 4] = [24, 15, 32, 30];
/// A gap that is longer than its silence by less than this is the same to people.
const SAME: Duration = Duration::from_millis(100);

/// What is above the first line.
pub(super) fn heading() -> String {
    columns(["time", "event", "device", "cohort"], "what happened")
}

/// The line, its end included.
pub(super) fn line(event: &Event) -> String {
    let device = event.device.map_or_else(|| "-".to_owned(), |device| device.to_string());
    columns([&event.at.rfc3339(), event.kind.as_str(), &device, &event.cohort], &words(event))
}

fn columns(first: [&str; 4], last: &str) -> String {
    let mut text = String::new();
    for (column, width) in first.iter().zip(WIDTHS) {
        let _ = write!(text, "{column:<width$}  ");
    }
    text + last + "\n"
}

/// What happened, without when and to whom.
pub(super) fn words(event: &Event) -> String {
    let (from, to) = (event.path.from, event.path.to);
    let silent = silent(event);
    match event.kind {
        EventKind::New => format!("first packet, from {to}"),
        EventKind::Rebinding if event.is_rebooted => format!("{silent}, rebooted: {from} -> {to}"),
        EventKind::Rebinding => format!("{silent}, {} lost: {from} -> {to}", binding(event)),
        EventKind::Migration => format!("{silent}, moved with a new connection id: {from} -> {to}"),
        EventKind::Gap => format!("{silent}, {} survived at {to}{}", binding(event), missed(event)),
        EventKind::Jump => format!("{silent} at {to}{}", missed(event)),
        EventKind::TcpUnreachable => match event.gap {
            Some(gap) => format!("established, and nothing got through to {to} for {}", seconds(gap)),
            None => format!("established, and nothing gets through to {to}"),
        },
    }
}

fn silent(event: &Event) -> String {
    match (event.silence, event.gap) {
        (Some(silence), Some(gap)) if gap > silence + SAME => {
            format!("silent {} and {} from the device", seconds(silence), seconds(gap))
        }
        (Some(silence), _) => format!("silent {}", seconds(silence)),
        (None, _) => "silent while nobody watched".to_owned(),
    }
}

/// What a NAT grants a binding depends on whether it was answered.
fn binding(event: &Event) -> &'static str {
    match (event.binding.is_replied, event.binding.is_stream) {
        (_, true) => "stream binding",
        (true, false) => "binding",
        (false, false) => "unanswered binding",
    }
}

fn missed(event: &Event) -> String {
    match event.missed {
        0 => String::new(),
        1 => ", 1 packet missed".to_owned(),
        more => format!(", {more} packets missed"),
    }
}

/// `45.1 s`, `2 m 05 s`, `3 h 02 m`.
pub(super) fn seconds(time: Duration) -> String {
    let whole = time.as_secs();
    match whole {
        0..100 => format!("{:.1} s", time.as_secs_f64()),
        100..3_600 => format!("{} m {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} m", whole / 3_600, whole % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short_and_keep_what_matters() {
        let table = [(0.04, "0.0 s"), (45.14, "45.1 s"), (99.9, "99.9 s"), (125.0, "2 m 05 s"), (10_950.0, "3 h 02 m")];
        for (time, expected) in table {
            assert_eq!(seconds(Duration::from_secs_f64(time)), expected);
        }
    }
}
