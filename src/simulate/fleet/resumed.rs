//! Whether rollouts go on after a restart of the server where they were: the same wave, of the same devices. The wave is
//! what operators are told; the devices are those that *have* the new interval.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::device::Device;
use super::rollouts::of_cohort;
use crate::keepalive::cohort::CohortEntry;
use crate::keepalive::report::RolloutReport;
use crate::keepalive::wave::audit::{Event, What};
use crate::keepalive::wave::spec::State;

/// Of the last restart with a rollout under way, and `moved` of all.
#[derive(Debug, Default)]
pub(super) struct Resumed {
    /// The wave that goes on, counted from 1; of several the lowest; 0 = one does not.
    pub(super) wave: usize,
    /// Devices that had the new interval then.
    pub(super) treated: usize,
    /// Devices that had come to the other interval when their rollout went on.
    moved: HashSet<u32>,
    /// Devices of rollouts that have not gone on since.
    watched: HashMap<u32, Arm>,
}

#[derive(Debug)]
struct Arm {
    cohort: Arc<str>,
    /// The old interval.
    from: Duration,
    /// Whether it had the new one when the server stopped, and has it now.
    is_new: [bool; 2],
}

impl Resumed {
    /// The server began again: rollouts before and after.
    pub(super) fn restarted(
        &mut self,
        [before, after]: [&[RolloutReport]; 2],
        cohorts: &[CohortEntry],
        devices: &[Device],
    ) {
        let before: Vec<&RolloutReport> = before.iter().filter(|rollout| is_under_way(rollout)).collect();
        if before.is_empty() {
            return;
        }
        let wave = |id: &str| after.iter().find(|rollout| *rollout.spec.id == *id && is_under_way(rollout));
        let waves = before.iter().map(|rollout| wave(&rollout.spec.id).map_or(0, |rollout| rollout.wave.0));
        self.wave = waves.min().unwrap_or(0);
        self.end(|_| true);
        for spec in before.iter().map(|rollout| &rollout.spec) {
            for (index, device) in of_cohort(&spec.cohort, cohorts, devices) {
                let is_new = device.machine.pace().interval > spec.from;
                let arm = Arm { cohort: Arc::clone(&spec.cohort), from: spec.from, is_new: [is_new; 2] };
                self.watched.insert(index, arm);
            }
        }
        self.treated = self.watched.values().filter(|arm| arm.is_new[0]).count();
    }

    /// A device was told something.
    pub(super) fn told(&mut self, index: u32, interval: Duration) {
        if let Some(arm) = self.watched.get_mut(&index) {
            arm.is_new[1] = interval > arm.from;
        }
    }

    /// From now on its devices may have the other interval.
    pub(super) fn happened(&mut self, event: &Event) {
        if matches!(event.what, What::WaveBegan | What::Released | What::RolledBack) {
            self.end(|arm| arm.cohort == event.cohort);
        }
    }

    /// Devices that came to the other interval.
    pub(super) fn moved(mut self) -> usize {
        self.end(|_| true);
        self.moved.len()
    }

    fn end(&mut self, is_over: impl Fn(&Arm) -> bool) {
        let over = self.watched.extract_if(|_, arm| is_over(arm));
        self.moved.extend(over.filter(|(_, arm)| arm.is_new[0] != arm.is_new[1]).map(|(index, _)| index));
    }
}

/// Not of an AB test, whose intervals are not an old and a new one.
fn is_under_way(rollout: &RolloutReport) -> bool {
    rollout.groups.is_none() && !matches!(rollout.state, State::Released | State::RolledBack)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use crate::document::SourceFile;
    use crate::scenario::load::parse;
    use crate::simulate::fleet::metrics::FleetScore;
    use crate::simulate::fleet::run;
    use crate::simulate::plan::Plan;

    /// A pin that is released in waves from 10 s on, with these faults beside.
    fn score(faults: &str) -> FleetScore {
        let text = format!(
            "duration: 40s\nfleet: {{start_within: 2s, loss: 0, carriers: [{{name: a, devices: 200, timeout: 8s}}]}}\n\
             policy:\n  interval: {{min: 500ms, max: 12s}}\n  probes: {{flows: 0}}\n  second_ack: off\n  waves: {{}}\n\
             faults:\n  - {{at: 10s, pin: {{nat_timeout: 5s}}}}\n{faults}"
        );
        let file = Arc::new(SourceFile { path: PathBuf::from("s.yaml"), text });
        match parse(&file, None) {
            Ok(Plan::Fleet(scenario)) => run(&scenario, scenario.law, 1).score,
            other => panic!("{other:?}"),
        }
    }

    fn wave(score: &FleetScore) -> (f64, f64, f64) {
        (score.wave_after_restart, score.wave_devices, score.wave_devices_moved)
    }

    #[test]
    fn a_rollout_goes_on_in_its_wave_with_its_devices() {
        let first = score("  - {at: 20s, server_kill: 2s}\n");
        assert_eq!(wave(&first), (1.0, 10.0, 0.0));
        let second = score("  - {at: 16s, rollout: promote}\n  - {at: 24s, server_kill: 2s}\n");
        assert_eq!((wave(&second), second.refused_commands), ((2.0, 40.0, 0.0), 0.0));
    }

    #[test]
    fn what_happens_after_it_moves_nobody_and_a_wave_that_nobody_heard_of_moves_its_devices() {
        let aborted = score("  - {at: 20s, server_kill: 2s}\n  - {at: 28s, rollout: abort}\n");
        assert_eq!((wave(&aborted), aborted.rollbacks), ((1.0, 10.0, 0.0), 1.0));
        let unheard = score("  - {at: 20s, rollout: promote}\n  - {at: 20s, server_kill: 2s}\n");
        assert_eq!(wave(&unheard), (2.0, 10.0, 30.0));
    }

    #[test]
    fn commands_that_make_no_sense_or_that_nobody_hears_are_counted() {
        let refused = score(
            "  - {at: 5s, rollout: promote}\n  - {at: 20s, rollout: resume}\n  - {at: 22s, server_kill: 4s}\n  \
             - {at: 24s, rollout: abort}\n",
        );
        assert_eq!((refused.refused_commands, refused.rollbacks), (3.0, 0.0));
    }

    #[test]
    fn without_a_rollout_there_is_nothing_to_go_on_with() {
        assert_eq!(wave(&score("  - {at: 5s, server_kill: 2s}\n")), (0.0, 0.0, 0.0));
    }
}
