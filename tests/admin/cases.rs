//! What is claimed of the admin socket.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flyball::controller::snapshot::Snapshot;
use flyball::controller::usage::Usage;
use flyball::sampling::decision::Reason;
use libtest_mimic::{Failed, Trial};

use crate::bed::{Bed, HOSTILE, ask, explain, policy, rate, service, snapshot};

type Outcome = Result<(), Failed>;
type Case = fn() -> Outcome;

pub(crate) fn all() -> Vec<Trial> {
    let mut trials: Vec<Trial> = CASES.iter().map(|(name, case)| Trial::test(*name, *case)).collect();
    for (tool, name, case) in TOOL_CASES {
        let is_there = Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
        trials.push(needs(tool, is_there, name, *case));
    }
    trials
}

/// Shown as ignored, with the reason, where what it needs is absent; a failure under `FLYBALL_TEST_STRICT=1`.
fn needs(what: &str, is_there: bool, name: &str, case: Case) -> Trial {
    let is_strict = std::env::var_os("FLYBALL_TEST_STRICT").is_some_and(|value| value == "1");
    if is_there {
        Trial::test(name, case)
    } else if is_strict {
        let missing = format!("{what} is missing");
        Trial::test(name, move || Err(missing.into()))
    } else {
        Trial::test(format!("{name} (needs {what})"), || Ok(())).with_ignored_flag(true)
    }
}

const CASES: &[(&str, Case)] = &[
    ("liveness_and_readiness_are_200_also_before_the_first_policy", ready_before_policies),
    ("readiness_stays_200_when_degraded_and_says_why", ready_when_degraded),
    ("status_tells_version_generation_policies_and_age", status_tells),
    ("the_page_is_complete_without_scripts_and_forbids_foreign_ones", page_is_complete),
    ("hostile_names_are_text_on_the_page_in_json_and_in_labels", hostile_names),
    ("a_services_own_row_comes_first", own_row_first),
    ("a_service_is_found_by_its_percent_encoded_name", percent_encoded),
    ("an_unknown_service_is_404_and_says_what_it_is_told", unknown_service),
    ("unknown_paths_are_404_and_wrong_methods_405", wrong_paths_and_methods),
    ("a_hundred_thousand_rows_are_one_consistent_list", many_rows),
    ("metrics_have_the_contracts_names_and_the_right_content_type", metrics_names),
    ("a_local_program_may_reload_and_a_foreign_page_may_not", reload_local),
    ("with_a_token_file_a_token_is_needed_and_rotation_is_seen", reload_token),
    ("a_reload_that_fails_is_422_with_the_errors", reload_fails),
    ("an_unusable_token_file_is_refused_at_start", bad_token_file),
    ("an_occupied_port_is_an_error_that_names_it", occupied_port),
    ("a_stop_ends_idle_connections_and_the_server_within_five_seconds", stop_drains),
    ("explain_says_why_what_would_change_it_and_how_old", explain_says_why),
    ("explain_names_operations_answered_but_never_matched", explain_unmatched),
    ("explain_of_an_unknown_service_ends_with_1_and_says_what_it_is_told", explain_unknown),
    ("explain_without_a_server_ends_with_1_and_says_where_it_looked", explain_without_server),
    ("explain_with_a_bad_url_ends_with_2", explain_bad_url),
    ("explain_prints_no_control_character_of_a_name", explain_hostile),
];

/// Both tools come with Debian's package `prometheus`.
const TOOL_CASES: &[(&str, &str, Case)] = &[
    ("promtool", "promtool_finds_no_fault_in_the_metrics", promtool_check),
    ("prometheus", "a_real_prometheus_scrapes_hostile_names_unchanged", prometheus_scrape),
];

fn shop() -> Snapshot {
    let services = vec![service("checkout", 0.25, Reason::Share), service("search", 0.1, Reason::DeadBand)];
    snapshot(vec![policy("shop", services)])
}

fn hostile() -> Snapshot {
    let mut hostile = service(HOSTILE, 0.5, Reason::AtMax);
    hostile.operations[0].operation = HOSTILE.into();
    snapshot(vec![policy("shop", vec![hostile])])
}

fn ready_before_policies() -> Outcome {
    let bed = Bed::new(snapshot(Vec::new()));
    assert_eq!(bed.get("/livez").status, 200);
    let ready = bed.get("/readyz");
    assert_eq!((ready.status, ready.json()), (200, serde_json::json!({"ready": true, "degraded": []})));
    assert_eq!(bed.get("/api/v1/decisions").json(), serde_json::json!([]));
    assert!(bed.get("/").body.contains("No policy has decided anything yet"));
    Ok(())
}

fn ready_when_degraded() -> Outcome {
    let bed = Bed::new(shop());
    for (generation, reason) in
        [Reason::Stale, Reason::Outage, Reason::Fallback, Reason::Partial].into_iter().enumerate()
    {
        let mut degraded = policy("shop", Vec::new());
        degraded.degraded = Some(reason);
        let mut next = snapshot(vec![degraded]);
        next.generation += generation as u64;
        bed.published.publish(next);
        let ready = bed.get("/readyz");
        let expected = serde_json::json!({"ready": true, "degraded": [reason.as_str()]});
        assert_eq!((ready.status, ready.json()), (200, expected));
        assert!(bed.get("/metrics").body.contains(&format!("flyball_degraded{{reason=\"{}\"}} 1.0", reason.as_str())));
        assert!(bed.get("/").body.contains("Degraded, and still answering"));
    }
    Ok(())
}

fn status_tells() -> Outcome {
    let status = Bed::new(shop()).get("/status").json();
    assert_eq!(status["version"], "1.2.3-test");
    assert_eq!(status["generation"], 1_795_000_000_000_u64);
    assert_eq!(status["policies"][0]["policy"], "shop");
    assert_eq!(status["policies"][0]["law"], "adaptive");
    assert_eq!(status["policies"][0]["services"], 2);
    assert!(status["policies"][0]["source_age_seconds"].as_f64().is_some_and(|age| (3.0..20.0).contains(&age)));
    assert!(status["uptime_seconds"].as_f64().is_some_and(|uptime| (0.0..20.0).contains(&uptime)));
    assert_eq!(status["paths"]["policies"], "policies");
    Ok(())
}

fn page_is_complete() -> Outcome {
    let bed = Bed::new(shop());
    let page = bed.get("/");
    assert_eq!(page.status, 200);
    assert!(page.head.contains("content-type: text/html; charset=utf-8"), "{}", page.head);
    assert!(page.head.contains("content-security-policy: default-src 'none'; script-src 'self'"), "{}", page.head);
    assert!(page.head.contains("x-content-type-options: nosniff"));
    for text in ["checkout", "GET /cart/{id}", "Its fair share is 1,012 of the budget of 6,000 spans/s.", "0.21 %"] {
        assert!(page.body.contains(text), "{text} is not on the page");
    }
    for (path, kind) in [("page.css", "text/css"), ("page.js", "text/javascript"), ("icon.svg", "image/svg+xml")] {
        assert!(page.body.contains(&format!("assets/{path}")));
        let asset = bed.get(&format!("/assets/{path}"));
        assert!(asset.status == 200 && asset.head.contains(&format!("content-type: {kind}")), "{}", asset.head);
    }
    assert!(bed.get("/?q=SEAR").body.contains("<bdi>search</bdi>") && !bed.get("/?q=x").body.contains("<bdi>"));
    Ok(())
}

fn hostile_names() -> Outcome {
    let bed = Bed::new(hostile());
    let page = bed.get("/").body;
    assert!(!page.contains("<script>alert") && page.contains("&lt;script&gt;alert(1)"), "{page}");
    assert_eq!(bed.get("/api/v1/decisions").json()[0]["service"], HOSTILE);
    let metrics = bed.get("/metrics").body;
    let line = metrics.lines().find(|line| line.starts_with("flyball_sampling_probability{")).expect("one service");
    assert!(
        line.contains(r#"service="\"><script>alert(1)</script>\\\n{x=\"y\"} 1"#) && line.ends_with("} 0.5"),
        "{line}"
    );
    let search = bed.get("/?q=%22%3E%3Cscript%3Ealert(1)").body;
    assert!(!search.contains("<script>alert"));
    Ok(())
}

fn own_row_first() -> Outcome {
    let bed = Bed::new(shop());
    let rows = bed.get("/api/v1/decisions/checkout").json();
    assert_eq!(rows.as_array().map(Vec::len), Some(3));
    let own = &rows[0];
    assert_eq!((own["service"].as_str(), own["operation"].is_null()), (Some("checkout"), true));
    assert_eq!((own["probability"].as_f64(), own["served"].as_f64()), (Some(0.25), Some(0.25)));
    assert_eq!((own["reason"].as_str(), own["policy"].as_str()), (Some("share"), Some("shop")));
    let inputs = own["inputs"].as_object().expect("inputs");
    let names: BTreeSet<&str> = inputs.keys().map(String::as_str).collect();
    let expected = [
        "age_seconds",
        "budget_reason",
        "budget_spans_per_second",
        "demand_per_second",
        "expected_traces_per_second",
        "loss_ratio",
        "received_per_second",
        "share_spans_per_second",
        "share_traces_per_second",
        "spans_per_trace",
    ];
    assert_eq!(names, expected.into());
    assert_eq!(rows[1]["operation"], "GET /cart/{id}");
    assert_eq!(rows[1]["inputs"]["demand_per_second"], 400.0);
    Ok(())
}

fn percent_encoded() -> Outcome {
    let names = ["a b", "team/checkout", "é", "100%", "?x=1", "\"><script>"];
    let services = names.iter().map(|name| service(name, 0.5, Reason::Share)).collect::<Vec<_>>();
    let mut decided = policy("shop", services);
    decided.services.sort_by(|a, b| a.service.cmp(&b.service));
    let bed = Bed::new(snapshot(vec![decided]));
    for name in names {
        let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
        assert_eq!(bed.get(&format!("/api/v1/decisions/{encoded}")).json()[0]["service"], name);
    }
    assert_eq!(bed.get("/api/v1/decisions/team/checkout").json()[0]["service"], "team/checkout");
    let broken = bed.get("/api/v1/decisions/%ff");
    assert_eq!((broken.status, broken.json()["error"].is_string()), (400, true));
    Ok(())
}

fn unknown_service() -> Outcome {
    let mut only_checkout = shop();
    let mut rules = flyball::sampling::policy::Policy::with_defaults("shop");
    rules.services[0].pattern = flyball::sampling::pattern::Pattern::new("check*").expect("a pattern");
    only_checkout.policies = vec![Arc::new(rules)];
    let bed = Bed::new(only_checkout);
    let stranger = bed.get("/api/v1/decisions/nobody");
    assert_eq!((stranger.status, stranger.json()["served"].as_f64()), (404, Some(0.001)));
    assert!(stranger.body.contains("no policy matches its name") && stranger.body.contains("told 0.001"));
    let claimed = bed.get("/api/v1/decisions/checker");
    assert_eq!((claimed.status, claimed.json()["policy"].as_str()), (404, Some("shop")));
    Ok(())
}

fn wrong_paths_and_methods() -> Outcome {
    let bed = Bed::new(shop());
    for path in ["/nothing", "/api/v1/", "/api/v1/decisions/", "/assets/../Cargo.toml", "//"] {
        let reply = bed.get(path);
        assert_eq!((reply.status, reply.json()["error"].is_string()), (404, true), "{path}");
    }
    for (method, path, allow) in
        [("GET", "/-/reload", "post"), ("POST", "/status", "get,head"), ("DELETE", "/", "get,head")]
    {
        let reply = bed.ask(method, path, &[]);
        assert_eq!((reply.status, reply.json()["error"].is_string()), (405, true), "{method} {path}");
        assert!(reply.head.contains(&format!("allow: {allow}")), "{method} {path}: {}", reply.head);
    }
    let head = bed.ask("HEAD", "/status", &[]);
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let large = bed.ask("GET", &format!("/{}", "x".repeat(64 << 10)), &[]);
    assert!((400..500).contains(&large.status), "{}", large.status);
    Ok(())
}

fn many_rows() -> Outcome {
    let services = (0..33_334).map(|i| service(&format!("service-{i:06}"), 0.1, Reason::Share)).collect();
    let bed = Bed::new(snapshot(vec![policy("shop", services)]));
    let start = Instant::now();
    let reply = bed.get("/api/v1/decisions");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(reply.body.matches("\"policy\":").count(), 3 * 33_334);
    assert_eq!(reply.json().as_array().map(Vec::len), Some(3 * 33_334));
    let metrics = bed.get("/metrics").body;
    assert_eq!(metrics.matches("\nflyball_sampling_probability{").count(), 10_000);
    assert!(metrics.contains("flyball_sampling_services_unlisted 23334.0"));
    assert!(bed.get("/").body.len() < 2 << 20);
    Ok(())
}

fn metrics_names() -> Outcome {
    let bed = Bed::new(shop());
    let labels = flyball::telemetry::metrics::DecisionLabels { policy: "shop".into(), reason: "share" };
    bed.metrics.decisions.get_or_create(&labels).inc();
    bed.metrics.reload_success.set(1);
    let reply = bed.get("/metrics");
    assert!(reply.head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{}", reply.head);
    for start in [
        "flyball_sampling_probability{policy=\"shop\",service=\"checkout\"} 0.25",
        "flyball_sampling_demand_per_second{policy=\"shop\",service=\"checkout\"} 500",
        "flyball_sampling_loss_ratio{policy=\"shop\"} 0.0021",
        "flyball_sampling_budget_spans_per_second{policy=\"shop\"} 6000",
        "flyball_sampling_decisions_total{policy=\"shop\",reason=\"share\"} 1",
        "flyball_source_age_seconds{policy=\"shop\"} 3",
        "flyball_degraded{reason=\"stale\"} 0",
        "flyball_reload_success 1",
        "flyball_build_info{version=\"1.2.3-test\"} 1",
        "process_start_time_seconds ",
    ] {
        assert!(reply.body.lines().any(|line| line.starts_with(start)), "{start} is not in\n{}", reply.body);
    }
    assert!(reply.body.ends_with("# EOF\n"));
    let older = bed.ask("GET", "/metrics", &[("Accept", "text/plain;version=0.0.4")]);
    assert!(older.head.contains("content-type: text/plain; version=0.0.4") && !older.body.contains("# EOF"));
    Ok(())
}

fn promtool_check() -> Outcome {
    let bed = Bed::new(hostile());
    let labels = flyball::telemetry::metrics::DecisionLabels { policy: "shop".into(), reason: "share" };
    bed.metrics.decisions.get_or_create(&labels).inc();
    let text = bed.ask("GET", "/metrics", &[("Accept", "text/plain;version=0.0.4")]).body;
    let mut promtool = Command::new("promtool");
    let promtool =
        promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn()?;
    child.stdin.take().expect("piped").write_all(text.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}\n{text}", String::from_utf8_lossy(&said));
    Ok(())
}

fn prometheus_scrape() -> Outcome {
    let bed = Bed::new(hostile());
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("prometheus.yml");
    let target = bed.address;
    std::fs::write(
        &config,
        format!(
            "scrape_configs: [{{job_name: flyball, scrape_interval: 1s, static_configs: [{{targets: ['{target}']}}]}}]\n"
        ),
    )?;
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let _prometheus = Running(
        Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?,
    );
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let reply = ask(address, "GET", "/api/v1/query?query=flyball_sampling_probability", &[]);
        let series = reply.ok().filter(|reply| reply.status == 200).map(|reply| reply.json());
        let first = series.map(|answer| answer["data"]["result"][0].clone()).unwrap_or_default();
        if !first.is_null() {
            assert_eq!((first["metric"]["service"].as_str(), first["value"][1].as_str()), (Some(HOSTILE), Some("0.5")));
            return Ok(());
        }
        assert!(Instant::now() < deadline, "no series after a minute");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Ends with the test that started it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _status = self.0.wait();
    }
}

fn reload_local() -> Outcome {
    let bed = Bed::new(shop());
    let done = bed.ask("POST", "/-/reload", &[]);
    assert_eq!((done.status, done.json()), (200, serde_json::json!({"reloaded": true, "report": "2 policies"})));
    let refused = |headers: &[(&str, &str)]| {
        let reply = bed.ask("POST", "/-/reload", headers);
        assert_eq!((reply.status, reply.json()["error"].is_string()), (403, true), "{headers:?}");
    };
    refused(&[("Origin", "http://evil.example")]);
    refused(&[("Origin", "null")]);
    refused(&[("Host", "evil.example:5780")]);
    refused(&[("Host", "evil.example"), ("Origin", "http://evil.example")]);
    refused(&[("X-Forwarded-For", "10.0.0.1")]);
    Ok(())
}

fn reload_token() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("ops.token");
    std::fs::write(&file, "ada:0123456789abcdef\n")?;
    let bed = Bed::with_token_file(shop(), Some(file.clone()));
    let reload = |token: &str| bed.ask("POST", "/-/reload", &[("Authorization", token)]);
    let missing = bed.ask("POST", "/-/reload", &[]);
    assert!(missing.status == 401 && missing.head.contains("www-authenticate: bearer"), "{}", missing.head);
    assert_eq!(reload("Bearer 0123456789abcdee").status, 401);
    assert_eq!(reload("Bearer 0123456789abcdef").status, 200);
    assert_eq!(bed.get("/status").status, 200, "reading stays open");
    std::fs::write(&file, "fedcba9876543210\n")?;
    assert_eq!(reload("Bearer 0123456789abcdef").status, 401);
    assert_eq!(reload("bearer fedcba9876543210").status, 200);
    std::fs::remove_file(&file)?;
    let unreadable = reload("Bearer fedcba9876543210");
    assert_eq!(unreadable.status, 500);
    assert!(!unreadable.body.contains("ops.token"), "{}", unreadable.body);
    Ok(())
}

fn reload_fails() -> Outcome {
    let reply = Bed::new(snapshot(vec![policy("broken", Vec::new())])).ask("POST", "/-/reload", &[]);
    assert_eq!((reply.status, reply.json()), (422, serde_json::json!({"error": "broken.yaml:3: no"})));
    Ok(())
}

fn bad_token_file() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("ops.token");
    std::fs::write(&file, "ada:short\n")?;
    let error = bind_error(std::net::SocketAddr::from(([127, 0, 0, 1], 0)), Some(&file));
    assert!(error.contains("admin.token_file") && error.contains(":1: a token must have at least"), "{error}");
    assert!(
        bind_error(std::net::SocketAddr::from(([127, 0, 0, 1], 0)), Some(&folder.path().join("none")))
            .contains("cannot be read")
    );
    Ok(())
}

fn occupied_port() -> Outcome {
    let bed = Bed::new(shop());
    let error = bind_error(bed.address, None);
    assert!(error.contains("admin.listen") && error.contains(&bed.address.to_string()), "{error}");
    Ok(())
}

fn bind_error(listen: std::net::SocketAddr, token_file: Option<&Path>) -> String {
    let config = flyball::config::AdminConfig { listen, token_file: token_file.map(Into::into) };
    let (reload, _requests) = tokio::sync::mpsc::channel(1);
    let state = flyball::admin::AdminState {
        fleet: flyball::admin::FleetState::default(),
        monitor: flyball::monitor::board::Board::default(),
        published: Arc::new(flyball::controller::snapshot::Published::new(shop())),
        metrics: Default::default(),
        reload,
        clock: flyball::time::Clock::start(),
        version: "1",
        paths: Default::default(),
    };
    let error = flyball::admin::Admin::bind(&config, state).expect_err("no admin");
    let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    format!("{error}: {source}")
}

fn stop_drains() -> Outcome {
    let bed = Bed::new(shop());
    let mut idle = bed.connect();
    let mut half = bed.connect();
    half.write_all(b"GET /status HT")?;
    idle.write_all(format!("GET /livez HTTP/1.1\r\nHost: {}\r\n\r\n", bed.address).as_bytes())?;
    let mut first = [0; 12];
    idle.read_exact(&mut first)?;
    assert_eq!(&first, b"HTTP/1.1 200");
    let start = Instant::now();
    bed.stop();
    idle.read_to_end(&mut Vec::new())?;
    let _reset_or_end = half.read_to_end(&mut Vec::new());
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    while std::net::TcpStream::connect(bed.address).is_ok() {
        assert!(start.elapsed() < Duration::from_secs(5), "the port is still served");
    }
    Ok(())
}

fn explained(bed: &Bed, arguments: &[&str]) -> String {
    let admin = format!("http://{}", bed.address);
    let output = explain(&[arguments, &["--admin", &admin]].concat());
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{error}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

fn explain_says_why() -> Outcome {
    let mut decided = policy("shop", vec![service("checkout", 0.25, Reason::Share)]);
    decided.services[0].rate.served = rate(0.1, Reason::Share).probability;
    let mut dry_run = snapshot(vec![decided]);
    let mut rules = flyball::sampling::policy::Policy::with_defaults("shop");
    rules.mode = flyball::sampling::policy::Mode::DryRun;
    dry_run.policies = vec![Arc::new(rules)];
    let bed = Bed::new(dry_run);
    let text = explained(&bed, &["checkout"]);
    assert_says(
        &text,
        &[
            "shop (dry run)",
            "0.1 served",
            "0.25 would be served",
            "Its fair share is 1,012 of the budget of 6,000 spans/s.",
            "[share]",
            "a larger `weight`",
            "500 requests/s",
            "loss 0.21 %",
            "8.1 spans a trace",
            "keep to 150 traces/s together; 125 expected",
            "input that was 3.0 s old",
            "GET /cart/{id}",
            "not reported",
            "generation 1795000000000",
        ],
    );
    assert_says(&explained(&bed, &["checkout", "POST /order"]), &["checkout: POST /order", "100 requests/s"]);
    assert_says(&explained(&bed, &["checkout", "PUT /x"]), &["PUT /x is not listed"]);
    Ok(())
}

fn explain_unmatched() -> Outcome {
    let mut with_usage = shop();
    let usage = Usage { matched: ["POST /order".into()].into(), unlisted: ["GET".into(), "PATCH".into()].into() };
    with_usage.usage.insert("checkout".into(), Arc::new(usage));
    let bed = Bed::new(with_usage);
    let text = explained(&bed, &["checkout"]);
    assert_says(
        &text,
        &["Answered but never matched", "    GET /cart/{id}\n", "no answer lists", "    GET\n    PATCH\n"],
    );
    assert!(!text.contains("    POST /order\n"), "{text}");
    assert_says(&explained(&bed, &["checkout", "GET /cart/{id}"]), &["never matched"]);
    assert_says(&explained(&bed, &["checkout", "PATCH"]), &["SDKs did meet root spans of that name"]);
    Ok(())
}

fn failed(arguments: &[&str], status: i32) -> String {
    let output = explain(arguments);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(status), 0));
    String::from_utf8(output.stderr).expect("UTF-8")
}

fn explain_unknown() -> Outcome {
    let bed = Bed::new(shop());
    let error = failed(&["nobody", "--admin", &format!("http://{}/", bed.address)], 1);
    assert_says(&error, &["no decision on this service", "told 0.001"]);
    Ok(())
}

fn explain_without_server() -> Outcome {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let error = failed(&["checkout", "--admin", &format!("http://127.0.0.1:{port}")], 1);
    assert_says(&error, &["no Flyball answers at http://127.0.0.1:", "refused"]);
    Ok(())
}

fn explain_bad_url() -> Outcome {
    assert_says(&failed(&["checkout", "--admin", "localhost:5780"], 2), &["http://HOST:PORT"]);
    Ok(())
}

fn explain_hostile() -> Outcome {
    let text = explained(&Bed::new(hostile()), &[HOSTILE]);
    assert!(!text.contains(['\u{1b}', '\u{202e}']) && text.contains(r"\u{1b}[2J"), "{text}");
    Ok(())
}
