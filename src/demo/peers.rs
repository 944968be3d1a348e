//! The demo's metrics endpoints, and the Prometheus server between them and the controller where one is wanted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use axum::routing::get;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use url::Url;

use super::backend::Backend;
use super::service::Workload;
use crate::chaos::prometheus::PrometheusFiles;
use crate::config::{PrometheusConfig, ScrapeConfig, SourceConfig, Tls};

/// Between two scrapes, and two ticks.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a Prometheus server may take to start.
const START_MAX: Duration = Duration::from_secs(30);

/// Everything that the controller measures.
pub(super) struct Peers {
    targets: Vec<Url>,
    prometheus: Option<Prometheus>,
}

struct Prometheus {
    url: Url,
    _child: Child,
    _files: PrometheusFiles,
}

impl Peers {
    /// Serves the metrics of every service and of the backend, each on a free port.
    pub(super) async fn start(
        workloads: &[Arc<Workload>],
        backend: &Arc<Backend>,
        with_prometheus: bool,
    ) -> anyhow::Result<Self> {
        let mut targets = Vec::new();
        for workload in workloads.iter().map(Arc::clone) {
            targets.push(serve_metrics(move || workload.exposition()).await?);
        }
        let backend = Arc::clone(backend);
        targets.push(serve_metrics(move || backend.exposition()).await?);
        let prometheus = if with_prometheus { Some(Prometheus::start(&targets).await?) } else { None };
        Ok(Self { targets, prometheus })
    }

    /// Where the controller reads.
    pub(super) fn source(&self) -> SourceConfig {
        match &self.prometheus {
            Some(prometheus) => SourceConfig::Prometheus(Box::new(prometheus.config())),
            None => scrape(self.targets.clone()),
        }
    }

    /// Before the targets are known.
    pub(super) fn no_source() -> SourceConfig {
        scrape(Vec::new())
    }

    /// What is read, a line each.
    pub(super) fn describe(&self) -> Vec<String> {
        let prometheus =
            self.prometheus.iter().map(|prometheus| format!("Prometheus at {}, which scrapes", prometheus.url));
        prometheus.chain(self.targets.iter().map(Url::to_string)).collect()
    }
}

fn scrape(targets: Vec<Url>) -> SourceConfig {
    SourceConfig::Scrape(ScrapeConfig { targets, interval: INTERVAL, timeout: INTERVAL, body_max_bytes: 1 << 20 })
}

async fn serve_metrics(exposition: impl Fn() -> String + Clone + Send + Sync + 'static) -> anyhow::Result<Url> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("no free port for a metrics endpoint")?;
    let address = listener.local_addr()?;
    let content_type = [("content-type", "text/plain; version=0.0.4")];
    let router = Router::new().route("/metrics", get(move || async move { (content_type, exposition()) }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(Url::parse(&format!("http://{address}/metrics"))?)
}

impl Prometheus {
    async fn start(targets: &[Url]) -> anyhow::Result<Self> {
        let targets: Vec<&str> = targets.iter().map(Url::authority).collect();
        let files = PrometheusFiles::make(&targets, INTERVAL)?;
        let child = Command::from(files.command()).kill_on_drop(true).spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                bail!(NoPrometheus)
            }
            Err(error) => return Err(error).context("cannot start prometheus"),
        };
        let address = files.address();
        wait_until_it_listens(address, &mut child).await?;
        Ok(Self { url: Url::parse(&format!("http://{address}"))?, _child: child, _files: files })
    }

    fn config(&self) -> PrometheusConfig {
        PrometheusConfig {
            url: self.url.clone(),
            poll_interval: INTERVAL,
            timeout: INTERVAL,
            auth: None,
            tls: Tls::default(),
            headers: Vec::new(),
            raw_series_max: 20_000,
            body_max_bytes: 16 << 20,
            queries_per_second: 50,
        }
    }
}

/// `--prometheus` on a machine without one.
#[derive(Debug, thiserror::Error)]
#[error("--prometheus needs the program `prometheus` on the PATH (Debian's package has that name)")]
pub struct NoPrometheus;

async fn wait_until_it_listens(address: SocketAddr, child: &mut Child) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + START_MAX;
    while TcpStream::connect(address).await.is_err() {
        if let Some(status) = child.try_wait()? {
            bail!("prometheus ended with {status} before it listened");
        }
        if tokio::time::Instant::now() > deadline {
            bail!("prometheus did not listen within {START_MAX:?}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
