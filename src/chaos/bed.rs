//! What stands around the devices: the lab, its carriers' NATs, and the real binary with the real monitor on its uplink.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::error::ChaosError;
use super::http;
use super::plan::LabPlan;
use super::plan::nat::lab_nat;
use super::server_log::ServerLog;
use crate::folder::Folder;
use crate::keepalive::wave::spec::Command as RolloutCommand;
use crate::lab::{Carrier, Lab, SERVER, UPLINK};
use crate::simulate::fleet::scenario::{LossModel, Nat};

/// Where heartbeats go.
pub(super) const PORT: u16 = 5783;
/// Operators are answered inside of the server's namespace only.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5780);
/// A server starts within this, or something is wrong: a second, or half a minute on an emulated processor that others want too.
const STARTS_WITHIN: Duration = Duration::from_secs(120);
/// A server that was asked to stop has drained by then.
const STOPS_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The smallest silence that the monitor tells.
const MONITOR_GAP_MIN: Duration = Duration::from_millis(100);

/// Everything but the devices.
pub(super) struct Bed {
    pub(super) lab: Lab,
    pub(super) boxes: Vec<Carrier>,
    folder: Folder,
    program: PathBuf,
    server: Option<Child>,
    log: ServerLog,
    name: String,
}

impl Bed {
    /// The lab and the files; the server is not started yet.
    pub(super) fn make(plan: &LabPlan, program: PathBuf) -> Result<Self, ChaosError> {
        let lab = Lab::start()?;
        let made: Result<Vec<Carrier>, _> = plan.boxes.iter().map(|of| lab.carrier(&lab_nat(&of.nat)?)).collect();
        let folder = Folder::make("chaos").map_err(ChaosError::Folder)?;
        let (server, log, name) = (None, ServerLog::default(), plan.scenario.name.to_string());
        let bed = Self { lab, boxes: made?, folder, program, server, log, name };
        bed.write_files(plan).map_err(ChaosError::Folder)?;
        if let LossModel::Plain(part) = plan.scenario.loss
            && !plan.needs_netem
        {
            bed.lose(part)?;
        }
        Ok(bed)
    }

    fn write_files(&self, plan: &LabPlan) -> anyhow::Result<()> {
        let key: String = (0..32).map(|_| format!("{:02x}", rand::random::<u8>())).collect();
        self.folder.write("keys", &format!("1:{key}\n"))?;
        let mut prefixes = "prefix,carrier,region\n".to_owned();
        for (of, made) in plan.boxes.iter().zip(&self.boxes) {
            let carrier = &plan.carriers()[of.carrier];
            prefixes += &format!("{},{},{}\n", made.prefix(), carrier.name, carrier.region);
        }
        self.folder.write("prefixes.csv", &prefixes)?;
        std::fs::create_dir(self.folder.path().join("policies"))?;
        self.write_policy(&plan.scenario.policy_written)?;
        let (floor, _) = plan.scenario.bounds();
        let gap = format!("{}ms", floor.max(MONITOR_GAP_MIN).as_millis());
        let config = json!({
            "source": {"scrape": {"targets": ["http://127.0.0.1:9/metrics"]}},
            "policies": "policies",
            "serve": {"http": "127.0.0.1:0", "grpc": ["127.0.0.1:0"]},
            "admin": {"listen": ADMIN.to_string()},
            "log": {"format": "json"},
            "monitor": {"interfaces": [UPLINK], "key": "heartbeat", "ports": [PORT], "gap": gap, "devices": 20_000},
            "fleet": {"heartbeat": format!("{SERVER}:{PORT}"), "master_key_file": "keys", "prefixes": "prefixes.csv"},
            "state": {"path": "state"},
        });
        self.folder.write("flyball.yaml", &config.to_string())?;
        Ok(())
    }

    /// JSON is YAML.
    fn write_policy(&self, written: &str) -> anyhow::Result<()> {
        let mut file: Value = serde_json::from_str(written)?;
        if !file.is_object() {
            file = json!({});
        }
        file["fleet"] = json!(self.name);
        self.folder.write("policies/fleet.yaml", &file.to_string())?;
        Ok(())
    }

    /// The master keys, for devices to make theirs of.
    pub(super) fn keys(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    /// Starts the server, and waits until it is ready.
    pub(super) fn server_up(&mut self) -> Result<(), ChaosError> {
        let mut command = Command::new(&self.program);
        command.arg("run").arg("--config").arg(self.folder.path().join("flyball.yaml"));
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = self.lab.server().spawn(&mut command)?;
        if let Some(stderr) = child.stderr.take() {
            self.log.follow(stderr);
        }
        self.server = Some(child);
        self.until_ready()
    }

    fn until_ready(&mut self) -> Result<(), ChaosError> {
        let started = Instant::now();
        loop {
            if let Some(ready) = self.get("/readyz") {
                return self.watched(&ready);
            }
            self.alive()?;
            if started.elapsed() > STARTS_WITHIN {
                return Err(self.broken(format!("the server is not ready after {STARTS_WITHIN:?}")));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// A server without its monitor runs on; what is tried here is both.
    fn watched(&self, ready: &Value) -> Result<(), ChaosError> {
        let reasons = ready["degraded"].as_array();
        if !reasons.is_some_and(|reasons| reasons.iter().any(|reason| reason == "monitor")) {
            return Ok(());
        }
        Err(ChaosError::Monitor(self.log.about("monitor").unwrap_or_else(|| "it does not say why".to_owned())))
    }

    /// The server has not ended by itself.
    pub(super) fn alive(&mut self) -> Result<(), ChaosError> {
        let Some(server) = &mut self.server else { return Ok(()) };
        match server.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.broken(format!("the server ended by itself ({status})"))),
            Err(source) => Err(ChaosError::Child { what: "look after the server", source }),
        }
    }

    /// Stops the server: it has time to store what it knows, or it has not.
    pub(super) fn server_down(&mut self, is_killed: bool) -> Result<(), ChaosError> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        let failed = |source| ChaosError::Child { what: "stop the server", source };
        if !is_killed {
            kill(Pid::from_raw(server.id().cast_signed()), Signal::SIGTERM).map_err(|errno| failed(errno.into()))?;
            let asked = Instant::now();
            while server.try_wait().map_err(failed)?.is_none() && asked.elapsed() < STOPS_WITHIN {
                std::thread::sleep(LOOK_EVERY);
            }
        }
        reap(&mut server);
        Ok(())
    }

    /// Another fleet file, by SIGHUP. A server that is down reads it when it starts.
    pub(super) fn follow_policy(&self, written: &str) -> Result<(), ChaosError> {
        self.write_policy(written).map_err(ChaosError::Folder)?;
        let Some(server) = &self.server else { return Ok(()) };
        let told = kill(Pid::from_raw(server.id().cast_signed()), Signal::SIGHUP);
        told.map_err(|errno| ChaosError::Child { what: "have the server reload", source: errno.into() })
    }

    /// This box's NAT is another.
    pub(super) fn change(&self, at: usize, nat: &Nat) -> Result<(), ChaosError> {
        Ok(self.boxes[at].change(&lab_nat(nat)?)?)
    }

    /// The ways between devices and NATs lose this part.
    pub(super) fn lose(&self, part: f64) -> Result<(), ChaosError> {
        Ok(self.boxes.iter().try_for_each(|carrier| carrier.lose(part))?)
    }

    /// The JSON of a path of the admin API; `None` where the server does not answer.
    pub(super) fn get(&self, path: &str) -> Option<Value> {
        self.lab.server().enter(|| http::get_json(ADMIN, path)).ok().flatten()
    }

    /// The rollouts, newest first, as operators are told; `None` where the server does not answer.
    pub(super) fn rollouts(&self) -> Option<Value> {
        self.get("/api/v1/rollouts")
    }

    /// An operator commands the rollouts of these cohorts that are under way; how many obey.
    pub(super) fn command(&self, cohorts: &[Arc<str>], command: RolloutCommand) -> usize {
        let rows = self.rollouts().unwrap_or_default();
        let is_theirs = |row: &&Value| cohorts.iter().any(|name| row["cohort"] == **name) && is_under_way(row);
        let theirs = rows.as_array().into_iter().flatten().filter(is_theirs);
        let paths =
            theirs.filter_map(|row| Some(format!("/api/v1/rollouts/{}/{}", row["id"].as_str()?, command.as_str())));
        let reason = json!({"reason": "scenario"});
        let is_taken =
            |path: &String| self.lab.server().enter(|| http::is_taken(ADMIN, path, &reason)).unwrap_or(false);
        paths.filter(is_taken).count()
    }

    fn broken(&self, what: String) -> ChaosError {
        self.log.broken(what)
    }
}

/// Of a row of `/api/v1/rollouts`; an AB test is none.
pub(super) fn is_under_way(rollout: &Value) -> bool {
    rollout["kind"] == "waves" && matches!(rollout["state"].as_str(), Some("running" | "held" | "paused"))
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            reap(server);
        }
    }
}

/// By its own id, and waits for it.
pub(super) fn reap(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}
