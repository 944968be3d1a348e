//! An event as a line for people.

use flyball_sdk::device::machine::{Event, Probed};
use flyball_sdk::device::probe::ProbeOutcome;

use super::json::{binding, outcome};
use super::output::Shown;
use crate::document::values::format_duration;
use crate::time::WallTime;
use std::time::Duration;

/// After so many sendings without an answer it is said, once for each beat, what to look at.
const HINT_AT: u32 = 3;
/// A server says nothing to whom it does not know: a wrong key and a dead server look alike from here.
const HINT: &str = "does UDP pass to the server, and is the key this id's? A wrong key is not answered";

/// The line, its end included.
pub(super) fn line(at: WallTime, shown: &Shown) -> String {
    let (event, what) = match shown {
        Shown::Connected { local, server } => ("connected", format!("{local} -> {server}")),
        Shown::Trouble(error) => ("trouble", error.clone()),
        Shown::Event(event) => of_machine(event),
    };
    format!("{}  {event:<10}  {what}\n", at.rfc3339())
}

fn of_machine(event: &Event) -> (&'static str, String) {
    match event {
        Event::Acked { took, tries: 1, next, .. } => {
            ("acked", format!("after {}, next in {}", short(*took), short(*next)))
        }
        Event::Acked { took, tries, next, .. } => {
            ("acked", format!("after {} and {tries} sendings, next in {}", short(*took), short(*next)))
        }
        Event::Unanswered { tries: 1 } => ("unanswered", "sent again".to_owned()),
        Event::Unanswered { tries: HINT_AT } => ("unanswered", format!("{HINT_AT} times, sent again; {HINT}")),
        Event::Unanswered { tries } => ("unanswered", format!("{tries} times, sent again")),
        Event::Stream => ("stream", "the binding has the NAT's long timeout".to_owned()),
        Event::Moved => ("moved", "the server sees another address; answered".to_owned()),
        Event::Pace(pace) => {
            let (interval, jitter) = (short(pace.interval), short(pace.jitter_max()));
            ("pace", format!("every {interval}, and up to {jitter} on top (generation {})", pace.generation))
        }
        Event::Hostile(true) => ("hostile", "the NAT forgets sooner than any allowed interval can serve".to_owned()),
        Event::Hostile(false) => ("hostile", "no longer".to_owned()),
        Event::Probing { flows: 1, shortest, .. } => ("probing", format!("a silence of {}", short(*shortest))),
        Event::Probing { flows, shortest, longest } => {
            ("probing", format!("{flows} silences of {} to {}", short(*shortest), short(*longest)))
        }
        Event::Probed(probed) => ("probed", of_probe(probed)),
    }
}

fn of_probe(probed: &Probed) -> String {
    let what =
        format!("{} on a {} binding: {}", short(probed.cell.silence()), binding(probed), outcome(probed.outcome));
    match probed.outcome {
        ProbeOutcome::Survived => what,
        ProbeOutcome::Expired | ProbeOutcome::Lost => format!("{what}, {} of 3 controls came", probed.controls),
    }
}

/// To the millisecond, and to the tenth of a second from a second on.
fn short(time: Duration) -> String {
    if time < Duration::from_millis(1) {
        return "less than 1ms".to_owned();
    }
    let unit = if time < Duration::from_secs(1) { 1_000_000 } else { 100_000_000 };
    let nanos = u64::try_from((time.as_nanos() + unit / 2) / unit * unit).unwrap_or(u64::MAX);
    format_duration(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_is_said_in_words() {
        let at = WallTime::from_unix_ms(1_795_400_000_000);
        let said = |event| line(at, &Shown::Event(event));
        let next = Duration::from_millis(91_049);
        let once = Event::Acked { sequence: 3, took: Duration::from_micros(12_345), tries: 1, next };
        assert_eq!(said(once), "2026-11-23T02:13:20.000Z  acked       after 12ms, next in 1m31s\n");
        let often = Event::Acked { sequence: 3, took: Duration::from_millis(6_012), tries: 3, next };
        assert!(said(often).ends_with("acked       after 6s and 3 sendings, next in 1m31s\n"), "{}", said(often));
        assert!(said(Event::Unanswered { tries: 3 }).ends_with("A wrong key is not answered\n"));
        let soon = Event::Acked { sequence: 3, took: Duration::from_micros(345), tries: 1, next };
        assert!(said(soon).ends_with("acked       after less than 1ms, next in 1m31s\n"), "{}", said(soon));
        assert!(said(Event::Unanswered { tries: 2 }).ends_with("unanswered  2 times, sent again\n"));
    }
}
