//! An event as a JSON line: `event`, `device`, `at`, and the event's own fields, each with its unit in its name.

use std::time::Duration;

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::machine::{Event, Probed};
use flyball_sdk::device::probe::ProbeOutcome;
use serde::Serialize;

use super::output::Shown;
use crate::time::WallTime;

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    what: What<'a>,
    device: String,
    at: String,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum What<'a> {
    Connected { local: &'a str, server: &'a str },
    Acked { sequence: u32, tries: u32, took_ms: f64, next_s: f64 },
    Unanswered { tries: u32 },
    Stream,
    Moved,
    Pace { generation: u64, interval_s: f64, jitter_s: f64, retry_s: f64, hostile: bool },
    Hostile { hostile: bool },
    Probing { flows: u8, shortest_s: f64, longest_s: f64 },
    Probed { silence_s: f64, binding: &'static str, outcome: &'static str, controls: u8, passed: u8 },
    Trouble { error: &'a str },
}

/// The line, its end included.
pub(super) fn line(device: DeviceId, at: WallTime, shown: &Shown) -> String {
    let line = Line { what: what(shown), device: device.to_string(), at: at.rfc3339() };
    let mut text = serde_json::to_string(&line).expect("strings and numbers only");
    text.push('\n');
    text
}

fn what(shown: &Shown) -> What<'_> {
    match shown {
        Shown::Connected { local, server } => What::Connected { local, server },
        Shown::Trouble(error) => What::Trouble { error },
        Shown::Event(event) => of_machine(event),
    }
}

fn of_machine(event: &Event) -> What<'static> {
    match *event {
        Event::Acked { sequence, took, tries, next } => {
            What::Acked { sequence, tries, took_ms: rounded(took) * 1_000.0, next_s: rounded(next) }
        }
        Event::Unanswered { tries } => What::Unanswered { tries },
        Event::Stream => What::Stream,
        Event::Moved => What::Moved,
        Event::Pace(pace) => What::Pace {
            generation: pace.generation,
            interval_s: rounded(pace.interval),
            jitter_s: rounded(pace.jitter_max()),
            retry_s: rounded(pace.retry_wait(1)),
            hostile: pace.is_hostile,
        },
        Event::Hostile(hostile) => What::Hostile { hostile },
        Event::Probing { flows, shortest, longest } => {
            What::Probing { flows, shortest_s: rounded(shortest), longest_s: rounded(longest) }
        }
        Event::Probed(probed) => of_probe(&probed),
    }
}

fn of_probe(probed: &Probed) -> What<'static> {
    What::Probed {
        silence_s: rounded(probed.cell.silence()),
        binding: binding(probed),
        outcome: outcome(probed.outcome),
        controls: probed.controls,
        passed: probed.passed,
    }
}

/// Which timeout a test was about.
pub(super) fn binding(probed: &Probed) -> &'static str {
    if probed.is_unreplied { "unreplied" } else { "stream" }
}

/// How a test ended, in one word.
pub(super) fn outcome(outcome: ProbeOutcome) -> &'static str {
    match outcome {
        ProbeOutcome::Survived => "survived",
        ProbeOutcome::Expired => "expired",
        ProbeOutcome::Lost => "lost",
    }
}

/// In seconds, to the millisecond.
fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use flyball_sdk::device::jitter::Pace;
    use flyball_sdk::device::probe::Cell;

    #[test]
    fn an_event_is_one_object_with_units_in_its_names() {
        let at = WallTime::from_unix_ms(1_795_400_000_000);
        let said = |event| line(DeviceId([0xab; 16]), at, &Shown::Event(event));
        let interval = Duration::from_millis(84_200);
        let pace = Pace { generation: 7, interval, jitter: 64, retry: 0, is_hostile: false };
        let tail = ",\"device\":\"abababababababababababababababab\",\"at\":\"2026-11-23T02:13:20.000Z\"}\n";
        assert_eq!(
            said(Event::Pace(pace)),
            format!(
                r#"{{"event":"pace","generation":7,"interval_s":84.2,"jitter_s":21.05,"retry_s":3.0,"hostile":false{tail}"#
            )
        );
        let took = Duration::from_micros(12_345);
        assert_eq!(
            said(Event::Acked { sequence: 3, took, tries: 1, next: interval }),
            format!(r#"{{"event":"acked","sequence":3,"tries":1,"took_ms":12.0,"next_s":84.2{tail}"#)
        );
        let cell = Cell::new(1_000);
        let probed = Probed { cell, is_unreplied: false, outcome: ProbeOutcome::Expired, controls: 3, passed: 0 };
        assert_eq!(
            said(Event::Probed(probed)),
            format!(
                r#"{{"event":"probed","silence_s":73.288,"binding":"stream","outcome":"expired","controls":3,"passed":0{tail}"#
            )
        );
    }
}
