//! Records of rollouts to the shape that the API has.

use std::sync::Arc;

use super::rollout_json::{
    ArmJson, GateJson, GatePointJson, GroupsJson, KindJson, PairJson, PointJson, QueryJson, RolloutJson, StepJson,
};
use crate::controller::rollouts::{Point, Record};
use crate::keepalive::report::GroupsReport;
use crate::keepalive::wave::audit::{Event, GateReport, What, Who, Why};
use crate::keepalive::wave::gate::ArmFigures;
use crate::keepalive::wave::metric::{Bad, Sample};
use crate::time::WallTime;

/// All of them, without what happened.
pub(super) fn rows(records: &[Arc<Record>]) -> Vec<RolloutJson> {
    records.iter().map(|record| of_report(record)).collect()
}

/// One, with everything.
pub(super) fn of_rollout(record: &Record) -> RolloutJson {
    let history = record.history.iter().map(step).collect();
    let series = record.series.iter().map(point).collect();
    RolloutJson { history, series, ..of_report(record) }
}

fn of_report(record: &Record) -> RolloutJson {
    let report = &record.report;
    let (spec, [devices, devices_new, devices_adopted]) = (&report.spec, report.devices.map(u64::from));
    RolloutJson {
        id: spec.id.to_string(),
        kind: if report.groups.is_some() { KindJson::Ab } else { KindJson::Waves },
        fleet: report.fleet.as_deref().map(str::to_owned),
        cohort: spec.cohort.to_string(),
        transport: report.transport.map_or_else(|| "any".to_owned(), |transport| transport.to_string()),
        state: report.state,
        verdict: report.verdict,
        wave: report.wave.0,
        waves: report.wave.1,
        percent: spec.policy.percent.clone(),
        from_s: spec.from.as_secs_f64(),
        to_s: spec.to.as_secs_f64(),
        started_at: report.began[0].rfc3339(),
        wave_began_at: report.began[1].rfc3339(),
        ended_at: record.ended_at.map(WallTime::rfc3339),
        round_s: report.round.as_secs_f64(),
        devices,
        devices_new,
        devices_adopted,
        usual_failures: spec.usual_failures,
        gates: report.gates.iter().map(gate).collect(),
        groups: report.groups.as_ref().map(groups),
        history: Vec::new(),
        series: Vec::new(),
    }
}

fn groups(groups: &GroupsReport) -> GroupsJson {
    let [a, b] = [&groups.a, &groups.b].map(|names| names.iter().map(|name| name.to_string()).collect());
    GroupsJson { by: groups.by.to_string(), a, b }
}

/// One step.
pub(super) fn step(event: &Event) -> StepJson {
    StepJson {
        at: WallTime::from_unix_ms(event.at_ms).rfc3339(),
        who: match &event.who {
            Who::Law => "law".to_owned(),
            Who::Person(name) => name.to_string(),
        },
        what: what(event.what).to_owned(),
        why: why(event),
        wave: event.wave,
        gates: event.evidence.iter().map(gate).collect(),
    }
}

const fn what(what: What) -> &'static str {
    match what {
        What::WaveBegan => "wave_began",
        What::Held => "held",
        What::Paused => "paused",
        What::Resumed => "resumed",
        What::Released => "released",
        What::RolledBack => "rolled_back",
    }
}

fn why(event: &Event) -> String {
    let (from, to) = (event.from.as_secs_f64(), event.to.as_secs_f64());
    match &event.why {
        Why::Begin => format!("{to} s is to be released in place of {from} s"),
        Why::Shorter => "the law asks for no longer interval than before: there is nothing to release".to_owned(),
        Why::Passed => "all gates passed".to_owned(),
        Why::Failed(gate) => format!("`{gate}` is worse than the control, or beyond its limit"),
        Why::Undecided(gate) => format!("`max_hold` is over, and `{gate}` has not passed"),
        Why::NoValue(query) => format!("`max_hold` is over, and the query `{query}` has no values"),
        Why::NotAdopted => "too few of the treated devices have confirmed the new interval".to_owned(),
        Why::ControlFails => "the control fails as it did not before: something else is wrong".to_owned(),
        Why::TooFewDevices => "too few devices for a control".to_owned(),
        Why::Compared => "both groups had one interval for long enough".to_owned(),
        Why::NeitherWorse => "neither plan is worse".to_owned(),
        Why::Worse { plan, gate } => format!("plan {plan:?} is worse by `{gate}`"),
        Why::Said(reason) if reason.is_empty() => "no reason given".to_owned(),
        Why::Said(reason) => reason.to_string(),
    }
}

fn point(point: &Point) -> PointJson {
    let gates = point.gates.iter().map(gate);
    let gates = gates.map(|gate| GatePointJson {
        name: gate.name,
        treated: gate.treated,
        control: gate.control,
        evidence: gate.evidence,
    });
    PointJson { at: point.at.rfc3339(), wave: point.wave, gates: gates.collect() }
}

fn gate(report: &GateReport) -> GateJson {
    let name = report.name().to_string();
    let (verdict, evidence) = (report.verdict(), report.evidence());
    match report {
        GateReport::Devices { treated, control, gap_ratio_p99, .. } => {
            let pair = gap_ratio_p99.map(|pair| pair.map(|ratio| Some(f64::from(ratio))));
            let gap_ratio_p99 = pair.map(|[treated, control]| PairJson { treated, control });
            let (treated, control) = (arm(treated), arm(control));
            GateJson { name, verdict, treated, control, evidence, gap_ratio_p99, query: None }
        }
        GateReport::Query { spec, samples, bad, last, .. } => {
            let (treated, control) = (ArmJson::default(), ArmJson::default());
            let (words, than) = match spec.bad {
                Bad::AboveControl(times) => ("above_control", times),
                Bad::BelowControl(times) => ("below_control", times),
                Bad::Above(limit) => ("above", limit),
                Bad::Below(limit) => ("below", limit),
            };
            let last = last.map(values);
            let query = QueryJson { bad: words.to_owned(), than, samples: *samples, bad_samples: *bad, last };
            GateJson { name, verdict, treated, control, evidence, gap_ratio_p99: None, query: Some(query) }
        }
    }
}

/// JSON has no infinity: such a value is one that is missing.
fn values(sample: Sample) -> PairJson {
    let [treated, control] = [sample.treated, sample.control].map(|value| value.filter(|value| value.is_finite()));
    PairJson { treated, control }
}

fn arm(figures: &ArmFigures) -> ArmJson {
    ArmJson {
        outcomes: figures.outcomes,
        failures: figures.failures,
        devices_failed: u64::from(figures.buckets_failed),
        ratio: figures.ratio(),
    }
}
