//! A run that is killed: this same binary, started as a monitor that only waits.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};

use flyball::monitor::attach::Via;
use flyball::monitor::live::Monitor;
use flyball::monitor::settings::Settings;

use crate::bed::{options, settings};

/// Tells the child what it is, and which port it watches.
const CHILD: &str = "FLYBALL_TEST_MONITOR_PORT";
const READY: &str = "attached";

/// A process that watches a port over clsact, in the namespace of the thread that starts it.
pub(crate) struct Killed(Child);

impl Killed {
    pub(crate) fn start(port: u16) -> Self {
        let itself = std::env::current_exe().expect("this binary");
        let mut command = Command::new(itself);
        let child = command.env(CHILD, port.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut killed = Self(child.expect("started"));
        let stdout = BufReader::new(killed.0.stdout.take().expect("piped"));
        let said = stdout.lines().next().expect("it says something").expect("text");
        assert_eq!(said, READY);
        killed
    }

    /// SIGKILL: it cannot clean up.
    pub(crate) fn kill(mut self) {
        self.0.kill().expect("it lives");
        self.0.wait().expect("it is ours");
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// If this process is such a child: watches until its parent is gone.
pub(crate) fn child() -> Option<ExitCode> {
    let port = std::env::var(CHILD).ok()?.parse().ok()?;
    let settings = Settings { ports: vec![port], ..settings() };
    let Ok(_monitor) = Monitor::open(&settings, &options(Via::Clsact)) else { return Some(ExitCode::FAILURE) };
    println!("{READY}");
    let _ = std::io::stdin().lines().next();
    Some(ExitCode::SUCCESS)
}
