//! All rollouts: they begin when a cohort's law asks for more than is released, take evidence, go on with time, obey
//! people, and are told.

use std::sync::Arc;

use flyball_sdk::device::id::DeviceId;

use super::Governor;
use super::cohort::Cohort;
use super::devices::Is;
use super::release::ROLLOUTS_MAX;
use super::roll::touch;
use crate::keepalive::observation::Beat;
use crate::keepalive::policy::WaveQuery;
use crate::keepalive::report::RolloutReport;
use crate::keepalive::wave::audit::{Event, What};
use crate::keepalive::wave::metric::Sample;
use crate::keepalive::wave::rollout::Rollout;
use crate::keepalive::wave::spec::{Command, Evidence, Refused, State};
use crate::time::{MonoTime, Tick, WallTime};

/// Rollouts that begin in one decision: each looks at all devices of its cohort.
const BEGUN_MAX: usize = 4;

/// Why nothing came of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotDone {
    /// No rollout under way has this id.
    #[error("no rollout under way has this id")]
    Unknown,
    /// It makes no sense now.
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl Governor {
    /// Time has passed: waves go on, what is not wanted any more is withdrawn, what waits begins.
    pub(super) fn step_rollouts(&mut self, now: Tick, generation: u64) {
        self.now = now;
        let mut under_way = 0;
        for at in 0..self.cohorts.len() {
            let cohort = &mut self.cohorts[at];
            let Some(release) = &mut cohort.release else { continue };
            let is_withdrawn = release.is_withdrawn();
            let Some(rollout) = &mut release.rollout else { continue };
            under_way += 1;
            let events = if is_withdrawn { rollout.withdraw(now.wall) } else { rollout.tick(now.wall) };
            self.happened(at, events);
        }
        self.begin_rollouts(now, generation, ROLLOUTS_MAX.saturating_sub(under_way).min(BEGUN_MAX));
    }

    fn begin_rollouts(&mut self, now: Tick, generation: u64, mut room: usize) {
        for at in 0..self.cohorts.len() {
            let cohort = &self.cohorts[at];
            let Some((release, waves)) = cohort.release.as_ref().zip(cohort.fleet.waves.as_ref()) else { continue };
            if room == 0 || cohort.sweep > 0 || !release.is_due(cohort.pin_ms(now.wall), now.wall) {
                continue;
            }
            room -= 1;
            let present = cohort.members.iter().map(|slot| self.devices.get(*slot));
            let ids: Vec<DeviceId> =
                present.filter(|device| device.is.all(Is::PRESENT)).map(|device| device.id).collect();
            let spec = cohort.spec(release, waves, format!("{generation:x}-{at}").into());
            let (rollout, events) = Rollout::start(spec, &ids, now.wall);
            if let Some(release) = &mut self.cohorts[at].release {
                release.rollout = Some(Box::new(rollout));
            }
            self.happened(at, events);
        }
    }

    /// What followed for a cohort: told, and its devices looked at again.
    fn happened(&mut self, at: usize, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let cohort = &mut self.cohorts[at];
        let pin_ms = cohort.pin_ms(self.now.wall);
        if events.iter().any(|event| matches!(event.what, What::Released | What::RolledBack)) {
            let ended = cohort.rollout_report();
            self.ending.extend(ended.filter(|_| self.ending.len() < ROLLOUTS_MAX));
        }
        let cohort = &mut self.cohorts[at];
        if let Some(release) = &mut cohort.release {
            release.follow(&events, pin_ms);
        }
        cohort.is_dirty = true;
        cohort.look_at_all();
        self.events.extend(events);
    }

    /// A beat, or one that did not come: of a device that may have gone for good, too.
    pub(super) fn take_beat(&mut self, at: usize, beat: &Beat, seen: MonoTime) {
        let wall = self.wall_at(seen);
        let Some(slot) = self.devices.find(beat.device) else { return };
        let device = self.devices.get_mut(slot);
        if device.cohort() != self.cohorts[at].index {
            return;
        }
        device.is.set(Is::CONFIRMED, beat.has_adopted);
        touch(&mut self.touched, device, slot);
        let evidence = Evidence {
            device: beat.device,
            due: 1,
            confirmed: u32::from(beat.is_confirmed),
            gap_ratio: beat.gap_ratio,
            is_reached: beat.is_reached,
            has_adopted: beat.has_adopted,
        };
        if self.take_compared(at, &evidence, wall) {
            return;
        }
        let release = self.cohorts[at].release.as_mut();
        let Some(rollout) = release.and_then(|release| release.rollout.as_mut()) else { return };
        let events = rollout.take(&evidence, wall);
        self.happened(at, events);
    }

    /// A value of the query in this place of the fleet's file.
    pub fn sample(&mut self, id: &str, query: usize, sample: Sample, now: WallTime) {
        if self.sample_comparison(id, query, sample, now) {
            return;
        }
        let Some(at) = self.rollout_place(id) else { return };
        let rollout = self.cohorts[at].release.as_mut().and_then(|release| release.rollout.as_mut());
        let events = rollout.map(|rollout| rollout.sample(query, sample, now)).unwrap_or_default();
        self.happened(at, events);
    }

    /// What the fleet's file asks for while this rollout is under way.
    pub fn queries(&self, id: &str) -> &[WaveQuery] {
        let of_cohort = |at: usize| self.cohorts[at].fleet.waves.as_ref().map(|waves| &waves.queries[..]);
        self.queries_compared(id).or_else(|| of_cohort(self.rollout_place(id)?)).unwrap_or_default()
    }

    /// What a person says of a rollout under way.
    ///
    /// # Errors
    /// No such rollout, or it takes no such command now.
    pub fn command(
        &mut self,
        id: &str,
        command: Command,
        (who, why): (&Arc<str>, &Arc<str>),
        now: WallTime,
    ) -> Result<(), NotDone> {
        if let Some(done) = self.command_comparison(id, command, (who, why), now) {
            return Ok(done?);
        }
        let at = self.rollout_place(id).ok_or(NotDone::Unknown)?;
        let rollout = self.cohorts[at].release.as_mut().and_then(|release| release.rollout.as_mut());
        let events = rollout.ok_or(NotDone::Unknown)?.command(command, who, why, now)?;
        self.happened(at, events);
        Ok(())
    }

    /// All rollouts under way, and those that ended with the last decision or before it.
    pub fn rollouts(&self) -> Vec<RolloutReport> {
        let under_way = self.cohorts.iter().filter_map(Cohort::rollout_report);
        under_way.chain(self.comparison_reports()).chain(self.ended.iter().cloned()).collect()
    }

    fn rollout_place(&self, id: &str) -> Option<usize> {
        let is_it = |cohort: &Cohort| {
            let rollout = cohort.release.as_ref().and_then(|release| release.rollout.as_ref());
            rollout.is_some_and(|rollout| &*rollout.spec().id == id)
        };
        self.cohorts.iter().position(is_it)
    }

    /// Waves do not count any more for this cohort: what its rollout was to bring goes out at once.
    pub(super) fn release_at_once(&mut self, mut rollout: Box<Rollout>) {
        let events = rollout.release(&"fleet file".into(), &"`waves` is off now".into(), self.now.wall);
        self.events.extend(events);
    }

    fn wall_at(&self, seen: MonoTime) -> WallTime {
        let Tick { mono, wall } = self.now;
        if seen >= mono {
            return wall.plus(seen.since(mono));
        }
        let before = i64::try_from(mono.since(seen).as_millis()).unwrap_or(0);
        WallTime::from_unix_ms(wall.unix_ms().saturating_sub(before))
    }
}

impl Cohort {
    /// The rollout under way.
    pub(super) fn rollout_report(&self) -> Option<RolloutReport> {
        let rollout = self.release.as_ref()?.rollout.as_ref()?;
        Some(RolloutReport {
            spec: rollout.spec().clone(),
            fleet: self.entry.fleet.clone(),
            groups: None,
            transport: Some(self.entry.key.transport),
            state: rollout.state(),
            verdict: rollout.verdict(),
            wave: rollout.wave(),
            began: rollout.began(),
            round: rollout.round(),
            devices: [self.counts.present, self.counts.new, self.counts.adopted],
            gates: rollout.evidence(),
        })
    }

    /// Which beats the edges are to tell.
    pub(super) fn tell_beats(&self) -> Option<std::time::Duration> {
        if let Some(round) = self.planned.and_then(|planned| planned.round) {
            return Some(round);
        }
        let rollout = self.release.as_ref()?.rollout.as_ref()?;
        matches!(rollout.state(), State::Running | State::Held).then(|| rollout.round())
    }
}
