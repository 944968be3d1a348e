//! Policy files on disk: the shipped ones load, defaults are as documented, and no bytes make the reader panic.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flyball::document::problem::{Problem, Problems};
use flyball::keepalive::cohort::Transport;
use flyball::keepalive::policy::{Fleet, Fleets, SecondAck, Waves};
use flyball::keepalive::wave::gate::Gate;
use flyball::keepalive::wave::metric::Bad;
use flyball::policy::load::{Loaded, load};
use flyball::policy::{LoadedPolicy, SourceKind, SourceKinds};
use flyball::sampling::policy::{Law, Policy, ThresholdConstants};
use flyball::source::{MatchOp, Query, Unit};
use proptest::prelude::*;

const SIGNALS: &str = "signals:
  demand: {query: 'sum by (service) (rate(a[1m]))'}
  received: {query: 'sum(rate(b[1m]))'}
  dropped: {query: 'sum(rate(c[1m]))'}
";

fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).expect("writable");
    }
    folder
}

fn load_one(text: &str) -> Result<Loaded, Problems> {
    load(folder(&[("p.yaml", text.as_bytes())]).path(), SourceKind::Prometheus)
}

fn policy(rest: &str) -> LoadedPolicy {
    let text = format!("policy: p\n{SIGNALS}{rest}");
    load_one(&text).unwrap_or_else(|errors| panic!("{text}\n{errors}")).set.policies.remove(0)
}

/// A policy with this demand: its labels, or the error.
fn labels(demand: &str) -> Result<(String, Option<String>), String> {
    let demand = format!("  demand: {demand}");
    let text = format!("policy: p\n{SIGNALS}").replace("  demand: {query: 'sum by (service) (rate(a[1m]))'}", &demand);
    let mut loaded = load_one(&text).map_err(|errors| errors.0[0].line())?;
    let signals = loaded.set.policies.remove(0).signals;
    Ok((signals.demand.service_label.clone(), signals.demand.operation_label.clone()))
}

fn lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(Problem::line).collect()
}

#[test]
fn the_commented_reference_loads_without_warnings_and_states_the_defaults() {
    for kind in [SourceKind::Prometheus, SourceKind::Scrape] {
        let loaded = load(&shipped("policies"), kind).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(lines(&loaded.warnings), Vec::<String>::new());
        assert_eq!(loaded.set.policies.len(), 1);
        assert_eq!(*loaded.set.policies[0].sampling, Policy::with_defaults("default"));
    }
}

#[test]
fn every_comment_of_the_reference_that_is_a_key_loads_too() {
    let text = std::fs::read_to_string(shipped("policies/default.yaml")).expect("shipped");
    let uncommented: Vec<&str> = text
        .lines()
        .skip_while(|line| !line.starts_with("# threshold:"))
        .map(|line| line.strip_prefix("# ").unwrap_or(line))
        .filter(|line| line.starts_with("threshold:") || line.starts_with("services:") || line.starts_with("  "))
        .collect();
    let loaded = load_one(&format!("policy: p\n{SIGNALS}law: threshold\n{}\n", uncommented.join("\n")));
    let policy = loaded.unwrap_or_else(|errors| panic!("{errors}")).set.policies.remove(0).sampling;
    assert_eq!(policy.law, Law::Threshold(ThresholdConstants::default()));
    assert_eq!(policy.services.len(), 4);
}

#[test]
fn every_example_loads_without_warnings() {
    let mut count = 0;
    for entry in std::fs::read_dir(shipped("policies/examples")).expect("shipped") {
        let text = std::fs::read_to_string(entry.expect("an entry").path()).expect("readable");
        let kinds = SourceKinds { asked: Some(SourceKind::Prometheus), has_otlp: true };
        let loaded =
            load(folder(&[("p.yaml", text.as_bytes())]).path(), kinds).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(lines(&loaded.warnings), Vec::<String>::new());
        count += 1;
    }
    assert!(count >= 4);
}

#[test]
fn a_default_gives_way_to_what_is_written() {
    let bounds = |text: &str| {
        let bounds = policy(text).sampling.probability;
        [bounds.min, bounds.max, bounds.initial, bounds.fallback].map(|p| p.get())
    };
    assert_eq!(bounds(""), [0.001, 1.0, 0.1, 0.01]);
    assert_eq!(bounds("probability: {min: 0.2}"), [0.2, 1.0, 0.2, 0.2]);
    assert_eq!(bounds("probability: {max: 0.05}"), [0.001, 0.05, 0.05, 0.01]);
    assert_eq!(bounds("probability: {max: 0}"), [0.0; 4]);
    let budget = |text: &str| {
        let budget = policy(text).sampling.budget;
        (budget.spans_per_second, budget.min, budget.max)
    };
    assert_eq!(budget("budget: {spans_per_second: auto}"), (None, 50.0, 1e6));
    assert_eq!(budget("budget: {spans_per_second: 8}"), (Some(8.0), 8.0, 1e6));
    assert_eq!(budget("budget: {spans_per_second: 2e6}"), (Some(2e6), 50.0, 2e6));
    assert_eq!(budget("budget: {max: 10}"), (None, 10.0, 10.0));
    assert_eq!(budget("budget: {min: 2e6}"), (None, 2e6, 2e6));
}

#[test]
fn without_services_all_are_governed_and_none_is_claimed() {
    let one = format!("policy: one\n{SIGNALS}");
    let two = format!("policy: two\n{SIGNALS}services: [{{match: \"*\"}}]\n");
    let folder = folder(&[("1.yaml", one.as_bytes()), ("2.yml", two.as_bytes())]);
    let loaded = load(folder.path(), SourceKind::Prometheus).unwrap_or_else(|errors| panic!("{errors}"));
    let claims: Vec<bool> = loaded.set.policies.iter().map(|p| p.sampling.claims_services).collect();
    assert_eq!(claims, [false, true]);
}

#[test]
fn policies_are_sorted_by_name_and_other_files_are_left_alone() {
    let text = |name: &str| format!("policy: {name}\n{SIGNALS}").into_bytes();
    let files: [(&str, &[u8]); 5] = [
        ("a.yaml", &text("zebra")),
        ("b.yml", &text("ant")),
        (".hidden.yaml", b"{"),
        ("notes.txt", b"{"),
        ("a.yaml~", b"{"),
    ];
    let folder = folder(&files);
    std::fs::create_dir(folder.path().join("examples.yaml")).expect("a folder");
    let loaded = load(folder.path(), SourceKind::Prometheus).unwrap_or_else(|errors| panic!("{errors}"));
    let names: Vec<String> = loaded.set.policies.iter().map(|p| p.sampling.name.to_string()).collect();
    assert_eq!(names, ["ant", "zebra"]);
    assert!(loaded.files[0].ends_with("b.yml"));
}

#[test]
fn the_service_label_is_the_only_one_or_the_one_called_service() {
    let found = |service: &str, operation: Option<&str>| Ok((service.to_owned(), operation.map(str::to_owned)));
    for (demand, expected) in [
        ("{counter: a, by: [app]}", found("app", None)),
        ("{counter: a, by: [operation]}", found("operation", None)),
        ("{counter: a, by: [service, operation]}", found("service", Some("operation"))),
        ("{counter: a, by: [service, route], operation_label: route}", found("service", Some("route"))),
        ("{counter: a, by: [app, route], service_label: app, operation_label: route}", found("app", Some("route"))),
        ("{counter: a, by: [app, operation], service_label: app}", found("app", Some("operation"))),
        ("{query: 'topk(5, x)'}", found("service", None)),
        ("{query: 'topk(5, x)', service_label: app, operation_label: op}", found("app", Some("op"))),
    ] {
        assert_eq!(labels(demand), expected, "{demand}");
    }
    for demand in ["{counter: a}", "{counter: a, by: [app, route]}", "{counter: a, by: [service, route]}"] {
        assert!(labels(demand).is_err(), "{demand}");
    }
}

#[test]
fn a_counter_keeps_its_conditions_and_totals_keep_no_labels() {
    let text = "policy: p
signals:
  demand: {counter: a, match: {job: '=~shop|cart', zone: eu}, by: [service], window: 2m}
  received: {query: 'sum by (exporter) (rate(b{job!=\"x\"}[5m]))', unit: traces}
  dropped: {counter: c}
spans_per_trace: 4
";
    let loaded = load_one(text).unwrap_or_else(|errors| panic!("{errors}"));
    let signals = &loaded.set.policies[0].signals;
    assert_eq!(signals.unit, Unit::Traces);
    let Query::Counter(demand) = &signals.demand.query else { panic!("a counter") };
    let matchers: Vec<_> = demand.matchers.iter().map(|m| (m.label.as_str(), m.op, m.value.as_str())).collect();
    assert_eq!(matchers, [("job", MatchOp::Regex, "shop|cart"), ("zone", MatchOp::Equal, "eu")]);
    assert_eq!((demand.by.as_slice(), demand.window), (["service".to_owned()].as_slice(), Duration::from_secs(120)));
    let Query::Counter(received) = &signals.received else { panic!("a counter") };
    assert_eq!((received.by.len(), received.window), (0, Duration::from_secs(300)));
}

#[test]
fn a_file_that_is_too_large_or_no_file_is_refused() {
    let large = vec![b'#'; (1 << 20) + 1];
    let folder = folder(&[("large.yaml", &large), ("bytes.yaml", b"policy: \xff")]);
    std::os::unix::fs::symlink("/dev/zero", folder.path().join("device.yaml")).expect("a link");
    std::os::unix::fs::symlink("nowhere", folder.path().join("gone.yaml")).expect("a link");
    let errors = load(folder.path(), SourceKind::Prometheus).expect_err("errors").to_string();
    for part in ["larger than 1024 KiB", "not UTF-8 text, from byte 8", "not a regular file", "No such file"] {
        assert!(errors.contains(part), "{part} in\n{errors}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_a_policy_or_errors(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = load(folder(&[("p.yaml", &bytes)]).path(), SourceKind::Prometheus);
    }

    #[test]
    fn any_edit_of_a_policy_is_a_policy_or_errors(at in 0usize..4000, cut in 0usize..40, put in "[\\PC\n\t]{0,8}") {
        let text = std::fs::read_to_string(shipped("policies/examples/otel-collector.yaml")).expect("shipped");
        let mut characters: Vec<char> = text.chars().collect();
        let from = at % characters.len();
        let to = (from + cut).min(characters.len());
        characters.splice(from..to, put.chars());
        let text: String = characters.into_iter().collect();
        if let Err(errors) = load(folder(&[("p.yaml", text.as_bytes())]).path(), SourceKind::Scrape) {
            prop_assert!(!errors.0.is_empty() && !errors.to_string().is_empty());
        }
    }
}

fn fleet(rest: &str) -> Arc<Fleet> {
    let text = format!("fleet: f\n{rest}");
    load_one(&text).unwrap_or_else(|errors| panic!("{text}\n{errors}")).set.fleets.remove(0)
}

#[test]
fn the_commented_fleet_file_states_the_defaults() {
    let text = std::fs::read_to_string(shipped("policies/examples/fleet.yaml")).expect("shipped");
    let loaded = load_one(&text).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((loaded.set.policies.len(), loaded.set.fleets.len()), (0, 1));
    let waves = loaded.set.fleets[0].waves.as_ref().expect("an example");
    assert_eq!((&waves.policy, &waves.gates), (&Waves::default().policy, &Waves::default().gates));
    let examples = Fleet { matches: Vec::new(), pins: Vec::new(), waves: None, ..(*loaded.set.fleets[0]).clone() };
    assert_eq!(examples, Fleet::named("gateways"));
    assert_eq!(loaded.set.fleets[0].pins[0].nat_timeout, Duration::from_millis(112_347));
}

#[test]
fn a_fleet_file_needs_nothing_but_its_name_and_a_folder_without_one_has_a_fleet_of_all() {
    assert_eq!(*fleet(""), Fleet::named("f"));
    let loaded = load_one(&format!("policy: p\n{SIGNALS}")).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.set.fleets(), Arc::new(Fleets { fleets: vec![Arc::new(Fleet::named("default"))] }));
}

#[test]
fn in_a_fleet_file_too_a_default_gives_way_to_what_is_written() {
    let bounds = |text: &str| {
        let interval = fleet(text).interval;
        [interval.min, interval.max].map(|bound| bound.as_secs())
    };
    assert_eq!(bounds("interval: {min: 1h}"), [3_600, 3_600]);
    assert_eq!(bounds("interval: {max: 10s}"), [10, 10]);
    assert_eq!(fleet("second_ack: off").second_ack, SecondAck::Off);
    assert_eq!(fleet("second_ack: 1m").second_ack, SecondAck::After(Duration::from_secs(60)));
    assert!(!fleet("release: hold").is_longer_released);
}

#[test]
fn waves_are_off_unless_they_are_written_and_every_key_has_a_default() {
    assert_eq!((fleet("").waves.clone(), fleet("waves: off").waves.clone()), (None, None));
    assert_eq!(fleet("waves: {}").waves, Some(Waves::default()));
    let waves = fleet("waves: {percent: [10, 100], hold_intervals: 5, max_hold: 2d, gates: [coverage]}").waves.clone();
    let waves = waves.expect("written");
    assert_eq!((waves.policy.percent, waves.policy.hold_intervals), (vec![10, 100], 5));
    assert_eq!((waves.policy.max_hold.as_secs(), waves.gates.0), (172_800, vec![Gate::Coverage]));
    let waves = fleet(
        "waves: {queries: [{name: errors, query: up, max: 5}, {name: delay, treated: a, control: b, min_ratio: 0.9}]}",
    )
    .waves
    .clone();
    let [errors, delay] = &waves.expect("written").queries[..] else { panic!("two") };
    assert_eq!((errors.spec.bad, errors.control.clone()), (Bad::Above(5.0), None));
    assert_eq!((delay.spec.bad, delay.control.as_deref()), (Bad::BelowControl(0.9), Some("b")));
}

#[test]
fn waves_that_could_not_decide_anything_are_refused() {
    let errors = |waves: &str| {
        let loaded = load_one(&format!("fleet: f\nwaves: {waves}\n"));
        loaded.err().map(|problems| lines(&problems.0)).unwrap_or_default()
    };
    for (waves, why) in [
        ("on", "a map such as"),
        ("{speed: 1}", "unknown key"),
        ("{percent: []}", "the last 100"),
        ("{percent: [20, 5, 100]}", "each above the one before"),
        ("{percent: [0, 100]}", "each above the one before"),
        ("{percent: [5, 90]}", "the last 100"),
        ("{percent: [5, 300]}", "the last 100"),
        ("{hold_intervals: 0}", "from 1 to 1000"),
        ("{max_hold: 1m}", "no wave could pass"),
        ("{gates: []}", "at least one of"),
        ("{gates: [coverage, coverage]}", "each once"),
        ("{gates: [speed]}", "expected one of"),
        ("{queries: [{query: up, max: 1}]}", "needs a `name`"),
        ("{queries: [{name: coverage, query: up, max: 1}]}", "not the name of a gate"),
        ("{queries: [{name: a, query: up}]}", "exactly one of max, min"),
        ("{queries: [{name: a, query: up, max: 1, min: 0}]}", "exactly one of max, min"),
        ("{queries: [{name: a, query: up, max_ratio: 1}]}", "needs `treated` and `control`"),
        ("{queries: [{name: a, treated: up, control: up, max: 1}]}", "is one of a `query`"),
        ("{queries: [{name: a, query: up, max: 1}, {name: a, query: up, max: 1}]}", "twice"),
        ("{queries: [{name: a, treated: up, control: up, max_ratio: 0}]}", "from 0.001 to 1000"),
    ] {
        let errors = errors(waves);
        assert!(errors.iter().any(|error| error.contains(why)), "{waves}: {errors:?}");
    }
    assert_eq!(errors("{max_hold: 2h}"), Vec::<String>::new(), "a warning");
}

fn ab_test_errors(test: &str) -> Vec<String> {
    let text = format!("fleet: f\ninterval: {{min: 30s, max: 10m}}\nab_tests:\n  - {test}\n");
    load_one(&text).err().map(|problems| lines(&problems.0)).unwrap_or_default()
}

#[test]
fn an_ab_test_is_two_plans_over_groups_of_one_label() {
    let tests = &fleet(
        "ab_tests: [{name: winter, by: region, a: {groups: [north], interval: 60s}, b: {groups: [south, west], interval: 90s}}]",
    )
    .ab_tests;
    let [test] = &tests[..] else { panic!("{tests:?}") };
    let [a, b] = &test.plans;
    assert_eq!((&*test.name, &*test.by, test.hold_intervals), ("winter", "region", 3));
    assert_eq!([a.interval, b.interval, test.max_hold].map(|one| one.as_secs()), [60, 90, 86_400]);
    assert_eq!((a.groups.len(), &*b.groups[1]), (1, "west"));
}

#[test]
fn an_ab_test_asks_an_operators_queries_as_waves_do() {
    let tests = &fleet(
        "ab_tests: [{name: winter, by: region, a: {groups: [north], interval: 60s}, b: {groups: [south], interval: 90s}, \
         queries: [{name: delay, treated: 'delay{region=\"south\"}', control: 'delay{region=\"north\"}', max_ratio: 1.1}]}]",
    )
    .ab_tests;
    let [query] = &tests[0].queries[..] else { panic!("{tests:?}") };
    assert_eq!((&*query.spec.name, query.spec.bad), ("delay", Bad::AboveControl(1.1)));
    assert_eq!(query.control.as_deref(), Some("delay{region=\"north\"}"));
}

#[test]
fn an_ab_test_that_could_not_decide_anything_is_refused() {
    let a = "a: {groups: [north], interval: 60s}";
    let b = "b: {groups: [south], interval: 90s}";
    assert_eq!(ab_test_errors(&format!("{{name: x, by: region, {a}, {b}}}")), Vec::<String>::new());
    for (test, said) in [
        (format!("{{name: x, {a}, {b}}}"), "ab_tests[0].by: needs the label"),
        (format!("{{by: region, {a}, {b}}}"), "ab_tests[0].name: needs a name"),
        (format!("{{name: x, by: region, {a}}}"), "ab_tests[0].b: needs a plan"),
        (format!("{{name: x/y, by: region, {a}, {b}}}"), "ab_tests[0].name: \"x/y\": allowed are 1 to 64 characters"),
        (
            format!("{{name: x, by: rack, {a}, {b}}}"),
            "ab_tests[0].by: \"rack\": no label of `cohort_by` (carrier, region)",
        ),
        (format!("{{name: x, by: region, {a}, b: {{groups: [south], interval: 60s}}}}"), "nothing to compare"),
        (format!("{{name: x, by: region, {a}, b: {{groups: [north], interval: 90s}}}}"), "\"north\" is of a, too"),
        (format!("{{name: x, by: region, {a}, b: {{groups: [], interval: 90s}}}}"), "allowed are 1 to 64 groups"),
        (format!("{{name: x, by: region, {a}, b: {{groups: [south]}}}}"), "ab_tests[0].b.interval: needs an interval"),
        (
            format!("{{name: x, by: region, {a}, b: {{groups: [south], interval: 20m}}}}"),
            "allowed are durations from 30s",
        ),
        (format!("{{name: x, by: region, {a}, {b}, max_hold: 10m}}"), "it would never be decided"),
        (
            format!("{{name: x, by: region, {a}, {b}, queries: [{{name: errors, query: up}}]}}"),
            "ab_tests[0].queries[0]: needs exactly one of max, min",
        ),
        (format!("{{name: x, by: region, {a}, {b}, hold_intervals: 0}}"), "allowed are whole numbers from 1 to 10000"),
        (
            format!("{{name: x, by: region, {a}, {b}}}\n  - {{name: x, by: region, {a}, {b}}}"),
            "another test of this file",
        ),
    ] {
        let errors = ab_test_errors(&test);
        assert!(errors.len() == 1 && errors[0].contains(said), "{test}\n{errors:?}");
    }
}

#[test]
fn policies_and_fleets_stand_in_one_folder_and_the_first_fleet_by_name_takes_a_device() {
    let policy = format!("policy: p\n{SIGNALS}");
    let folder = folder(&[
        ("z.yaml", b"fleet: all-others\n".as_slice()),
        ("a.yaml", b"fleet: a\nmatch: {carrier: 'x*'}\n".as_slice()),
        ("p.yaml", policy.as_bytes()),
    ]);
    let loaded = load(folder.path(), SourceKind::Prometheus).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((loaded.set.policies.len(), lines(&loaded.warnings)), (1, Vec::new()));
    let fleet_of = |carrier: &str| {
        let labels = [("carrier".into(), carrier.into())].into();
        loaded.set.fleets().cohort_of(&labels, Transport::Udp).0.map(|fleet| fleet.name.to_string())
    };
    assert_eq!((fleet_of("xy").as_deref(), fleet_of("y").as_deref()), (Some("a"), Some("all-others")));
}
