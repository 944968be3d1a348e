//! The embedded scraper against exporters of both formats.

use std::sync::{Arc, Mutex};

use flyball::config::SourceConfig;
use flyball::source::Signals;
use libtest_mimic::Trial;

use crate::http::{Reply, Server};
use crate::policy::{Bench, demand, scrape, signals};
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("scrape::counters_become_rates_and_a_birth_is_seen", rates),
        trial("scrape::a_target_that_is_down_makes_the_poll_partial_and_its_rows_stale", one_down),
        trial("scrape::all_targets_down_is_unreachable", all_down),
        trial("scrape::an_opaque_query_is_refused", opaque),
        trial("scrape::a_cut_off_or_foreign_body_changes_nothing", cut_off),
    ]
}

/// An exporter whose page the test writes.
struct Exporter {
    server: Server,
    page: Arc<Mutex<(&'static str, String)>>,
}

impl Exporter {
    fn start(page: &str) -> Self {
        let page = Arc::new(Mutex::new(("text/plain; version=0.0.4", page.to_owned())));
        let shown = Arc::clone(&page);
        let server = Server::start(move |_| {
            let (content_type, body) = shown.lock().expect("no panic").clone();
            Reply::Body { status: 200, content_type, body: body.into_bytes() }
        });
        Self { server, page }
    }

    fn show(&self, page: &str) {
        self.show_as("text/plain; version=0.0.4", page);
    }

    fn show_as(&self, content_type: &'static str, page: &str) {
        *self.page.lock().expect("no panic") = (content_type, page.to_owned());
    }
}

fn counters() -> Arc<Signals> {
    signals(
        r#"sum by (service) (rate(requests_total{code!~"5.."}[1m]))"#,
        "sum(rate(received_total[1m]))",
        "sum(rate(dropped_total[1m]))",
    )
}

fn bench(exporters: &[&Exporter]) -> Bench {
    let targets = exporters.iter().map(|e| e.server.url("/metrics")).collect();
    Bench::new(&SourceConfig::Scrape(scrape(targets)), counters())
}

async fn rates() {
    let exporter = Exporter::start("requests_total{service=\"cart\",code=\"200\"} 10\nreceived_total 100\n");
    let mut bench = bench(&[&exporter]);
    let first = bench.poll().await.expect("traffic");
    assert!(first.demand[0].is_warming && first.received.is_none());
    exporter.show_as(
        "application/openmetrics-text; version=1.0.0",
        "requests_total{service=\"cart\",code=\"200\"} 30 # {trace_id=\"x\"} 1\nrequests_total{service=\"cart\",code=\"500\"} 9\n\
         received_total 200\ndropped_total 60\n# EOF\n",
    );
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let second = bench.poll().await.expect("traffic");
    let over = second.demand_over.expect("measured").length().as_secs_f64();
    assert!((demand(&second, "cart") * over - 20.0).abs() < 1e-6, "{second:?}");
    let dropped = second.dropped.expect("born on a target that was scraped before");
    assert!((dropped.per_second() * dropped.over().length().as_secs_f64() - 60.0).abs() < 1e-6);
}

async fn one_down() {
    let (stays, goes) =
        (Exporter::start("requests_total{service=\"a\"} 1\n"), Exporter::start("requests_total{service=\"b\"} 1\n"));
    let mut bench = bench(&[&stays, &goes]);
    bench.poll().await.expect("traffic");
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    goes.show("requests_total{service=\"b\"} 5\n");
    let before = bench.poll().await.expect("traffic");
    drop(goes);
    let traffic = bench.until("a stale row", |t| t.demand.iter().any(|row| row.is_stale)).await;
    assert!(traffic.is_partial);
    assert_eq!(demand(&traffic, "b"), demand(&before, "b"), "held, not falling");
    assert!(traffic.demand.iter().all(|row| row.is_stale == (&*row.service == "b")), "{traffic:?}");
}

async fn all_down() {
    let exporter = Exporter::start("");
    let mut bench = bench(&[&exporter]);
    exporter.show_as("text/html", "<html>");
    assert_eq!(bench.poll().await.map_err(|e| e.kind()), Err("unreachable"));
    let report = bench.ask().await;
    assert!(
        report.queries.iter().all(|query| query.result.is_err() && query.hints[0].contains("text/html")),
        "{report:?}"
    );
}

async fn opaque() {
    let exporter = Exporter::start("a 1\n");
    let config = SourceConfig::Scrape(scrape(vec![exporter.server.url("/")]));
    let mut bench = Bench::new(&config, signals("max(rate(a[1m]))", "sum(rate(a[1m]))", "sum(rate(a[1m]))"));
    let error = bench.poll().await.expect_err("refused");
    assert_eq!((error.kind(), error.to_string().contains("max(rate(a[1m]))")), ("rejected", true));
}

async fn cut_off() {
    let (other, exporter) = (Exporter::start(""), Exporter::start("requests_total{service=\"a\"} 100\n"));
    let mut bench = bench(&[&other, &exporter]);
    bench.poll().await.expect("traffic");
    for (content_type, page) in [
        ("application/openmetrics-text", "requests_total{service=\"a\"} 1\n"),
        ("text/plain", "requests_total{service=\"a\"} 1\nrequests_to"),
        ("application/json", "{}"),
    ] {
        exporter.show_as(content_type, page);
        let traffic = bench.poll().await.expect("the other target answers");
        assert!(traffic.is_partial && demand(&traffic, "a") == 0.0, "{content_type}: {traffic:?}");
    }
}
