//! A real Prometheus server that scrapes a workload of ours once a second.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flyball::source::Signals;
use libtest_mimic::Trial;
use tempfile::TempDir;
use url::Url;

use crate::http::{Reply, Server};
use crate::policy::{Bench, demand, prometheus, signals};
use crate::trial;

/// From the start of the process to its first answer.
const START_DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn trials() -> Vec<Trial> {
    let is_installed = Command::new("prometheus").arg("--version").output().is_ok_and(|o| o.status.success());
    let is_strict = std::env::var_os("FLYBALL_TEST_STRICT").is_some_and(|v| v == "1");
    let reason = if is_installed { "" } else { " (needs `prometheus` in the PATH)" };
    let named = |name: &str| format!("real::{name}{reason}");
    let trials = [
        trial(&named("demand_is_read_by_service_and_operation"), demand_by_labels),
        trial(&named("the_first_burst_of_loss_ever_is_seen"), first_burst),
        trial(&named("a_dead_workload_grows_old_while_the_servers_rate_decays"), dead_workload),
    ];
    trials.into_iter().map(|trial| trial.with_ignored_flag(!is_installed && !is_strict)).collect()
}

/// The exporter: 100 requests/s of `cart` in two operations, 800 spans/s received, and loss from when it is told to.
struct Workload {
    server: Server,
    loses: Arc<AtomicBool>,
}

impl Workload {
    fn start() -> Self {
        let (start, loses) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        let is_losing = Arc::clone(&loses);
        let server = Server::start(move |_| {
            let seconds = start.elapsed().as_secs_f64();
            let dropped = if is_losing.load(Ordering::SeqCst) { "dropped_total 5000\n" } else { "" };
            Reply::text(format!(
                "# TYPE requests_total counter\nrequests_total{{service=\"cart\",operation=\"GET\"}} {}\n\
                 requests_total{{service=\"cart\",operation=\"POST\"}} {}\nreceived_total {}\n{dropped}",
                1e6 + 75.0 * seconds,
                25.0 * seconds,
                800.0 * seconds,
            ))
        });
        Self { server, loses }
    }
}

/// The server, in a folder of its own; killed when dropped.
struct Prometheus {
    process: Child,
    url: Url,
    _folder: TempDir,
}

impl Prometheus {
    fn start(workload: &Workload) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("prometheus.yml");
        let target = workload.server.address;
        let yaml = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 900ms}}\nscrape_configs:\n- job_name: shop\n  static_configs: \
             [{{targets: ['{target}']}}]\n"
        );
        std::fs::write(&config, yaml).expect("written");
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("tsdb").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus starts");
        let url = Url::parse(&format!("http://127.0.0.1:{port}")).expect("a URL");
        let server = Self { process, url, _folder: folder };
        server.wait();
        server
    }

    fn wait(&self) {
        let (start, address) = (Instant::now(), self.url.socket_addrs(|| None).expect("an address"));
        while std::net::TcpStream::connect(address[0]).is_err() {
            assert!(start.elapsed() < START_DEADLINE, "prometheus does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn counters() -> Arc<Signals> {
    signals(
        "sum by (service, operation) (rate(requests_total[10s]))",
        "sum(rate(received_total[10s]))",
        "sum(rate(dropped_total[10s]))",
    )
}

fn bench(server: &Prometheus, signals: Arc<Signals>, raw_series_max: usize) -> Bench {
    let timeout = Duration::from_secs(5);
    Bench::prometheus(
        flyball::config::PrometheusConfig { raw_series_max, timeout, ..prometheus(server.url.clone()) },
        signals,
    )
}

fn is_about(value: f64, expected: f64) -> bool {
    (value / expected - 1.0).abs() < 0.2
}

async fn demand_by_labels() {
    let workload = Workload::start();
    let server = Prometheus::start(&workload);
    let mut raw = bench(&server, counters(), 1000);
    let traffic =
        raw.until("100 requests/s", |t| t.scrape_interval.is_some() && is_about(demand(t, "cart"), 100.0)).await;
    assert_eq!(traffic.demand.len(), 2, "{traffic:?}");
    let post = traffic.demand.iter().find(|row| row.operation.as_deref() == Some("POST")).expect("a row");
    assert!(is_about(post.per_second, 25.0) && !post.is_warming && !post.is_stale, "{post:?}");
    assert!(traffic.received.is_some_and(|r| is_about(r.per_second(), 800.0)));
    assert!(is_about(traffic.scrape_interval.expect("learnt").as_secs_f64(), 1.0));
    let report = raw.ask().await;
    assert_eq!(report.queries[0].result.as_ref().expect("an answer").series, 2);

    let mut by_server = bench(&server, counters(), 1);
    let traffic = by_server.until("the server's rate", |t| is_about(demand(t, "cart"), 100.0)).await;
    assert!(traffic.age.is_some_and(|age| age < Duration::from_secs(10)), "{traffic:?}");
}

async fn first_burst() {
    let workload = Workload::start();
    let server = Prometheus::start(&workload);
    let mut bench = bench(&server, counters(), 1000);
    let before = bench.until("the pipeline", |t| t.received.is_some() && t.scrape_interval.is_some()).await;
    assert_eq!(before.dropped, None, "absent beside what was received: no loss");
    assert_eq!(before.loss_ratio(), Some(0.0));
    workload.loses.store(true, Ordering::SeqCst);
    let burst = bench.until("the burst", |t| t.dropped.is_some_and(|d| d.per_second() > 0.0)).await;
    let dropped = burst.dropped.expect("seen");
    let lost = dropped.per_second() * dropped.over().length().as_secs_f64();
    assert!(is_about(lost, 5000.0), "{lost} of 5000");
}

async fn dead_workload() {
    let workload = Workload::start();
    let server = Prometheus::start(&workload);
    let decaying = "sum by (service, operation) (rate(requests_total[10s])) * 1";
    let mut opaque_signals = (*signals(decaying, "sum(received_total)", "sum(dropped_total)")).clone();
    opaque_signals.freshness = Some("time() - max(timestamp(requests_total))".to_owned());
    let (mut raw, mut opaque) = (bench(&server, counters(), 1000), bench(&server, Arc::new(opaque_signals), 1000));
    raw.until("demand", |t| t.scrape_interval.is_some() && is_about(demand(t, "cart"), 100.0)).await;
    opaque.until("demand", |t| demand(t, "cart") > 80.0).await;
    drop(workload);
    let decayed = opaque.until("a decayed rate", |t| demand(t, "cart") < 60.0).await;
    let held = raw.poll().await.expect("traffic");
    assert!(held.demand.iter().all(|row| row.is_stale), "{held:?}");
    assert!(demand(&held, "cart") > 80.0, "held, not falling: {held:?}");
    for age in [held.age, decayed.age] {
        assert!(age.is_some_and(|age| age > Duration::from_secs(2)), "{age:?}");
    }
}
