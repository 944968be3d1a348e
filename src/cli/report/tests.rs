use super::*;
use crate::admin::rollout_json::{
    ArmJson, GateJson, GatePointJson, GroupsJson, KindJson, PairJson, PointJson, StepJson,
};
use crate::keepalive::wave::gate::Verdict;
use crate::keepalive::wave::spec::State;

fn arm(outcomes: u64, failures: u64) -> ArmJson {
    let ratio = (outcomes > 0).then(|| 1.0 - failures as f64 / outcomes as f64);
    ArmJson { outcomes, failures, devices_failed: failures.min(50), ratio }
}

fn at(minute: usize) -> String {
    format!("2026-11-01T10:{minute:02}:00.000Z")
}

fn step(minute: usize, wave: usize, what: &str, why: &str) -> StepJson {
    StepJson { at: at(minute), who: "law".into(), what: what.into(), why: why.into(), wave, gates: Vec::new() }
}

fn point(minute: usize) -> PointJson {
    let wave = 1 + minute / 10;
    let into = minute as u64 % 10 * 50;
    let gate = |name: &str, failures: u64| GatePointJson {
        name: name.into(),
        treated: arm(into, failures),
        control: arm(into * 19, into / 50),
        evidence: 0.5 * 1.8_f64.powi(failures as i32),
    };
    let failures = if wave == 2 { into / 25 } else { 0 };
    let gates = vec![gate("online_status_consistency_rate", failures), gate("p99_heartbeat_gap_ms", 0)];
    PointJson { at: at(minute), wave, gates }
}

/// A canary that passed its first wave and failed in the second.
fn rolled_back() -> RolloutJson {
    let gate = |name: &str, verdict, failures, evidence| GateJson {
        name: name.into(),
        verdict,
        treated: arm(450, failures),
        control: arm(8_550, 9),
        evidence,
        gap_ratio_p99: None,
        query: None,
    };
    let consistency = gate("online_status_consistency_rate", Verdict::Fail, 18, 1_204.0);
    let ratios = PairJson { treated: Some(1.31), control: Some(1.28) };
    let gap = GateJson { gap_ratio_p99: Some(ratios), ..gate("p99_heartbeat_gap_ms", Verdict::Inconclusive, 2, 0.11) };
    RolloutJson {
        id: "gateways-a-7".into(),
        kind: KindJson::Waves,
        fleet: Some("gateways".into()),
        cohort: "carrier=a,region=eu".into(),
        transport: "udp".into(),
        state: State::RolledBack,
        verdict: Verdict::Fail,
        wave: 2,
        waves: 3,
        percent: vec![5, 20, 100],
        from_s: 15.0,
        to_s: 84.3,
        started_at: at(0),
        wave_began_at: at(10),
        ended_at: Some(at(19)),
        round_s: 105.4,
        devices: 1_000,
        devices_new: 0,
        devices_adopted: 0,
        usual_failures: 0.0002,
        gates: vec![consistency, gap],
        groups: None,
        history: vec![
            step(0, 1, "wave_began", "it was due"),
            step(10, 2, "wave_began", "all gates passed"),
            step(19, 2, "rolled_back", "online_status_consistency_rate is worse than the control's"),
        ],
        series: (0..20).map(point).collect(),
    }
}

#[test]
fn a_report_says_first_what_became_of_it() {
    insta::assert_snapshot!(markdown::report(&rolled_back(), &[("coverage", "gateways-a-7-coverage.svg")]));
}

#[test]
fn an_ab_test_says_what_it_cannot_show() {
    let groups = GroupsJson { by: "region".into(), a: vec!["north".into()], b: vec!["south".into(), "west".into()] };
    let test = RolloutJson { kind: KindJson::Ab, groups: Some(groups), ..rolled_back() };
    let text = markdown::report(&test, &[]);
    assert!(text.starts_with("# AB test gateways-a-7\n"), "{text}");
    assert!(text.contains("region: south, west") && text.contains("chosen and not drawn"), "{text}");
}

#[test]
fn a_folder_gets_text_json_and_a_picture_a_gate_and_the_text_shows_the_pictures() {
    let files = files(&rolled_back());
    let names: Vec<&str> = files.iter().map(|(name, _)| &**name).collect();
    let [consistency, gap] =
        ["online_status_consistency_rate", "p99_heartbeat_gap_ms"].map(|gate| format!("gateways-a-7-{gate}.svg"));
    assert_eq!(names, ["gateways-a-7.md", "gateways-a-7.json", &consistency, &gap]);
    assert!(files[0].1.contains(&format!("]({gap})")));
    let read: RolloutJson = serde_json::from_str(&files[1].1).expect("what was written");
    assert_eq!((&*read.id, read.series.len()), ("gateways-a-7", rolled_back().series.len()));
    assert!(files[2].1.starts_with("<svg ") && files[2].1.ends_with("</svg>\n"));
}

#[test]
fn what_people_and_carriers_write_stays_text() {
    let mut rollout = rolled_back();
    rollout.id = "../../etc/<b>".into();
    rollout.cohort = "carrier=a|<img src=x>\u{1b}[2J".into();
    let text = markdown::report(&rollout, &[]);
    assert!(!text.contains("<img") || text.contains("\\<img"), "{text}");
    assert!(!text.contains('\u{1b}'));
    assert!(files(&rollout).iter().all(|(name, _)| !name.contains('/') && !name.starts_with('.')));
    assert!(!picture::svg(&rollout, "coverage").contains("<img"));
}

#[test]
fn a_rollout_is_found_by_the_beginning_of_its_id_or_as_the_latest() {
    let other = RolloutJson { id: "gateways-b-1".into(), started_at: at(5), ..rolled_back() };
    let listed = [rolled_back(), other];
    for (asked, found) in [("gateways-a-7", "gateways-a-7"), ("gateways-b", "gateways-b-1"), ("latest", "gateways-b-1")]
    {
        assert_eq!(the_one(&listed, asked).expect("there"), found);
    }
    for (asked, said) in
        [("gate", "begins the ids of several: gateways-a-7, gateways-b-1"), ("x", "there are gateways")]
    {
        let error = the_one(&listed, asked).expect_err("not one").to_string();
        assert!(error.contains(said), "{error}");
    }
    assert!(the_one(&[], "x").expect_err("none").to_string().contains("there was none yet"));
}

#[test]
fn a_rollout_of_which_nothing_is_known_yet_has_a_report_and_a_picture() {
    let fresh = RolloutJson {
        state: State::Running,
        verdict: Verdict::Inconclusive,
        gates: Vec::new(),
        series: Vec::new(),
        history: Vec::new(),
        ..rolled_back()
    };
    assert!(markdown::report(&fresh, &[]).contains("**Running**, wave 2 of 3: not decided yet."));
    assert!(picture::svg(&fresh, "coverage").ends_with("</svg>\n"));
}
