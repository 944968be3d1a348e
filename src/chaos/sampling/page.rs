//! What the exporter shows: the plant's counters, which move in steps, as counters that move all the time. A scrape that
//! comes between two steps would else read a rate that is off by a step's part of its interval.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::plan::Weather;

/// The page.
#[derive(Debug)]
pub(super) struct Page {
    series: Vec<String>,
    step: Duration,
    before: Vec<Option<f64>>,
    now: Vec<Option<f64>>,
    at: Instant,
    frozen: Option<String>,
    is_dead: bool,
}

impl Page {
    /// Of these series, with nothing counted yet.
    pub(super) fn new(series: Vec<String>, step: Duration) -> Self {
        let nothing = vec![Some(0.0); series.len()];
        Self { before: nothing.clone(), now: nothing, series, step, at: Instant::now(), frozen: None, is_dead: false }
    }

    /// A step has brought the counters here.
    pub(super) fn step(&mut self, counters: Vec<Option<f64>>, at: Instant) {
        self.before = std::mem::replace(&mut self.now, counters);
        self.at = at;
    }

    /// What is wrong from now on.
    pub(super) fn meet(&mut self, weather: &Weather, now: Instant) {
        self.is_dead = weather.is_dead;
        if weather.is_frozen != self.frozen.is_some() {
            self.frozen = weather.is_frozen.then(|| self.moving(now));
        }
    }

    /// In the text format; `None` while the exporter is dead.
    pub(super) fn text(&self, now: Instant) -> Option<String> {
        (!self.is_dead).then(|| self.frozen.clone().unwrap_or_else(|| self.moving(now)))
    }

    /// A step behind, so that what is shown never goes back.
    fn moving(&self, now: Instant) -> String {
        let part = (now.saturating_duration_since(self.at).as_secs_f64() / self.step.as_secs_f64()).min(1.0);
        let mut out = String::new();
        for ((name, before), now) in self.series.iter().zip(&self.before).zip(&self.now) {
            let Some(now) = now else { continue };
            let before = before.unwrap_or(0.0);
            let _ = writeln!(out, "{name} {}", before + part * (now - before));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_move_between_two_steps_and_wait_for_a_third() {
        let start = Instant::now();
        let mut page = Page::new(vec!["a_total".into(), "b_total".into()], Duration::from_millis(200));
        page.step(vec![Some(10.0), None], start);
        page.step(vec![Some(20.0), Some(4.0)], start);
        let after = |ms| page.text(start + Duration::from_millis(ms)).expect("alive");
        assert_eq!(after(100), "a_total 15\nb_total 2\n");
        assert_eq!(after(900), "a_total 20\nb_total 4\n");
    }

    #[test]
    fn a_frozen_page_stays_and_a_dead_one_is_none() {
        let start = Instant::now();
        let mut page = Page::new(vec!["a_total".into()], Duration::from_millis(200));
        page.meet(&Weather { is_frozen: true, ..Weather::default() }, start);
        page.step(vec![Some(10.0)], start);
        assert_eq!(page.text(start + Duration::from_secs(1)).as_deref(), Some("a_total 0\n"));
        page.meet(&Weather { is_dead: true, ..Weather::default() }, start);
        assert_eq!(page.text(start), None);
        page.meet(&Weather::default(), start);
        assert_eq!(page.text(start + Duration::from_secs(1)).as_deref(), Some("a_total 10\n"));
    }
}
