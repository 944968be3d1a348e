//! What is counted, and the cohorts of the second loop: metrics, read by the tools that operators use.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use flyball::fleet::down::Door;
use flyball::keepalive::cohort::Transport;

use crate::bed::{Bed, HOSTILE, ask, hostile, shop};
use crate::cases::Outcome;
use crate::cohort::cohort;

pub(crate) fn metrics_names() -> Outcome {
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

pub(crate) fn cohorts_told() -> Outcome {
    let bed = Bed::new(shop());
    bed.cohorts.publish(9, vec![cohort("carrier=a,region=eu", Transport::Udp), cohort("carrier=a", Transport::Tcp)]);
    let rows = bed.get("/api/v1/cohorts").json();
    let names: Vec<&str> = rows.as_array().into_iter().flatten().filter_map(|row| row["cohort"].as_str()).collect();
    assert_eq!(names, ["carrier=a", "carrier=a,region=eu"], "by name");
    let row = rows[1].as_object().expect("an object");
    for key in [
        "cohort",
        "transport",
        "lifetime_s",
        "lower_bound_s",
        "upper_bound_s",
        "confidence",
        "interval_s",
        "jitter_s",
        "evidence",
        "devices",
        "verdict",
        "reason",
        "generation",
        "unreplied",
        "devices_own",
        "loss_ratio",
        "tests_to_be_surer",
        "fleet",
        "decided_at",
        "because",
    ] {
        assert!(row.contains_key(key), "{key} is not in {row:?}");
    }
    assert_eq!(row["lifetime_s"], serde_json::json!({"p01": 111.0, "p50": 112.0, "p99": 113.0}));
    assert_eq!(row["evidence"], serde_json::json!({"survived": 60, "expired": 12, "lost": 3}));
    assert_eq!((row["interval_s"].as_f64(), row["jitter_s"].as_f64()), (Some(83.0), Some(20.75)));
    assert_eq!(bed.get("/status").json()["fleet"]["cohorts"], 2);
    Ok(())
}

pub(crate) fn cohorts_shown() -> Outcome {
    let bed = Bed::new(shop());
    let before = bed.get("/status").json()["revision"].clone();
    bed.cohorts.publish(9, vec![cohort(HOSTILE, Transport::Udp), cohort("carrier=a", Transport::Udp)]);
    let page = bed.get("/").body;
    assert!(!page.contains("<script>alert") && page.contains("carrier=a"), "{page}");
    assert!(page.contains("A binding lives 111 s at least, 113 s at most (99.9 % sure)"), "{page}");
    assert_ne!(bed.get("/status").json()["revision"], before, "the page knows that it is old");
    let metrics = bed.get("/metrics").body;
    for line in [
        r#"flyball_nat_lifetime_seconds{cohort="carrier=a",transport="udp",quantile="0.01"} 111.0"#,
        r#"flyball_keepalive_interval_seconds{cohort="carrier=a",transport="udp"} 83.0"#,
        r#"flyball_degraded{reason="heartbeat"} 0.0"#,
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} is not in\n{metrics}");
    }
    let info = metrics.lines().find(|line| line.starts_with(r#"flyball_cohort_info{cohort="carrier=a""#));
    assert!(info.is_some_and(|info| info.contains(r#"verdict="learnt",reason="lower_bound"} 1"#)), "{info:?}");
    Ok(())
}

pub(crate) fn no_cohorts() -> Outcome {
    let bed = Bed::new(shop());
    assert_eq!(bed.get("/api/v1/cohorts").json(), serde_json::json!([]));
    assert!(!bed.get("/").body.contains("id=\"cohorts\""));
    assert!(!bed.get("/metrics").body.contains("flyball_nat_lifetime_seconds"));
    Ok(())
}

pub(crate) fn door_down() -> Outcome {
    let bed = Bed::new(shop());
    bed.doors.note(Door::Heartbeat);
    let ready = bed.get("/readyz");
    assert_eq!((ready.status, ready.json()), (200, serde_json::json!({"ready": true, "degraded": ["heartbeat"]})));
    assert!(bed.get("/metrics").body.contains("flyball_degraded{reason=\"heartbeat\"} 1.0"));
    Ok(())
}

pub(crate) fn promtool_check() -> Outcome {
    let bed = Bed::new(hostile());
    bed.cohorts.publish(9, vec![cohort(HOSTILE, Transport::Udp), cohort("carrier=a", Transport::Tcp)]);
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

pub(crate) fn prometheus_scrape() -> Outcome {
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
