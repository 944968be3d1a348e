//! What stands around the plant: its exporter, a Prometheus server, and the real binary.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use serde_json::json;

use super::super::bed::reap;
use super::super::server_log::ServerLog;
use super::super::{ChaosError, Settings, http as asking};
use super::page::Page;
use super::plan::{SamplingPlan, Weather};
use super::served::Served;
use crate::chaos::prometheus::PrometheusFiles;
use crate::folder::Folder;
use crate::lab::die_with_this_thread;
use crate::simulate::live::Said;

/// Both servers have started within this, or something is wrong.
const STARTS_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Everything that runs.
pub(super) struct Bed {
    page: Arc<Mutex<Page>>,
    weather: Weather,
    served: Option<Served>,
    flyball: Option<Child>,
    prometheus: Option<Child>,
    log: ServerLog,
    plan: SamplingPlan,
    program: std::path::PathBuf,
    addresses: [SocketAddr; 2],
    // The exporter lives in it.
    _runtime: tokio::runtime::Runtime,
    files: PrometheusFiles,
    folder: Folder,
}

impl Bed {
    /// The exporter answers; nothing else is started yet.
    pub(super) fn make(plan: &SamplingPlan, settings: &Settings, page: Page) -> Result<Self, ChaosError> {
        let failed = |source| ChaosError::Child { what: "serve the plant's counters", source };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let page = Arc::new(Mutex::new(page));
        let target = exporter(&runtime, &page).map_err(failed)?;
        let files =
            PrometheusFiles::make(&[&target.to_string()], plan.scenario.scrape.interval).map_err(ChaosError::Folder)?;
        let folder = Folder::make("chaos").map_err(ChaosError::Folder)?;
        let [http, admin] = [free_port().map_err(failed)?, free_port().map_err(failed)?];
        let bed = Self {
            page,
            weather: Weather::default(),
            served: None,
            flyball: None,
            prometheus: None,
            log: ServerLog::default(),
            plan: plan.clone(),
            program: settings.program.clone(),
            addresses: [http, admin],
            _runtime: runtime,
            files,
            folder,
        };
        bed.write_files().map_err(ChaosError::Folder)?;
        Ok(bed)
    }

    fn write_files(&self) -> anyhow::Result<()> {
        let [http, admin] = self.addresses;
        let poll = format!("{}ms", self.plan.scenario.tick.as_millis());
        let config = json!({
            "source": {"prometheus": {
                "url": format!("http://{}", self.files.address()), "poll_interval": poll, "timeout": poll,
            }},
            "policies": "policies",
            "serve": {"http": http.to_string(), "grpc": []},
            "admin": {"listen": admin.to_string()},
            "log": {"format": "json"},
        });
        self.folder.write("flyball.yaml", &config.to_string())?;
        std::fs::create_dir(self.folder.path().join("policies"))?;
        self.folder.write("policies/policy.yaml", &self.plan.policy().to_string())?;
        Ok(())
    }

    /// Starts both servers, and waits until they answer.
    pub(super) fn start(&mut self, stop: &AtomicBool) -> Result<(), ChaosError> {
        self.prometheus_up()?;
        self.until(stop, "Prometheus to be ready", |bed| asking::is_ok(bed.files.address(), "/-/ready"))?;
        let mut command = Command::new(&self.program);
        command.arg("run").arg("--config").arg(self.folder.path().join("flyball.yaml"));
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        die_with_this_thread(&mut command);
        let mut child = command.spawn().map_err(|source| ChaosError::Child { what: "start flyball", source })?;
        if let Some(stderr) = child.stderr.take() {
            self.log.follow(stderr);
        }
        self.flyball = Some(child);
        let [http, admin] = self.addresses;
        self.until(stop, "the server to be ready", |_| asking::get_json(admin, "/readyz").is_some())?;
        self.served = Some(Served::ask(&self.plan.scenario, http, admin));
        Ok(())
    }

    fn until(&mut self, stop: &AtomicBool, what: &str, is_so: impl Fn(&Self) -> bool) -> Result<(), ChaosError> {
        let started = Instant::now();
        while !is_so(self) {
            self.alive()?;
            if stop.load(Ordering::Relaxed) {
                return Err(ChaosError::Interrupted);
            }
            if started.elapsed() > STARTS_WITHIN {
                return Err(self.log.broken(format!("waited {STARTS_WITHIN:?} in vain for {what}")));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// A step has brought the counters here.
    pub(super) fn show(&self, counters: Vec<Option<f64>>) {
        self.page.lock().expect("nothing panics under this lock").step(counters, Instant::now());
    }

    /// What is wrong from now on; and nothing has ended by itself.
    pub(super) fn meet(&mut self, weather: &Weather) -> Result<(), ChaosError> {
        if self.weather != *weather {
            self.page.lock().expect("nothing panics under this lock").meet(weather, Instant::now());
            match (self.weather.is_outage, weather.is_outage) {
                (false, true) => self.prometheus.iter_mut().for_each(reap),
                (true, false) => self.prometheus_up()?,
                _ => {}
            }
            if weather.is_outage {
                self.prometheus = None;
            }
            self.weather = *weather;
        }
        self.alive()
    }

    fn prometheus_up(&mut self) -> Result<(), ChaosError> {
        let mut command = self.files.command();
        die_with_this_thread(&mut command);
        let child = command.spawn().map_err(|source| ChaosError::Child { what: "start prometheus", source })?;
        self.prometheus = Some(child);
        Ok(())
    }

    fn alive(&mut self) -> Result<(), ChaosError> {
        for (name, child) in [("flyball", &mut self.flyball), ("prometheus", &mut self.prometheus)] {
            let Some(child) = child else { continue };
            let ended = child.try_wait().map_err(|source| ChaosError::Child { what: "look after a server", source })?;
            if let Some(status) = ended {
                return Err(self.log.broken(format!("{name} ended by itself ({status})")));
            }
        }
        Ok(())
    }

    /// What is sampled with now, by service.
    pub(super) fn said(&self) -> Said {
        self.served.as_ref().map(Served::said).unwrap_or_default()
    }

    /// For who watches.
    pub(super) fn figures(&self) -> String {
        let said = self.said();
        let first = said.probabilities.first().and_then(|operations| operations.first());
        let name = self.plan.scenario.services.first().map_or("", |service| &service.name);
        let budget = said.budget.map_or_else(|| "unknown".to_owned(), |budget| format!("{budget:.0} spans/s"));
        first.map_or_else(String::new, |p| format!("{name} samples {:.2} %, budget {budget}", p * 100.0))
    }

    /// What ran, in some words.
    pub(super) fn beside(&self) -> String {
        let scenario = &self.plan.scenario;
        format!(
            "{} services, a Prometheus server that scrapes every {:?}",
            scenario.services.len(),
            scenario.scrape.interval
        )
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.served = None;
        [&mut self.flyball, &mut self.prometheus].into_iter().flatten().for_each(reap);
    }
}

/// A port that was free a moment ago.
fn free_port() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr())
}

/// Serves the page; where.
fn exporter(runtime: &tokio::runtime::Runtime, page: &Arc<Mutex<Page>>) -> std::io::Result<SocketAddr> {
    let listener = runtime.block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let address = listener.local_addr()?;
    let page = Arc::clone(page);
    let answer = move || async move {
        let text = page.lock().expect("nothing panics under this lock").text(Instant::now());
        text.ok_or(StatusCode::SERVICE_UNAVAILABLE)
    };
    let router = Router::new().route("/metrics", get(answer));
    runtime.spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}
