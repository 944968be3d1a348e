//! A real Prometheus server: its folder, its configuration and its command line. Who starts it decides how it ends.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

use crate::folder::Folder;

/// The program, and Debian's package of that name.
pub(crate) const PROGRAM: &str = "prometheus";

/// What a server of that kind is started with, as often as is wanted: what it has stored stays.
#[derive(Debug)]
pub(crate) struct PrometheusFiles {
    folder: Folder,
    address: SocketAddr,
}

impl PrometheusFiles {
    /// On a free port of this machine, scraping these targets this often.
    pub(crate) fn make(targets: &[&str], interval: Duration) -> anyhow::Result<Self> {
        let folder = Folder::make("prometheus")?;
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let address = free.context("no free port for Prometheus")?;
        let targets: Vec<String> = targets.iter().map(|target| format!("'{target}'")).collect();
        let every = format!("{}ms", interval.as_millis());
        let config = format!(
            "global: {{scrape_interval: {every}, scrape_timeout: {every}}}\n\
             scrape_configs: [{{job_name: flyball, static_configs: [{{targets: [{}]}}]}}]\n",
            targets.join(", ")
        );
        folder.write("prometheus.yml", &config)?;
        Ok(Self { folder, address })
    }

    /// Where it answers.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The command that starts it.
    pub(crate) fn command(&self) -> Command {
        let path = self.folder.path();
        let mut command = Command::new(PROGRAM);
        command
            .arg(format!("--config.file={}", path.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", path.join("data").display()))
            .arg(format!("--web.listen-address={}", self.address))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }
}

/// What this machine lacks to start one.
pub(crate) fn missing() -> Option<String> {
    let mut tried = Command::new(PROGRAM);
    let tried = tried.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let error = tried.status().err()?;
    Some(format!("the program `{PROGRAM}` cannot be started ({error}); Debian's package has that name"))
}
