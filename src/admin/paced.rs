//! `/metrics` of the second loop, read off the last reports and the doors' counts: at most 4,096 cohorts, six series
//! each.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::cohorts::shown;
use super::exposition::{gauge, single};
use super::monitored::{counter, family};
use super::{FleetState, RolloutDesk};
use crate::fleet::heartbeat::counters::Count;
use crate::fleet::heartbeat::handle::Handle;
use crate::keepalive::cohort::Transport;
use crate::keepalive::report::{CohortReport, LifetimeReport, RolloutReport, Verdict};
use crate::keepalive::wave::spec::State;

/// The finest that a lifetime is told in labels: cells of 1 %, so that the value does not change with each observation.
const CELL: f64 = 1.01;

/// Counts that have a metric of their own: what they count is an answer, not an event of the protocol.
const ANSWERS: [(Count, &str, &str); 3] = [
    (Count::Accepted, "flyball_heartbeat_datagrams", "Heartbeats that were taken"),
    (Count::Acked, "flyball_heartbeat_acks", "First acks"),
    (Count::SecondAcked, "flyball_heartbeat_second_acks", "Second acks"),
];

/// What is known of the cohorts, and what the heartbeats' door counts.
#[derive(Debug)]
pub(super) struct FleetCollector(pub(super) FleetState);

impl Collector for FleetCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(heartbeats) = &self.0.heartbeats {
            heartbeat(&mut encoder, heartbeats)?;
        }
        if let Some(desk) = &self.0.rollouts {
            rollouts(&mut encoder, desk)?;
        }
        let cohorts = self.0.cohorts.load();
        let reports = shown(&cohorts);
        if reports.is_empty() {
            return Ok(());
        }
        lifetimes(&mut encoder, &reports)?;
        let name = ("flyball_keepalive_interval_seconds", "Shortest time between two heartbeats that devices are told");
        gauge(&mut encoder, name, reports.iter().map(|r| (of(r), Some(r.pace.interval.as_secs_f64()))))?;
        let name = ("flyball_cohort_devices", "Devices that are here");
        gauge(&mut encoder, name, reports.iter().map(|r| (of(r), Some(f64::from(r.devices)))))?;
        let name = ("flyball_cohort_info", "What is known of a cohort, as labels");
        gauge(&mut encoder, name, reports.iter().map(|report| (labels(report), Some(1.0))))
    }
}

fn heartbeat(encoder: &mut DescriptorEncoder<'_>, door: &Handle) -> fmt::Result {
    let counters = door.counters();
    for (count, name, help) in ANSWERS {
        counter(encoder, (name, help), counters.get(count))?;
    }
    let refused = counters.all().filter(|(count, _)| count.is_refusal());
    let series = refused.map(|(count, n)| ([("reason", count.as_str())], n));
    family(encoder, ("flyball_heartbeat_refused", "Datagrams refused, by why"), series)?;
    let is_event = |count: &Count| !count.is_refusal() && ANSWERS.iter().all(|(answer, ..)| answer != count);
    let events = counters.all().filter(|(count, _)| is_event(count));
    let series = events.map(|(count, n)| ([("event", count.as_str())], n));
    family(encoder, ("flyball_heartbeat_events", "What else came to pass at the heartbeats' door"), series)?;
    let name = ("flyball_heartbeat_devices", "Devices that the heartbeats' door knows");
    single(encoder, name, door.devices() as f64)
}

/// Those under way, at most 64 of them, and how many of those that are remembered ended how.
fn rollouts(encoder: &mut DescriptorEncoder<'_>, desk: &RolloutDesk) -> fmt::Result {
    let records = desk.board.load();
    let under_way = || records.iter().filter(|record| record.ended_at.is_none()).map(|record| &record.report);
    let of = |report: &RolloutReport| {
        let transport = report.transport.map_or("any", Transport::as_str);
        [("cohort", report.spec.cohort.to_string()), ("transport", transport.to_owned())]
    };
    let states = under_way().map(|report| {
        let [cohort, transport] = of(report);
        ([cohort, transport, ("state", state(report.state).to_owned())], Some(1.0))
    });
    gauge(encoder, ("flyball_rollout_state", "A rollout under way, and where it is"), states.collect::<Vec<_>>())?;
    let waves: Vec<_> = under_way().map(|report| (of(report), Some(report.wave.0 as f64))).collect();
    gauge(encoder, ("flyball_rollout_wave", "Its wave, counted from 1"), waves)?;
    let evidence = |report: &RolloutReport| report.gates.iter().map(|gate| gate.evidence()).sum::<f64>();
    let evidence: Vec<_> = under_way().map(|report| (of(report), Some(evidence(report)))).collect();
    gauge(encoder, ("flyball_rollout_evidence", "That it is worse than its control: 1000 stops it"), evidence)?;
    let ended = [State::Released, State::RolledBack].map(|ended| {
        let count = records.iter().filter(|record| record.report.state == ended).count();
        ([("state", state(ended))], Some(count as f64))
    });
    gauge(encoder, ("flyball_rollouts", "Rollouts that ended, of the 256 that are remembered"), ended)
}

/// As the API calls it.
pub(super) const fn state(state: State) -> &'static str {
    match state {
        State::Running => "running",
        State::Held => "held",
        State::Paused => "paused",
        State::Released => "released",
        State::RolledBack => "rolled_back",
    }
}

fn lifetimes(encoder: &mut DescriptorEncoder<'_>, reports: &[&CohortReport]) -> fmt::Result {
    let name = ("flyball_nat_lifetime_seconds", "How long a device's NAT keeps a binding, by quantile over the cohort");
    let series = reports.iter().flat_map(|report| {
        let [(cohort, name), (transport, by)] = of(report);
        let quantiles = ["0.01", "0.5", "0.99"].into_iter().zip(report.stream().quantiles);
        quantiles.map(move |(quantile, value)| {
            ([(cohort, name), (transport, by), ("quantile", quantile)], Some(value.as_secs_f64()))
        })
    });
    gauge(encoder, name, series)
}

fn of(report: &CohortReport) -> [(&'static str, &str); 2] {
    [("cohort", &report.key.name), ("transport", report.key.transport.as_str())]
}

fn labels(report: &CohortReport) -> [(&'static str, String); 5] {
    [
        ("cohort", report.key.name.to_string()),
        ("transport", report.key.transport.as_str().to_owned()),
        ("nat_timeout_ms", nat_timeout_ms(report)),
        ("verdict", report.verdict.as_str().to_owned()),
        ("reason", report.reason.as_str().to_owned()),
    ]
}

/// The middle of what is known, to 1 %; `unknown` while it is learnt.
fn nat_timeout_ms(report: &CohortReport) -> String {
    if report.verdict == Verdict::Learning {
        return "unknown".to_owned();
    }
    let LifetimeReport { lower_bound, upper_bound, .. } = report.stream();
    let middle = (lower_bound.as_secs_f64() * upper_bound.as_secs_f64()).sqrt() * 1e3;
    let cell = (middle.max(1.0).ln() / CELL.ln()).round();
    format!("{:.0}", CELL.powf(cell))
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::super::exposition::openmetrics;
    use super::*;
    use crate::admin::sample;
    use crate::controller::keepalive::{CohortReports, Cohorts};

    fn text(reports: Vec<CohortReport>) -> String {
        let (published, mut registry) = (CohortReports::default(), Registry::default());
        published.publish(1, reports);
        let fleet = FleetState { cohorts: published, ..FleetState::default() };
        registry.register_collector(Box::new(FleetCollector(fleet)));
        openmetrics(&registry)
    }

    #[test]
    fn cohorts_are_read_off_under_the_contracts_names() {
        let text = text(vec![sample::cohort("carrier=a,region=eu", 40)]);
        for line in [
            r#"flyball_nat_lifetime_seconds{cohort="carrier=a,region=eu",transport="udp",quantile="0.5"} 112.0"#,
            r#"flyball_keepalive_interval_seconds{cohort="carrier=a,region=eu",transport="udp"} 83.0"#,
            r#"flyball_cohort_devices{cohort="carrier=a,region=eu",transport="udp"} 40.0"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in:\n{text}");
        }
        let info = text.lines().find(|line| line.starts_with("flyball_cohort_info{")).expect("one cohort");
        assert!(info.contains(r#"verdict="learnt",reason="lower_bound""#), "{info}");
    }

    #[test]
    fn a_lifetime_as_a_label_is_within_a_cell_of_the_middle() {
        let told: f64 = nat_timeout_ms(&sample::cohort("carrier=a", 1)).parse().expect("a number");
        assert!((told / 111_996.0 - 1.0).abs() <= 0.005, "{told}");
    }

    #[test]
    fn without_cohorts_there_is_none_of_it() {
        assert_eq!(text(Vec::new()), "# EOF\n");
        assert_eq!(Cohorts::default().reports.len(), 0);
    }
}
