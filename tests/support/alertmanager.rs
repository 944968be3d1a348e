//! A real Alertmanager on a free port, that tells nobody.

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::child::{Reaped, wait_for};
use super::http;

/// As Debian names it.
pub const PROGRAM: &str = "prometheus-alertmanager";

/// A running server and its folder.
pub struct Alertmanager {
    pub address: SocketAddr,
    _child: Reaped,
    _folder: tempfile::TempDir,
}

impl Alertmanager {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let address = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
        let file = folder.path().join("alertmanager.yml");
        std::fs::write(&file, "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n").expect("written");
        let child = Command::new(PROGRAM)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            // Alone: no gossip, and no port for it.
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("alertmanager starts");
        let mut child = Reaped(child);
        wait_for("alertmanager to be ready", Duration::from_secs(30), || {
            http::get(address, "/-/ready").filter(|(status, _)| *status == 200)
        });
        let ended = child.0.try_wait().expect("our own child");
        assert!(ended.is_none(), "another program took the port {address}");
        Self { address, _child: child, _folder: folder }
    }

    /// Alerts that are active now.
    pub fn active(&self) -> Vec<serde_json::Value> {
        let alerts = http::get_json(self.address, "/api/v2/alerts?active=true");
        alerts.and_then(|alerts| alerts.as_array().cloned()).unwrap_or_default()
    }
}
