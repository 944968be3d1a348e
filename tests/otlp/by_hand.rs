//! Requests that no SDK makes, and what it is told.

use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use libtest_mimic::Trial;
use reqwest::{Client, Response};
use serde_json::{Value, json};

use super::support::child::wait_for;
use super::support::flyball::Flyball;
use super::{PATIENCE, SOURCE, input, metric, otlp, policy, start};

const DEMAND: &str = "counter: http.server.requests, by: [service.name], service_label: service.name";
const EXPORT: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
/// One second, and the nanoseconds since 1970 of our own clock.
const SECOND_NS: u128 = 1_000_000_000;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("by_hand::what_is_no_request_is_told_so_over_http", malformed_over_http),
        trial("by_hand::what_is_no_request_is_told_so_over_grpc", malformed_over_grpc),
        trial("by_hand::points_that_are_no_counts_are_a_partial_success", partial_success),
        trial("by_hand::demand_made_of_sampled_spans_is_refused_with_the_reason", spans),
        trial("by_hand::a_process_with_a_wrong_clock_is_read", wrong_clock),
        trial("by_hand::a_request_that_is_too_large_is_refused", too_large),
        trial("by_hand::a_policy_may_have_demand_pushed_and_loss_scraped", mixed),
        trial("by_hand::check_online_says_what_is_pushed", check_online),
        trial("by_hand::it_ends_in_time_with_a_connection_open", drains),
    ]
}

fn trial(name: &str, test: impl AsyncFnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        runtime.block_on(test());
        Ok(())
    })
}

fn now_ns() -> u128 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("after 1970").as_nanos()
}

/// A cumulative counter's point of the service `shop`, which began a day ago, `age_s` old.
fn pushed(name: &str, scope: &str, value: &Value, age_s: u128) -> Value {
    static STARTED: OnceLock<u128> = OnceLock::new();
    let started = STARTED.get_or_init(|| now_ns() - 86_400 * SECOND_NS);
    let at = now_ns() - age_s * SECOND_NS;
    let point = json!({
        "startTimeUnixNano": started.to_string(),
        "timeUnixNano": at.to_string(),
        "asDouble": value,
    });
    json!({"resourceMetrics": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
        "scopeMetrics": [{"scope": {"name": scope}, "metrics": [{
            "name": name,
            "sum": {"dataPoints": [point], "aggregationTemporality": 2, "isMonotonic": true},
        }]}],
    }]})
}

async fn post(flyball: &Flyball, content_type: &str, body: impl Into<reqwest::Body>) -> Response {
    let url = format!("http://{}/v1/metrics", otlp(flyball));
    let request = Client::new().post(url).header("content-type", content_type).body(body);
    request.send().await.expect("an answer")
}

async fn post_json(flyball: &Flyball, body: &Value) -> Value {
    let answer = post(flyball, "application/json", body.to_string()).await;
    assert_eq!(answer.status(), 200);
    answer.json().await.expect("JSON")
}

/// Pushes a counter that rises by 100 a second until `is_done`.
async fn push_until<T>(flyball: &Flyball, name: &str, age_s: u128, is_done: impl Fn() -> Option<T>) -> T {
    let started = std::time::Instant::now();
    loop {
        let value = json!(1e6 + started.elapsed().as_secs_f64() * 100.0);
        post_json(flyball, &pushed(name, "http", &value, age_s)).await;
        if let Some(done) = is_done() {
            return done;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Until the first tick nothing is known to be wanted.
async fn until_policies_are_read(flyball: &Flyball) {
    push_until(flyball, "backend.spans", 0, || {
        (metric(flyball, "flyball_otlp_points_total{outcome=\"ok\"}") >= 1.0).then_some(())
    })
    .await;
}

async fn malformed_over_http() {
    let flyball = start(DEMAND);
    for (content_type, body, status) in [
        ("application/json", "{", 400),
        ("application/json; charset=utf-8", r#"{"resourceMetrics": 7}"#, 400),
        ("application/x-protobuf", "\u{1}\u{2}\u{3}", 400),
        ("text/plain", "", 415),
        ("application/json", "{}", 200),
        ("application/x-protobuf", "", 200),
    ] {
        let answer = post(&flyball, content_type, body).await;
        assert_eq!(answer.status(), status, "{content_type} {body:?}");
    }
    let address = otlp(&flyball);
    let client = Client::new();
    let get = client.get(format!("http://{address}/v1/metrics")).header("content-type", "application/json");
    assert_eq!(get.send().await.expect("an answer").status(), 405);
    let traces = client.post(format!("http://{address}/v1/traces")).header("content-type", "application/json");
    let answer = traces.body("{}").send().await.expect("an answer");
    assert_eq!(answer.status(), 404);
    let said: Value = answer.json().await.expect("JSON");
    assert!(said["message"].as_str().is_some_and(|said| said.contains("/v1/metrics")), "{said}");
    let zstd = client.post(format!("http://{address}/v1/metrics")).header("content-type", "application/json");
    assert_eq!(zstd.header("content-encoding", "zstd").body("x").send().await.expect("an answer").status(), 415);
}

async fn malformed_over_grpc() {
    let flyball = start(DEMAND);
    let client = Client::builder().http2_prior_knowledge().build().expect("a client");
    for (path, body, code) in [
        (EXPORT, &b"\0\0\0\0\x01\xff"[..], "3"),
        (EXPORT, b"\0\0", "3"),
        (EXPORT, b"\x01\0\0\0\0", "12"),
        ("/opentelemetry.proto.collector.trace.v1.TraceService/Export", b"\0\0\0\0\0", "12"),
    ] {
        let url = format!("http://{}{path}", otlp(&flyball));
        let request = client.post(url).header("content-type", "application/grpc").body(body);
        let answer = request.send().await.expect("an answer");
        let status = answer.headers().get("grpc-status").and_then(|status| status.to_str().ok());
        assert_eq!((answer.status().as_u16(), status), (200, Some(code)), "{path} {body:?}");
    }
}

async fn partial_success() {
    let flyball = start(DEMAND);
    until_policies_are_read(&flyball).await;
    let said = post_json(&flyball, &pushed("http.server.requests", "http", &json!(-1.0), 0)).await;
    assert_eq!(said["partialSuccess"]["rejectedDataPoints"].to_string().trim_matches('"'), "1", "{said}");
    assert!(said["partialSuccess"]["errorMessage"].as_str().is_some_and(|m| m.contains("no counts")), "{said}");
    assert_eq!(metric(&flyball, "flyball_otlp_points_total{outcome=\"bad_value\"}"), 1.0);
    let other = post_json(&flyball, &pushed("another.metric", "http", &json!(1.0), 0)).await;
    assert_eq!(other, json!({}), "what nobody wants is no failure of its sender");
    assert!(metric(&flyball, "flyball_otlp_points_total{outcome=\"unwanted\"}") >= 1.0);
}

async fn spans() {
    let flyball = start("counter: my.own.calls, by: [service.name], service_label: service.name");
    until_policies_are_read(&flyball).await;
    for _ in 0..3 {
        let said = post_json(&flyball, &pushed("my.own.calls", "spanmetricsconnector", &json!(5.0), 0)).await;
        let message = said["partialSuccess"]["errorMessage"].as_str().unwrap_or_default();
        assert!(message.contains("adjusted: true"), "{said}");
    }
    let warned = || {
        let log = flyball.log.lock().expect("not poisoned");
        log.iter().filter(|line| line.contains("points over OTLP are refused")).count()
    };
    assert_eq!(warned(), 1, "said once");
    wait_for("the loop to say why it has no demand", PATIENCE, || {
        let log = flyball.log.lock().expect("not poisoned");
        log.iter().any(|line| line.contains("is made of sampled spans")).then_some(())
    });
}

async fn wrong_clock() {
    let flyball = start(DEMAND);
    let two_hours = 7200;
    push_until(&flyball, "http.server.requests", two_hours, || {
        let demand = input(&flyball, "shop", "demand_per_second")?;
        let is_fresh = !flyball.degraded()?.iter().any(|reason| reason == "stale");
        ((60.0..150.0).contains(&demand) && is_fresh).then_some(())
    })
    .await;
}

async fn too_large() {
    let flyball = Flyball::start("{otlp: {listen: '127.0.0.1:0', body_max_bytes: 65536}}", &policy(DEMAND));
    let answer = post(&flyball, "application/json", " ".repeat(65_537)).await;
    assert_eq!(answer.status(), 413);
    let said: Value = answer.json().await.expect("JSON");
    assert!(said["message"].as_str().is_some_and(|said| said.contains("body_max_bytes")), "{said}");
}

async fn mixed() {
    let backend = super::support::http::Server::start(|| {
        "# TYPE spans counter\nspans_total{x=\"1\"} 5\ndropped_total 0\n".to_owned()
    });
    let source = format!(
        "{{scrape: {{targets: ['http://{}/metrics'], interval: 200ms, timeout: 200ms}}, otlp: {{listen: '127.0.0.1:0'}}}}",
        backend.address
    );
    let policy = format!(
        "policy: shop\nsignals:\n  demand: {{{DEMAND}, from: otlp}}\n  received: {{counter: spans_total}}\n  \
         dropped: {{counter: dropped_total}}\n"
    );
    let flyball = Flyball::start(&source, &policy);
    push_until(&flyball, "http.server.requests", 0, || {
        let demand = input(&flyball, "shop", "demand_per_second").filter(|demand| (60.0..150.0).contains(demand));
        demand.and(input(&flyball, "shop", "received_per_second"))
    })
    .await;
}

async fn check_online() {
    let flyball = start(DEMAND);
    let mut check = Command::new(env!("CARGO_BIN_EXE_flyball"));
    check.args(["check", "--online", "--config"]).arg(flyball.home().path().join("flyball.yaml"));
    check.env("FLYBALL__SOURCE__OTLP__LISTEN", otlp(&flyball).to_string());
    let taken = check.output().expect("it runs");
    let said = String::from_utf8_lossy(&taken.stdout);
    assert!(taken.status.success() && said.contains("If a Flyball runs there"), "{said}");
    assert!(said.contains("pushed over OTLP"), "{said}");
}

async fn drains() {
    let mut flyball = Flyball::start(SOURCE, &policy(DEMAND));
    let idle = std::net::TcpStream::connect(otlp(&flyball)).expect("a connection");
    let id = i32::try_from(flyball.child.0.id()).expect("a process id");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGTERM).expect("alive");
    let status = wait_for("the end", Duration::from_secs(8), || flyball.child.0.try_wait().ok().flatten());
    assert_eq!(status.code(), Some(0));
    drop(idle);
}
