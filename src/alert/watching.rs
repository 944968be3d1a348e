//! The loop: each second, where the devices of each cohort stand; where that opens an alarm, its devices are scanned, and
//! what was found is told. One scan at a time; where a great many cohorts open at once, as when the server's own network
//! fails, those that would wait too long are told without one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::told::{Alert, Nat, Severity};
use super::{Alerts, Doors};
use crate::fleet::scanned::Scanned;
use crate::keepalive::alarm::AlarmPolicy;
use crate::keepalive::alarm::diagnosis::diagnose;
use crate::keepalive::alarm::ratios::Ratios;
use crate::keepalive::alarm::watch::{Change, End, Watch};
use crate::keepalive::cohort::{CohortIndex, CohortKey};
use crate::keepalive::policy::Fleets;
use crate::keepalive::report::CohortReport;
use crate::policy::PolicySet;
use crate::time::{MonoTime, Tick, WallTime};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Scans that wait: each takes some seconds.
const SCANS_WAITING: usize = 8;

/// What is known of one cohort's alarm.
#[derive(Debug, Default)]
struct State {
    watch: Watch,
    /// The last opening: told when its scan is done.
    open: Option<Arc<Alert>>,
    /// An earlier process opened it: silences begin anew with this one, so that good news counts only from here on.
    settling: Settling,
}

/// After a restart every silence is short: a device that is gone shows only after its wait.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
enum Settling {
    /// There is nothing to wait for, or it is over.
    #[default]
    Done,
    /// Until its cohort is there.
    Cohort,
    Until(MonoTime),
}

/// An opening on its way through the scan.
#[derive(Debug)]
struct Opening {
    cohort: CohortIndex,
    opened_at: WallTime,
    p99_gap: f64,
    policy: AlarmPolicy,
}

pub(super) struct Watching {
    alerts: Alerts,
    doors: Doors,
    states: HashMap<CohortIndex, State>,
    /// Opened by an earlier process, and no device of their cohorts has come yet.
    restored: Vec<State>,
}

impl Watching {
    pub(super) fn new(alerts: Alerts, doors: Doors) -> Self {
        let open = alerts.book.load().into_iter().map(|kept| kept.alert).filter(|alert| alert.resolved_at.is_none());
        let restored: Vec<State> = open.map(State::restored).collect();
        alerts.metrics.open.set(restored.len() as i64);
        Self { alerts, doors, states: HashMap::new(), restored }
    }

    /// Until the shutdown.
    pub(super) async fn run(mut self, policies: watch::Receiver<Arc<PolicySet>>, shutdown: CancellationToken) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (to_scan, mut openings) = mpsc::channel::<Opening>(SCANS_WAITING);
        let (found, mut scanned) = mpsc::channel(SCANS_WAITING);
        let (doors, clock) = (self.doors.clone(), self.alerts.clock);
        let scanning = async move {
            while let Some(opening) = openings.recv().await {
                let began = clock.now().wall;
                let result = doors.scan(opening.cohort).await;
                if found.send((opening, began, result)).await.is_err() {
                    return;
                }
            }
        };
        tokio::pin!(scanning);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = &mut scanning => return,
                _ = looks.tick() => {
                    let fleets = policies.borrow().fleets();
                    self.look(&fleets, &to_scan);
                }
                Some((opening, began, result)) = scanned.recv() => self.opened(&opening, Some((began, result))),
            }
        }
    }

    fn look(&mut self, fleets: &Fleets, to_scan: &mpsc::Sender<Opening>) {
        let (now, cohorts) = (self.alerts.clock.now(), self.doors.cohorts.load());
        let census = self.doors.census();
        for (index, report) in cohorts.reports.iter().enumerate() {
            let cohort = CohortIndex(index as u32);
            let policy = policy(fleets, report.fleet.as_ref(), &report.key);
            let state = self.states.entry(cohort).or_insert_with(|| take_restored(&mut self.restored, report));
            let p99 = census.get(index).and_then(Ratios::p99);
            let p99 = p99.filter(|p99| state.counts(*p99, policy.as_ref(), report.pace.longest(), now.mono));
            match state.watch.look(now.mono, p99, policy.as_ref()) {
                Some(Change::Opened) => {
                    let (p99_gap, policy) = (p99.unwrap_or_default(), policy.unwrap_or_default());
                    let opening = Opening { cohort, opened_at: now.wall, p99_gap, policy };
                    state.open = None;
                    if let Err(refused) = to_scan.try_send(opening) {
                        self.alerts.metrics.unscanned.inc();
                        self.opened(&refused.into_inner(), None);
                    }
                }
                Some(Change::Resolved(end)) => {
                    let open = state.open.take();
                    open.iter().for_each(|alert| self.alerts.end(alert, now.wall, end));
                }
                None => {}
            }
        }
        self.look_for_lost(fleets, now);
    }

    /// Alarms of an earlier process whose cohorts are not there (yet).
    fn look_for_lost(&mut self, fleets: &Fleets, now: Tick) {
        let Self { restored, alerts, .. } = self;
        restored.retain_mut(|state| {
            let Some(alert) = &state.open else { return false };
            let policy = policy(fleets, alert.fleet.as_ref(), &alert.key);
            let change = state.watch.look(now.mono, None, policy.as_ref());
            if let Some(Change::Resolved(end)) = change {
                alerts.end(alert, now.wall, end);
            }
            change.is_none()
        });
    }

    /// The scan is done, or there was none.
    fn opened(&mut self, opening: &Opening, scanned: Option<(WallTime, Scanned)>) {
        let cohorts = self.doors.cohorts.load();
        let Some(report) = cohorts.reports.get(opening.cohort.0 as usize) else { return };
        let alert = Arc::new(self.alert(opening, report, scanned));
        let (cohort, p99_gap, cause) = (&*report.key.name, alert.p99_gap, alert.diagnosis.cause.as_str());
        tracing::warn!(cohort, p99_gap, cause, diagnosis = alert.diagnosis.text, "heartbeats are late: an alarm opens");
        self.alerts.metrics.opened.inc();
        self.alerts.metrics.open.inc();
        self.alerts.open(&alert);
        let state = self.states.entry(opening.cohort).or_default();
        if state.watch.is_open() {
            state.open = Some(alert);
        } else {
            // It was over before the scan was.
            self.alerts.end(&alert, self.alerts.clock.now().wall, End::Recovered);
        }
    }

    fn alert(&self, opening: &Opening, report: &CohortReport, scanned: Option<(WallTime, Scanned)>) -> Alert {
        let is_scanned = scanned.is_some();
        let (scanned_at, Scanned { devices, more }) = scanned.unwrap_or((opening.opened_at, Scanned::default()));
        let mut diagnosis = diagnose(Some(report), &devices, more, opening.policy.p99_gap);
        if !is_scanned {
            diagnosis.text = "The devices were not scanned: too many cohorts are late at once.".to_owned();
        }
        let labels = report.key.labels();
        let region = labels.get("region").map_or("unknown", AsRef::as_ref);
        let group = self.alerts.group_of(region);
        let (cohort, transport) = (opening.cohort.0, report.key.transport);
        Alert {
            id: format!("{}-{transport}-{cohort}", opening.opened_at.unix_ms()).into(),
            key: report.key.clone(),
            labels,
            fleet: report.fleet.clone(),
            group,
            severity: Severity::of(&diagnosis, &devices),
            opened_at: opening.opened_at,
            resolved_at: None,
            end: None,
            p99_gap: opening.p99_gap,
            threshold: opening.policy.p99_gap,
            diagnosis,
            devices,
            devices_more: more,
            nat: Some(Nat::of(report)),
            scanned_at,
        }
    }
}

impl Alerts {
    fn end(&self, alert: &Alert, now: WallTime, end: End) {
        tracing::info!(cohort = &*alert.key.name, id = &*alert.id, why = end.as_str(), "the alarm is over");
        self.metrics.open.dec();
        self.over(&Arc::new(alert.resolved(now, end)));
    }
}

impl State {
    fn restored(alert: Arc<Alert>) -> Self {
        Self { watch: Watch::opened(), open: Some(alert), settling: Settling::Cohort }
    }

    /// Whether this p99 says something: after a restart good news do not, until the devices that are gone have missed
    /// their first wait by as much as makes an alarm.
    fn counts(&mut self, p99: f64, policy: Option<&AlarmPolicy>, longest: Duration, now: MonoTime) -> bool {
        let Some(policy) = policy else { return true };
        if self.settling == Settling::Cohort {
            self.settling = Settling::Until(now.plus(longest.mul_f64(policy.p99_gap)));
        }
        match self.settling {
            Settling::Until(until) if now < until => p99 > policy.recover,
            _ => {
                self.settling = Settling::Done;
                true
            }
        }
    }
}

/// What an earlier process knew of a cohort that is there now.
fn take_restored(restored: &mut Vec<State>, report: &CohortReport) -> State {
    let is_of = |alert: &Arc<Alert>| alert.key == report.key && alert.fleet == report.fleet;
    let at = restored.iter().position(|state| state.open.as_ref().is_some_and(is_of));
    at.map(|at| restored.swap_remove(at)).unwrap_or_default()
}

/// Of the fleet that the cohort's devices are of. Devices that no fleet takes are nobody's, and a cohort that the fleet
/// does not make any more, after another `cohort_by`, has no devices.
fn policy(fleets: &Fleets, fleet: Option<&Arc<str>>, key: &CohortKey) -> Option<AlarmPolicy> {
    let fleet = fleets.fleets.iter().find(|known| Some(&known.name) == fleet)?;
    // None where the name does not say them.
    let labels = key.labels();
    let is_made = labels.is_empty() || CohortKey::of(&labels, &fleet.cohort_by, key.transport) == *key;
    fleet.alarm.filter(|_| is_made)
}

#[cfg(test)]
mod tests {
    use super::super::sample::alert;
    use super::*;
    use crate::keepalive::cohort::Transport;
    use crate::keepalive::policy::Fleet;

    #[test]
    fn a_cohort_that_its_fleet_does_not_make_or_does_not_watch_has_no_alarm() {
        let is_watched = |fleet: Fleet, of: Option<&str>, name: &str| {
            let key = CohortKey { name: name.into(), transport: Transport::Udp };
            policy(&Fleets { fleets: vec![Arc::new(fleet)] }, of.map(Arc::from).as_ref(), &key).is_some()
        };
        let fleet = || Fleet::named("gateways");
        let off = Fleet { alarm: None, ..fleet() };
        for (fleet, of, name, wanted) in [
            (fleet(), Some("gateways"), "carrier=a,region=eu", true),
            (fleet(), Some("gateways"), "carrier=a,region=unknown", true),
            (fleet(), Some("gateways"), "unknown", true),
            (fleet(), Some("gateways"), "carrier=a=b,region=eu", true),
            (fleet(), Some("gateways"), "carrier=a", false),
            (fleet(), Some("others"), "carrier=a,region=eu", false),
            (fleet(), None, "unknown", false),
            (off, Some("gateways"), "carrier=a,region=eu", false),
        ] {
            assert_eq!(is_watched(fleet, of, name), wanted, "{of:?} {name}");
        }
    }

    #[test]
    fn after_a_restart_good_news_count_when_who_is_gone_would_have_shown() {
        let (policy, longest) = (AlarmPolicy::default(), Duration::from_secs(100));
        let at = |second| MonoTime::from_start(Duration::from_secs(second));
        let mut restored = State::restored(Arc::new(alert("carrier=a,region=eu")));
        let mut counts = |second, p99| restored.counts(p99, Some(&policy), longest, at(second));
        assert_eq!((counts(50, 1.0), counts(60, 9.0), counts(199, 1.2)), (false, true, false));
        assert_eq!((counts(200, 1.0), counts(201, 1.0)), (true, true), "one and a half of the longest wait later");
        assert!(State::default().counts(1.0, Some(&policy), longest, at(0)), "there is nothing to wait for");
    }
}
