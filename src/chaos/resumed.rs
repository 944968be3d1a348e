//! Whether rollouts go on after a restart of the server where they were: the same wave, by what operators are told; the same
//! devices, by the intervals that these say they have.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flyball_sdk::device::id::DeviceId;
use serde_json::Value;

use super::bed::is_under_way;
use super::board::Said;

/// Steps of a rollout's history after which its devices have a reason to have another interval.
const MOVES: [&str; 3] = ["wave_began", "released", "rolled_back"];

/// Restarts that found a rollout under way.
#[derive(Debug, Default)]
pub(super) struct Resumed {
    restarts: Vec<Restart>,
}

/// The server stopped.
#[derive(Debug)]
struct Restart {
    at: Instant,
    rollouts: Vec<Interrupted>,
}

/// A rollout that was under way then.
#[derive(Debug)]
struct Interrupted {
    id: String,
    cohort: String,
    /// The old interval.
    from: Duration,
    /// The wave in which the next process goes on, once it said so.
    wave_after: Option<u64>,
    /// From when on its devices may have another interval.
    until: Option<Instant>,
}

/// What [`crate::simulate::fleet::metrics::FleetScore`] has of the same names.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Figures {
    pub(super) wave_after_restart: u64,
    pub(super) wave_devices: usize,
    pub(super) wave_devices_moved: usize,
}

impl Resumed {
    /// The server is about to stop; these are its rollouts.
    pub(super) fn stops(&mut self, at: Instant, rows: &Value) {
        let under_way = rows.as_array().into_iter().flatten().filter(|row| is_under_way(row));
        let rollouts: Vec<Interrupted> = under_way.filter_map(Interrupted::of).collect();
        if !rollouts.is_empty() {
            self.restarts.push(Restart { at, rollouts });
        }
    }

    /// Whether it is not known yet where a rollout goes on.
    pub(super) fn is_waiting(&self) -> bool {
        let last = self.restarts.last();
        last.is_some_and(|restart| restart.rollouts.iter().any(|rollout| rollout.wave_after.is_none()))
    }

    /// What a server that has started tells operators.
    pub(super) fn goes_on(&mut self, rows: &Value) {
        let Some(restart) = self.restarts.last_mut() else { return };
        for rollout in restart.rollouts.iter_mut().filter(|rollout| rollout.wave_after.is_none()) {
            let mut under_way = rows.as_array().into_iter().flatten().filter(|row| is_under_way(row));
            rollout.wave_after = under_way.find(|row| row["id"] == *rollout.id).and_then(|row| row["wave"].as_u64());
        }
    }

    /// Takes what happened to each of them: of an id, when and what, in the order of time.
    pub(super) fn read(&mut self, history: impl Fn(&str) -> Vec<(Instant, String)>) {
        for Restart { at, rollouts } in &mut self.restarts {
            for rollout in rollouts {
                let is_later = |(when, what): &(Instant, String)| when > at && MOVES.contains(&what.as_str());
                rollout.until = history(&rollout.id).into_iter().find(is_later).map(|(when, _)| when);
            }
        }
    }

    /// Of devices of which `cohort` tells the cohort that they were of at a moment.
    pub(super) fn figures(
        &self,
        said: &HashMap<DeviceId, Said>,
        cohort: impl Fn(&Said, Instant) -> Option<Arc<str>>,
    ) -> Figures {
        let (mut figures, mut moved) = (Figures::default(), HashSet::new());
        for Restart { at, rollouts } in &self.restarts {
            let waves = rollouts.iter().map(|rollout| rollout.wave_after.unwrap_or(0));
            (figures.wave_after_restart, figures.wave_devices) = (waves.min().unwrap_or(0), 0);
            for (device, said) in said {
                let name = cohort(said, *at);
                let theirs = rollouts.iter().find(|rollout| name.as_deref() == Some(&*rollout.cohort));
                let Some((is_new, is_moved)) = theirs.and_then(|rollout| rollout.arms(said, *at)) else { continue };
                figures.wave_devices += usize::from(is_new);
                moved.extend(is_moved.then_some(*device));
            }
        }
        figures.wave_devices_moved = moved.len();
        figures
    }
}

impl Interrupted {
    /// Of a row of `/api/v1/rollouts`.
    fn of(row: &Value) -> Option<Self> {
        let from = Duration::try_from_secs_f64(row["from_s"].as_f64()?).ok()?;
        let word = |key: &str| row[key].as_str().map(str::to_owned);
        Some(Self { id: word("id")?, cohort: word("cohort")?, from, wave_after: None, until: None })
    }

    /// Whether a device had the new interval at the stop, and whether it came to the other one; `None` of a device that had
    /// none.
    fn arms(&self, said: &Said, stop: Instant) -> Option<(bool, bool)> {
        let is_new = |until: Option<Instant>| {
            let told = said.paces.iter().rfind(|told| until.is_none_or(|until| told.at <= until));
            told.map(|told| told.interval > self.from)
        };
        let was_new = is_new(Some(stop))?;
        Some((was_new, is_new(self.until)? != was_new))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::board::Told;
    use super::*;

    const OLD: u64 = 2;
    const NEW: u64 = 4;

    fn row(wave: u64, state: &str) -> Value {
        json!([{"id": "r", "kind": "waves", "cohort": "carrier=a", "state": state, "wave": wave, "from_s": 2.0}])
    }

    /// Paces: seconds after the start, and the interval.
    fn said(start: Instant, paces: &[(u64, u64)]) -> Said {
        let told = |(at, interval): &(u64, u64)| Told {
            at: start + Duration::from_secs(*at),
            interval: Duration::from_secs(*interval),
            longest: Duration::from_secs(*interval),
            is_hostile: false,
        };
        Said { household: 0, port: 0, paces: paces.iter().map(told).collect() }
    }

    fn figures(resumed: &Resumed, start: Instant, devices: &[&[(u64, u64)]]) -> Figures {
        let said = (1..).zip(devices).map(|(i, paces)| (DeviceId([i; 16]), said(start, paces))).collect();
        resumed.figures(&said, |_, _| Some("carrier=a".into()))
    }

    #[test]
    fn a_wave_that_goes_on_has_its_number_and_its_devices() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut resumed = Resumed::default();
        resumed.stops(at(10), &row(2, "running"));
        assert!(resumed.is_waiting());
        resumed.goes_on(&json!([]));
        resumed.goes_on(&row(2, "running"));
        assert!(!resumed.is_waiting());
        // Told another interval for a beat, then what it had, and taken back later.
        resumed.read(|_| vec![(at(5), "wave_began".to_owned()), (at(20), "rolled_back".to_owned())]);
        let devices: [&[(u64, u64)]; 3] =
            [&[(1, OLD), (6, NEW), (13, OLD), (14, NEW), (21, OLD)], &[(1, OLD), (15, OLD)], &[]];
        let same = Figures { wave_after_restart: 2, wave_devices: 1, wave_devices_moved: 0 };
        assert_eq!(figures(&resumed, start, &devices), same);
    }

    #[test]
    fn devices_that_came_to_the_other_interval_have_moved_either_way() {
        let start = Instant::now();
        let mut resumed = Resumed::default();
        resumed.stops(start + Duration::from_secs(10), &row(2, "running"));
        let devices: [&[(u64, u64)]; 2] = [&[(6, NEW), (14, OLD)], &[(1, OLD), (15, NEW)]];
        let moved = Figures { wave_after_restart: 0, wave_devices: 1, wave_devices_moved: 2 };
        assert_eq!(figures(&resumed, start, &devices), moved);
    }

    #[test]
    fn a_restart_without_a_rollout_tells_nothing() {
        let mut resumed = Resumed::default();
        resumed.stops(Instant::now(), &row(3, "released"));
        assert!(!resumed.is_waiting());
        assert_eq!(figures(&resumed, Instant::now(), &[&[(0, NEW)]]), Figures::default());
    }
}
