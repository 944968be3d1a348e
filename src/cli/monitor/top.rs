//! `--top`: the view once a second, drawn over itself on the terminal's other screen: what was there before is there again
//! when it ends. Fits 24 lines.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::line::words;
use super::table::{rows_of, troubles};
use crate::monitor::event::Event;
use crate::monitor::view::{Cohort, View};

/// Cohorts that are shown, those with the most rebindings first.
const COHORTS_SHOWN: usize = 9;
/// Events that are shown, the last ones.
const EVENTS_SHOWN: usize = 6;
/// Characters of the bar that shows how full the device map is.
const BAR: usize = 30;
/// The other screen, no cursor, long lines cut.
const BEGIN: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
/// And back.
const END: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/// To the first line; each line clears what it had, and what is below is cleared last.
const HOME: &str = "\x1b[H";

/// What the live view remembers between two pictures.
pub(super) struct Top {
    is_begun: bool,
    events: VecDeque<String>,
    before: Option<(Instant, Cohort)>,
}

impl Top {
    pub(super) fn new() -> Self {
        Self { is_begun: false, events: VecDeque::new(), before: None }
    }

    /// Gives the terminal back as it was.
    pub(super) const fn restore() -> &'static str {
        END
    }

    /// Remembers an event.
    pub(super) fn note(&mut self, event: &Event) {
        let at = event.at.rfc3339();
        let time = at.get(11..19).unwrap_or(&at);
        let device = event.device.map_or_else(|| "-".to_owned(), |device| device.to_string());
        let line = format!("{time}  {:<15}  {device:.12}  {}  {}", event.kind.as_str(), event.cohort, words(event));
        self.events.truncate(EVENTS_SHOWN - 1);
        self.events.push_front(line);
    }

    /// The picture, with what is needed to draw it over the last one.
    pub(super) fn draw(&mut self, view: &View) -> String {
        let now = Instant::now();
        let all = view.all();
        let passed = self.before.as_ref().map(|(at, before)| (now.duration_since(*at), before));
        let picture = picture(view, &all, passed, &self.events);
        self.before = Some((now, all));
        let begin = if std::mem::replace(&mut self.is_begun, true) { "" } else { BEGIN };
        format!("{begin}{HOME}{}\x1b[J", picture.replace('\n', "\x1b[K\r\n"))
    }
}

fn picture(view: &View, all: &Cohort, before: Option<(Duration, &Cohort)>, events: &VecDeque<String>) -> String {
    let mut text = rates(all, before);
    text += &fill(view);
    let mut cohorts = view.cohorts();
    cohorts.sort_by_key(|cohort| std::cmp::Reverse((cohort.totals.rebindings, cohort.totals.from)));
    let more = cohorts.len().saturating_sub(COHORTS_SHOWN);
    text.push('\n');
    text += &rows_of(cohorts.into_iter().take(COHORTS_SHOWN));
    if more > 0 {
        let _ = writeln!(text, "and {more} more");
    }
    text.push('\n');
    for event in events {
        let _ = writeln!(text, "{event}");
    }
    text + &troubles(view)
}

fn rates(all: &Cohort, before: Option<(Duration, &Cohort)>) -> String {
    let Some((passed, before)) = before else { return "counting\n".to_owned() };
    let passed = passed.as_secs_f64().max(0.001);
    let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / passed;
    let (now, then) = (&all.totals, &before.totals);
    format!(
        "{:.0} packets/s from devices, {:.0} to them   {:.1} rebindings/s, {:.1} new/s, {:.1} missed/s\n",
        rate(now.from, then.from),
        rate(now.to, then.to),
        rate(now.rebindings, then.rebindings),
        rate(now.new_devices, then.new_devices),
        rate(now.missed, then.missed),
    )
}

fn fill(view: &View) -> String {
    let Some(census) = view.census() else { return "devices: not counted yet\n".to_owned() };
    let share = f64::from(census.devices) / f64::from(census.capacity.max(1));
    let full = ((share * BAR as f64).round() as usize).min(BAR);
    let bar = format!("{}{}", "█".repeat(full), "░".repeat(BAR - full));
    format!("devices  {bar}  {} of {} ({:.1} %)\n", census.devices, census.capacity, 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::event::Decoder;
    use crate::monitor::key::Key;
    use crate::monitor::prefixes::UNKNOWN;
    use crate::monitor::synthetic;
    use crate::time::WallTime;

    fn story() -> (View, Vec<Event>) {
        let names = vec![UNKNOWN.into(), "carrier=a,region=eu".into()];
        let mut view = View::new(Decoder::new(Key::Heartbeat, names, WallTime::default()));
        let [_, (_, frames)] = synthetic::stories();
        let events = frames.into_iter().filter_map(|frame| view.take(frame).ok().flatten()).collect();
        (view, events)
    }

    #[test]
    fn a_picture_fits_a_small_terminal_however_much_happened() {
        let (view, events) = story();
        let mut top = Top::new();
        events.iter().cycle().take(100).for_each(|event| top.note(event));
        let (first, second) = (top.draw(&view), top.draw(&view));
        assert!(first.starts_with(BEGIN) && !second.contains(BEGIN));
        assert!(second.matches("\r\n").count() < 24, "{second}");
        assert!(second.contains("3 of 1500 (0.2 %)") && second.contains("0 packets/s from devices"), "{second}");
    }
}
