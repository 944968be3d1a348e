//! A real Prometheus server on a free port, that scrapes one target.

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::child::{Reaped, wait_for};
use super::http;

/// A running server and its folder.
pub struct Prometheus {
    pub address: SocketAddr,
    _child: Reaped,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// Scrapes `target` once a second.
    pub fn scraping(target: SocketAddr) -> Self {
        Self::scraping_every(1, target)
    }

    /// Scrapes `target` every so many seconds.
    pub fn scraping_every(seconds: u32, target: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let address = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
        let config = format!(
            "global: {{scrape_interval: {seconds}s, scrape_timeout: {seconds}s}}\n\
             scrape_configs: [{{job_name: shop, static_configs: [{{targets: ['{target}']}}]}}]\n"
        );
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config).expect("written");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus starts");
        let mut child = Reaped(child);
        wait_for("prometheus to be ready", Duration::from_secs(30), || {
            http::get(address, "/-/ready").filter(|(status, _)| *status == 200)
        });
        let ended = child.0.try_wait().expect("our own child");
        assert!(ended.is_none(), "another program took the port {address}");
        Self { address, _child: child, _folder: folder }
    }
}
