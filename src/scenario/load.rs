//! A scenario file to a [`Plan`], or every error in it.

use std::path::Path;
use std::sync::Arc;

use super::raw::RawScenario;
use super::raw::fleet::RawFleetScenario;
use super::validate;
use crate::document::check::Check;
use crate::document::problem::{Problem, Problems};
use crate::document::{Entry, Node, Place, SourceFile, read, read_text, yaml};
use crate::simulate::fleet::scenario::FleetLaw;
use crate::simulate::plan::Plan;
use crate::simulate::scenario::LawKind;

/// Largest scenario file.
const FILE_MAX_BYTES: u64 = 1 << 20;
/// Most errors that one file reports.
const PROBLEMS_MAX: usize = 100;
/// The key that makes a scenario one of a fleet.
const FLEET_KEY: &str = "fleet";
/// Keys that only a sampling scenario has.
const SAMPLING_KEYS: [&str; 5] = ["services", "backend", "clients", "scrape", "fairness_window"];

/// A law of either loop, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LawChoice {
    /// Of the first loop.
    pub sampling: Option<LawKind>,
    /// Of the second.
    pub fleet: Option<FleetLaw>,
}

impl LawChoice {
    /// The law of this name; `None` where neither loop has one.
    pub fn of(name: &str) -> Option<Self> {
        let sampling = LawKind::ALL.into_iter().find(|law| law.as_str() == name);
        let fleet = FleetLaw::of(name);
        (sampling.is_some() || fleet.is_some()).then_some(Self { sampling, fleet })
    }
}

/// Reads and checks one scenario file and the traces that it names; `law` takes the place of the file's own.
///
/// # Errors
/// Every error, each with its place.
pub fn load(path: &Path, law: Option<LawChoice>) -> Result<Plan, Problems> {
    let is_file = std::fs::metadata(path).map_or(true, |metadata| metadata.is_file());
    let text = if is_file { read_text(path, FILE_MAX_BYTES) } else { Err("is not a regular file".to_owned()) };
    let of_path = |message| Problems(vec![Problem::new(Place::Nowhere, path.display().to_string(), message)]);
    parse(&Arc::new(SourceFile { path: path.to_owned(), text: text.map_err(of_path)? }), law)
}

/// Like [`load`], of a file that was read.
///
/// # Errors
/// Every error, each with its place.
pub fn parse(file: &Arc<SourceFile>, law: Option<LawChoice>) -> Result<Plan, Problems> {
    let tree = yaml::parse(file).map_err(Problems)?;
    let strangers = other_kind(&tree).map_or_else(|| mixed(&tree), |problem| vec![problem]);
    if !strangers.is_empty() {
        return Err(Problems(strangers));
    }
    let stem = file.path.file_stem().unwrap_or_default().to_string_lossy();
    let mut check = Check::new(&tree);
    let plan =
        if tree.entry(FLEET_KEY).is_some() { fleet(&stem, law, &mut check) } else { sampling(&stem, law, &mut check) };
    if check.errors.is_empty() {
        return Ok(plan);
    }
    let mut problems = Problems(check.errors).sorted();
    problems.0.truncate(PROBLEMS_MAX);
    Err(problems)
}

fn sampling(stem: &str, law: Option<LawChoice>, check: &mut Check<'_>) -> Plan {
    let (raw, misfits) = read::read::<RawScenario>(check.root());
    check.errors = misfits;
    let chosen = law.and_then(|law| law.sampling);
    if law.is_some() && chosen.is_none() {
        check.fail(
            "",
            "the law asked for is of the keepalive loop, and this scenario is of sampling: it has no `fleet`",
        );
    }
    Plan::Sampling(Box::new(validate::validate(raw, stem, chosen, check)))
}

fn fleet(stem: &str, law: Option<LawChoice>, check: &mut Check<'_>) -> Plan {
    let (raw, misfits) = read::read::<RawFleetScenario>(check.root());
    check.errors = misfits;
    let chosen = law.and_then(|law| law.fleet);
    if law.is_some() && chosen.is_none() {
        check.fail(
            "",
            format_args!("the law asked for is of sampling, and this scenario is of a fleet; {}", FleetLaw::KNOWN),
        );
    }
    Plan::Fleet(Box::new(super::fleet::validate(raw, stem, chosen, check)))
}

/// A scenario is of one loop: what belongs to the other is named before anything else.
fn mixed(tree: &Node) -> Vec<Problem> {
    if tree.entry(FLEET_KEY).is_none() {
        return Vec::new();
    }
    let entries = SAMPLING_KEYS.into_iter().filter_map(|key| Some((key, tree.entry(key)?)));
    let problem = |(key, entry): (&str, &Entry)| {
        let message = "belongs to a sampling scenario, and `fleet` makes this one of a fleet; write two files";
        Problem::new(entry.key_place.clone(), key, message)
    };
    entries.map(problem).collect()
}

/// A policy or a fleet file begins with its name: to name every key that a scenario lacks would not help.
fn other_kind(tree: &Node) -> Option<Problem> {
    let kind = ["policy", "fleet"].into_iter().find(|kind| tree.at(kind).is_some_and(|node| node.text().is_some()))?;
    let place = tree.entry(kind)?.key_place.clone();
    Some(Problem::new(place, kind, format!("this is a {kind} file, not a scenario")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sampling::policy::Law;
    use crate::simulate::scenario::{Adoption, FaultKind, ReadingKind, Scenario, Shape};

    const PLANT: &str = "services: [{name: a, demand: 10}]\nbackend: {capacity: 100}\n";

    fn scenario(text: &str) -> Scenario {
        parse_with(text, None)
    }

    fn parse_with(text: &str, law: Option<LawKind>) -> Scenario {
        let file = Arc::new(SourceFile { path: "folder/a-name.yaml".into(), text: text.to_owned() });
        match parse(&file, law.map(|law| LawChoice { sampling: Some(law), fleet: None })) {
            Ok(Plan::Sampling(scenario)) => *scenario,
            Ok(Plan::Fleet(_)) => panic!("a fleet"),
            Err(problems) => panic!("{problems}"),
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn everything_but_the_plant_has_a_default() {
        let scenario = scenario(PLANT);
        assert_eq!((&*scenario.name, scenario.law, scenario.seeds), ("a-name", LawKind::Adaptive, 20));
        assert_eq!((scenario.duration, scenario.warmup, scenario.event_at), (seconds(900), seconds(120), seconds(120)));
        assert_eq!((scenario.tick, scenario.scrape.interval), (seconds(5), seconds(5)));
        assert_eq!((&scenario.scrape.reading, scenario.scrape.is_locked), (&ReadingKind::Raw, true));
        assert_eq!(scenario.clients.adoption, Adoption::Stream { delay: Duration::from_millis(600) });
        assert_eq!((scenario.backend.queue, scenario.backend.has_drop_counter), (seconds(1), true));
        assert_eq!(scenario.services[0].operations, [1.0]);
        assert_eq!(scenario.policy.loss_target, 0.01);
    }

    #[test]
    fn a_group_shares_its_demand_by_zipf() {
        let scenario = scenario(
            "services: [{name: 's{i}', count: 3, zipf: 1, demand: [{constant: 11}, {ramp: {from: 22, to: 0, at: 1m, over: 1m}}]}]\nbackend: {capacity: 1}",
        );
        let names: Vec<&str> = scenario.services.iter().map(|service| &*service.name).collect();
        assert_eq!(names, ["s1", "s2", "s3"]);
        let (at, over) = (seconds(60), seconds(60));
        let expected = [Shape::Constant(2.0), Shape::Ramp { from: 4.0, to: 0.0, at, over }];
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        let is_third = match (&scenario.services[2].demand[..], &expected) {
            ([Shape::Constant(a), Shape::Ramp { from: b, .. }], [Shape::Constant(x), Shape::Ramp { from: y, .. }]) => {
                close(*a, *x) && close(*b, *y)
            }
            _ => false,
        };
        assert!(is_third, "{:?}", scenario.services[2].demand);
    }

    #[test]
    fn the_event_is_the_first_thing_that_happens_after_the_warmup() {
        let text = "warmup: 2m\nservices: [{name: a, demand: {step: {from: 1, to: 2, at: 1m}}}]\nbackend: {capacity: {ramp: {from: 9, to: 8, at: 6m, over: 1m}}}\n";
        assert_eq!(scenario(text).event_at, seconds(360));
        let fault = "faults: [{at: 4m, for: 1m, capacity_times: 0.5}]";
        let scenario = scenario(&format!("{text}{fault}"));
        assert_eq!(scenario.event_at, seconds(240));
        assert_eq!(scenario.faults[0].kind, FaultKind::CapacityTimes(0.5));
    }

    #[test]
    fn the_policy_keeps_the_constants_of_the_law_that_runs() {
        let policy = "policy: {law: threshold, threshold: {gain: 7}, adaptive: {headroom: 0.2}}";
        let text = format!("{PLANT}{policy}");
        let own = scenario(&text);
        assert_eq!(own.law, LawKind::Threshold);
        assert!(matches!(own.policy.law, Law::Threshold(constants) if constants.gain == 7.0));
        let other = parse_with(&text, Some(LawKind::Adaptive));
        assert!(matches!(other.policy.law, Law::Adaptive(constants) if constants.headroom == 0.2));
    }

    #[test]
    fn a_trace_is_read_from_the_folder_of_its_scenario_and_gives_the_duration() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("t.csv"), "timestamp,value\n0,1\n300,3\n600,2\n").expect("written");
        let path = folder.path().join("s.yaml");
        let text =
            "services: [{name: a, demand: {trace: t.csv, scale: 10, seconds_per_row: 60}}]\nbackend: {capacity: 1}";
        std::fs::write(&path, text).expect("written");
        let Ok(Plan::Sampling(scenario)) = load(&path, None) else { panic!("a sampling scenario") };
        let rows = vec![(0.0, 10.0), (60.0, 30.0), (120.0, 20.0)];
        assert_eq!(scenario.services[0].demand, [Shape::Recorded { rows }]);
        assert_eq!((scenario.duration, scenario.warmup), (seconds(180), seconds(45)));
    }

    #[test]
    fn checks_come_in_the_order_of_the_metrics() {
        let scenario = scenario(&format!(
            "{PLANT}checks: {{ratio.score: {{max: 2}}, utilization: {{min: 1}}, loss_ratio: {{max: 1}}}}"
        ));
        let names: Vec<&str> = scenario.checks.iter().map(|check| check.metric.as_str()).collect();
        assert_eq!(names, ["loss_ratio", "utilization", "ratio.score"]);
    }
}
