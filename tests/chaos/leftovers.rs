//! What a run leaves when it is ended before its time: nothing.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use libtest_mimic::Failed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::child::{Reaped, wait_for};

const SOON: Duration = Duration::from_secs(20);

pub(crate) fn killed() -> Result<(), Failed> {
    let run = running();
    let pid = run.0.id();
    end(&run.0, Signal::SIGKILL);
    drop(run);
    wait_for("its children to end", SOON, || children(pid).is_empty().then_some(()));
    let left = folders(pid);
    assert_eq!(left.len(), 1, "a killed process cannot take its folder away");
    // The next one does.
    let next = running();
    assert!(!left[0].exists(), "{} is swept by the next run", left[0].display());
    end(&next.0, Signal::SIGTERM);
    Ok(())
}

pub(crate) fn interrupted() -> Result<(), Failed> {
    let mut run = running();
    let pid = run.0.id();
    end(&run.0, Signal::SIGINT);
    let status = run.0.wait()?;
    assert_eq!(status.code(), Some(1), "no verdict");
    assert!(children(pid).is_empty() && folders(pid).is_empty());
    Ok(())
}

/// A run whose devices are there.
fn running() -> Reaped {
    let file = crate::file_of("power-cut");
    let mut command = Command::new(env!("CARGO_BIN_EXE_flyball"));
    command.args(["chaos", "run", "--json"]).arg(file).stdout(Stdio::null()).stderr(Stdio::null());
    let run = Reaped(command.spawn().expect("it starts"));
    let pid = run.0.id();
    wait_for("its server and devices", SOON, || (children(pid).len() > 4).then_some(()));
    run
}

fn end(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), signal).expect("signalled");
}

/// Processes that carry the lab's label of this one.
fn children(pid: u32) -> Vec<PathBuf> {
    let label = format!("FLYBALL_LAB={pid}.");
    let is_its = |path: &PathBuf| {
        let environment = fs::read(path.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(label.as_bytes()))
    };
    let processes = fs::read_dir("/proc").expect("proc").flatten().map(|entry| entry.path());
    processes.filter(is_its).collect()
}

fn folders(pid: u32) -> Vec<PathBuf> {
    let start = format!("flyball-chaos-{pid}-");
    let entries = fs::read_dir(std::env::temp_dir()).expect("a folder").flatten().map(|entry| entry.path());
    entries.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&start))).collect()
}
