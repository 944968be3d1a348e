//! A Prometheus-compatible API that goes wrong in every way known.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flyball::config::Auth;
use flyball::source::{OnlineReading, Signals};
use flyball::telemetry::metrics::OutcomeLabels;
use libtest_mimic::Trial;
use url::Url;

use crate::http::{Reply, Request, Server};
use crate::policy::{Bench, demand, prometheus, signals};
use crate::trial;

/// How the API answers the query for demand; all others it answers well.
#[derive(Debug, Clone, Copy)]
enum Scenario {
    Well,
    Empty,
    Slow,
    Status500,
    Redirect,
    Html,
    Huge,
    HugeUnannounced,
    PartialWithWarnings,
    NativeHistogram,
    Text,
    Matrix,
    Nonsense,
    Refused,
}

const WELL: &str = r#"{"metric":{"service":"cart","operation":"GET"},"value":[1,"7"]}"#;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials: Vec<Trial> = [
        (Scenario::Slow, "timeout"),
        (Scenario::Status500, "status"),
        (Scenario::Redirect, "status"),
        (Scenario::Html, "malformed"),
        (Scenario::Huge, "too_large"),
        (Scenario::HugeUnannounced, "too_large"),
        (Scenario::NativeHistogram, "wrong_type"),
        (Scenario::Text, "wrong_type"),
        (Scenario::Matrix, "wrong_type"),
        (Scenario::Refused, "refused"),
    ]
    .into_iter()
    .map(|(scenario, kind)| {
        trial(&format!("api::{scenario:?}_is_{kind}_in_time"), async move || fails_in_time(scenario, kind).await)
    })
    .collect();
    trials.extend([
        trial("api::a_server_that_is_gone_is_unreachable", async || {
            let address = Server::start(|_| Reply::json("")).address;
            let mut bench =
                Bench::prometheus(prometheus(Url::parse(&format!("http://{address}")).expect("a URL")), opaque());
            let kind = bench.poll().await.map(|_| ()).map_err(|e| e.kind());
            assert!(matches!(kind, Err("unreachable" | "malformed")), "{kind:?}");
        }),
        trial("api::absence_is_not_zero", async || {
            let traffic = polled(Scenario::Empty).await.0;
            assert_eq!((traffic.demand.len(), traffic.demand_over), (0, None));
            assert_eq!(traffic.received.map(|r| r.per_second()), Some(7.0));
        }),
        trial("api::a_partial_answer_says_so", async || {
            let (traffic, bench) = polled(Scenario::PartialWithWarnings).await;
            assert!(traffic.is_partial && bench.metrics.source_warnings.get() == 1);
        }),
        trial("api::values_that_are_no_rates_are_counted_and_left_out", async || {
            let (traffic, bench) = polled(Scenario::Nonsense).await;
            assert_eq!((traffic.demand.len(), demand(&traffic, "cart")), (1, 7.0));
            assert_eq!(bench.metrics.source_rejected_values.get(), 6);
        }),
        trial("api::one_slow_policy_does_not_hold_up_the_others", slow_beside_well),
        trial("api::a_rotated_token_and_extra_headers_are_sent", rotated_token),
        trial("api::a_servers_clock_that_is_off_by_an_hour_changes_no_age", clock_offset),
        trial("api::raw_samples_become_rates_and_a_birth_is_seen", raw_samples),
        trial("api::too_many_series_leave_the_rate_to_the_server", too_many_series),
        trial("api::ask_tells_what_each_query_returned", online_report),
    ]);
    trials
}

fn opaque() -> Arc<Signals> {
    signals("max by (service, operation) (rate(demand[1m]))", "max(rate(received[1m]))", "max(rate(dropped[1m]))")
}

fn vector(rows: &str) -> String {
    format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{rows}]}}}}"#)
}

fn scalar(value: f64) -> String {
    format!(r#"{{"status":"success","data":{{"resultType":"scalar","result":[{value},"{value}"]}}}}"#)
}

fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64()
}

fn fake(scenario: Scenario) -> Server {
    Server::start(move |request: &Request| {
        let query = request.parameters.get("query").map_or("", String::as_str);
        match query {
            "time()" => Reply::json(scalar(unix_seconds())),
            q if q.contains("demand") => answer(scenario),
            q if q.contains("slow") => Reply::Silence(Duration::from_secs(10)),
            _ => Reply::json(vector(r#"{"metric":{},"value":[1,"7"]}"#)),
        }
    })
}

fn answer(scenario: Scenario) -> Reply {
    let body = |status, content_type, body: &str| Reply::Body { status, content_type, body: body.into() };
    let json = |body: &str| Reply::json(body);
    match scenario {
        Scenario::Well => Reply::json(vector(WELL)),
        Scenario::Empty => Reply::json(vector("")),
        Scenario::Slow => Reply::Silence(Duration::from_secs(10)),
        Scenario::Status500 => body(500, "application/json", r#"{"status":"error","error":"out of memory"}"#),
        Scenario::Redirect => body(302, "text/html", "go there"),
        Scenario::Html => body(200, "text/html", "<html>Sign in</html>"),
        Scenario::Huge | Scenario::HugeUnannounced => Reply::json(vec![b' '; 50 << 20]),
        Scenario::PartialWithWarnings => Reply::json(vector(WELL).replacen('{', r#"{"warnings":["store gone"],"#, 1)),
        Scenario::NativeHistogram => {
            json(&vector(r#"{"metric":{"service":"cart"},"histogram":[1,{"count":"3","sum":"1"}]}"#))
        }
        Scenario::Text => json(r#"{"status":"success","data":{"resultType":"string","result":[1,"x"]}}"#),
        Scenario::Matrix => json(r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#),
        Scenario::Refused => json(r#"{"status":"error","errorType":"execution","error":"many-to-many"}"#),
        Scenario::Nonsense => {
            let bad = ["NaN", "+Inf", "-Inf", "-1"]
                .map(|v| format!(r#"{{"metric":{{"service":"x{v}"}},"value":[1,"{v}"]}}"#));
            let nameless = r#"{"metric":{"operation":"GET"},"value":[1,"1"]}"#;
            Reply::json(vector(&[&bad.join(","), nameless, WELL, WELL].join(",")))
        }
    }
}

async fn polled(scenario: Scenario) -> (flyball::sampling::traffic::Traffic, Bench) {
    let server = fake(scenario);
    let mut bench = Bench::prometheus(prometheus(server.url("/")), opaque());
    (bench.poll().await.expect("traffic"), bench)
}

async fn fails_in_time(scenario: Scenario, kind: &str) {
    let server = fake(scenario);
    let config = prometheus(server.url("/"));
    let timeout = config.timeout;
    let mut bench = Bench::prometheus(config, opaque());
    let start = Instant::now();
    let result = bench.poll().await;
    assert_eq!(result.as_ref().map(|_| ()).map_err(|e| e.kind()), Err(kind), "{result:?}");
    assert!(start.elapsed() < timeout * 3, "took {:?}", start.elapsed());
    // A query that is given up together with its policy is not counted.
    if let Some(outcome) = result.err().map(|error| error.kind()).filter(|kind| *kind != "timeout") {
        assert!(bench.metrics.source_queries.get_or_create(&OutcomeLabels { outcome }).get() > 0, "{outcome}");
    }
}

async fn slow_beside_well() {
    let server = fake(Scenario::Well);
    let mut bench = Bench::prometheus(prometheus(server.url("/")), opaque());
    bench.add("slow", signals("max by (service) (slow)", "max(received)", "max(dropped)"));
    let start = Instant::now();
    let results = bench.poll_all().await;
    assert!(results[0].is_ok() && results[1].as_ref().is_err_and(|e| e.kind() == "timeout"), "{results:?}");
    assert!(start.elapsed() < Duration::from_secs(3));
}

async fn rotated_token() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let server = Server::start(move |request| {
        let header = |name: &str| request.headers.get(name).cloned().unwrap_or_default();
        log.lock().expect("no panic").push((request.path.clone(), header("authorization"), header("x-scope-orgid")));
        Reply::json(scalar(unix_seconds()))
    });
    let token = tempfile::NamedTempFile::new().expect("a file");
    let mut config = prometheus(server.url("/prometheus/"));
    config.auth = Some(Auth::BearerTokenFile(token.path().to_owned()));
    config.headers = vec![(http::HeaderName::from_static("x-scope-orgid"), http::HeaderValue::from_static("tenant"))];
    let mut bench = Bench::prometheus(config, signals("vector(1)", "vector(1)", "vector(1)"));
    for secret in ["old", "new"] {
        std::fs::write(token.path(), secret).expect("written");
        seen.lock().expect("no panic").clear();
        let _ = bench.poll().await;
        let expected = ("/prometheus/api/v1/query".to_owned(), format!("Bearer {secret}"), "tenant".to_owned());
        let seen = seen.lock().expect("no panic");
        assert!(!seen.is_empty() && seen.iter().all(|request| *request == expected), "{seen:?}");
    }
}

/// One counter series as raw samples at one a second, ending now on the server's clock.
fn matrix(labels: &str, first: f64, step: f64, server_now: f64) -> String {
    let newest = server_now.floor();
    let samples: Vec<_> =
        (0..4).map(|n| format!(r#"[{},"{}"]"#, newest - 3.0 + f64::from(n), first + step * f64::from(n))).collect();
    format!(r#"{{"metric":{{{labels}}},"values":[{}]}}"#, samples.join(","))
}

fn raw(rows: &str) -> Reply {
    Reply::json(format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{rows}]}}}}"#))
}

fn counters() -> Arc<Signals> {
    signals("sum by (service) (rate(demand[1m]))", "sum(rate(received[1m]))", "sum(rate(dropped[1m]))")
}

async fn clock_offset() {
    let server = Server::start(|request| {
        let server_now = unix_seconds() + 3600.0;
        match request.parameters.get("query").map_or("", String::as_str) {
            "time()" => Reply::json(scalar(server_now)),
            q if q.starts_with("count") => Reply::json(vector(r#"{"metric":{},"value":[1,"1"]}"#)),
            _ => raw(&matrix(r#""service":"cart","job":"a","instance":"b""#, 0.0, 5.0, server_now)),
        }
    });
    let mut bench = Bench::prometheus(prometheus(server.url("/")), counters());
    let traffic = bench.poll().await.expect("traffic");
    assert!(traffic.age.is_some_and(|age| age < Duration::from_secs(3)), "{:?}", traffic.age);
    let over = traffic.demand_over.expect("measured").to.unix_ms() as f64 / 1000.0;
    assert!((unix_seconds() - over).abs() < 5.0, "on our clock");
    assert_eq!(traffic.scrape_interval, Some(Duration::from_secs(1)));
}

async fn raw_samples() {
    let has_lost = Arc::new(Mutex::new(false));
    let lost = Arc::clone(&has_lost);
    let server = Server::start(move |request| {
        let now = unix_seconds();
        let collector = r#""job":"collector","instance":"c""#;
        match request.parameters.get("query").map_or("", String::as_str) {
            "time()" => Reply::json(scalar(now)),
            q if q.starts_with("count") => Reply::json(vector(r#"{"metric":{},"value":[1,"1"]}"#)),
            q if q.starts_with("demand[") => {
                raw(&matrix(r#""service":"cart","job":"a","instance":"b""#, now.floor() * 5.0 - 15.0, 5.0, now))
            }
            q if q.starts_with("received[") => raw(&matrix(collector, now.floor() * 50.0, 50.0, now)),
            q if q.starts_with("dropped[") && *lost.lock().expect("no panic") => {
                raw(&format!(r#"{{"metric":{{{collector}}},"values":[[{},"40"]]}}"#, now.floor()))
            }
            _ => raw(""),
        }
    });
    let mut bench = Bench::prometheus(prometheus(server.url("/")), counters());
    let first = bench.poll().await.expect("traffic");
    assert_eq!((demand(&first, "cart"), first.dropped), (5.0, None));
    *has_lost.lock().expect("no panic") = true;
    let burst = bench.until("the first burst", |t| t.dropped.is_some()).await;
    assert_eq!(burst.dropped.map(|r| r.per_second()), Some(40.0), "born at 40, a second after the scrape before");
}

async fn too_many_series() {
    let server = Server::start(|request| match request.parameters.get("query").map_or("", String::as_str) {
        "time()" => Reply::json(scalar(unix_seconds())),
        q if q.starts_with("count(demand") => Reply::json(vector(r#"{"metric":{},"value":[1,"1001"]}"#)),
        q if q.starts_with("sum by (service) (rate(demand") => Reply::json(vector(WELL)),
        q if q.contains("timestamp(demand") => Reply::json(vector(r#"{"metric":{},"value":[1,"12.5"]}"#)),
        q if q.starts_with("count") => Reply::json(vector("")),
        _ => raw(""),
    });
    let mut bench = Bench::prometheus(prometheus(server.url("/")), counters());
    let traffic = bench.poll().await.expect("traffic");
    assert_eq!((demand(&traffic, "cart"), traffic.age), (7.0, Some(Duration::from_millis(12_500))));
    assert_eq!(traffic.demand_over.map(|over| over.length()), Some(Duration::from_secs(60)));
}

async fn online_report() {
    let server = Server::start(|request| match request.parameters.get("query").map_or("", String::as_str) {
        "count(demand)" => Reply::json(vector(r#"{"metric":{},"value":[1,"5000"]}"#)),
        q if q.starts_with("max(") => Reply::json(vector("")),
        _ => Reply::json(vector(WELL)),
    });
    let signals = signals("sum by (service) (rate(demand[1m]))", "max(received)", "sum(rate(dropped[1m]))");
    let report = Bench::prometheus(prometheus(server.url("/")), signals).ask().await;
    let [demand, received, dropped] = report.queries.as_slice() else { panic!("{report:?}") };
    assert_eq!(demand.reading, OnlineReading::ServerRate);
    assert!(demand.hints[0].contains("flyball:demand:rate"), "{:?}", demand.hints);
    assert_eq!((received.reading, received.hints.len()), (OnlineReading::Opaque, 1));
    let shown = dropped.result.as_ref().expect("an answer").sample.as_deref();
    assert!(shown.is_some_and(|sample| sample.contains("cart")), "{shown:?}");
}
