//! The virtual machine: what comes out of it, and that nothing of it stays.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use flyball::chaos::vm::{Request, VmError, run};
use libtest_mimic::{Completion, Failed, Trial};

use super::support::child::{Reaped, wait_for};
use super::support::peers::is_strict;

/// Tells this binary, started by itself, what to run in a machine: a script for `sh`.
pub(crate) const ROLE: &str = "FLYBALL_VM_ROLE";
/// Where the script writes what must come back, and how long it may take.
const FILE: &str = "FLYBALL_VM_FILE";
const LIMIT: &str = "FLYBALL_VM_LIMIT";

/// The first use fetches a kernel; an emulated one takes its time.
const PATIENCE: Duration = Duration::from_secs(180);
/// Exit status of the child for each way not to have one.
const MISSING: u8 = 205;
const OVER_LIMIT: u8 = 206;
const OTHER: u8 = 207;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        needing("status_output_and_files_of_the_guest_come_back_and_nothing_else_is_written", comes_back),
        needing("a_guest_is_switched_off_at_its_limit", over_limit),
        needing("a_run_that_is_killed_takes_its_machine_with_it_and_the_next_one_its_folder", killed),
        Trial::test("without_qemu_it_says_what_to_install", without_qemu),
    ]
}

/// All trials that need netem, in one machine.
pub(crate) fn whole() -> Trial {
    needing("netem_in_a_virtual_machine", || {
        let started = Instant::now();
        let script = format!("exec env -u {ROLE} {}=1 '{}'", super::INSIDE, env::current_exe()?.display());
        let status = myself(&script)?.status()?;
        println!("the machine was there for {:.1} s", started.elapsed().as_secs_f64());
        match status.code() {
            Some(0) => Ok(()),
            Some(code) if code == i32::from(MISSING) => Err(ABSENT.into()),
            other => Err(format!("trials failed inside: {other:?}").into()),
        }
    })
}

const ABSENT: &str = "no virtual machine can be had here (see stderr)";

/// A trial that needs a machine: ignored with the reason where there can be none, failed where strict.
fn needing(name: &str, test: impl FnOnce() -> Result<(), Failed> + Send + 'static) -> Trial {
    Trial::ignorable_test(name, move || match test() {
        Err(failed) if failed.message() == Some(ABSENT) && !is_strict() => Ok(Completion::ignored_with(ABSENT)),
        other => other.map(|()| Completion::Completed),
    })
}

/// Another process: runs the script in a machine.
pub(crate) fn child(role: &OsStr) -> ExitCode {
    let request = Request {
        program: Some("/bin/sh".into()),
        arguments: vec!["-c".into(), role.to_owned()],
        files: env::var_os(FILE).map(PathBuf::from).into_iter().collect(),
        limit: env::var(LIMIT).ok().and_then(|ms| ms.parse().ok()).map_or(PATIENCE, Duration::from_millis),
    };
    match run(&request) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(match error {
                VmError::Missing { .. } => MISSING,
                VmError::Limit(_) => OVER_LIMIT,
                _ => OTHER,
            })
        }
    }
}

fn myself(script: &str) -> Result<Command, Failed> {
    let mut command = Command::new(env::current_exe()?);
    command.env(ROLE, script).stdin(Stdio::null());
    Ok(command)
}

fn comes_back() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let (kept, lost) = (folder.path().join("kept"), folder.path().join("lost"));
    let script = format!(
        "uname -r; echo of the guest >&2; echo kept > {}; echo lost > {}; modprobe sch_netem && exit 42",
        kept.display(),
        lost.display()
    );
    let started = Instant::now();
    let output = myself(&script)?.env(FILE, &kept).output()?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("a machine was there and gone in {:.1} s: {}", started.elapsed().as_secs_f64(), out.trim());
    match output.status.code() {
        Some(code) if code == i32::from(MISSING) => return Err(ABSENT.into()),
        Some(42) => {}
        other => return Err(format!("{other:?}: {err}").into()),
    }
    let is_debian = out.contains("-amd64") && err.contains("of the guest");
    let is_kept = fs::read_to_string(&kept).is_ok_and(|text| text == "kept\n");
    if is_debian && is_kept && !lost.exists() { Ok(()) } else { Err(format!("{out} {err}").into()) }
}

fn over_limit() -> Result<(), Failed> {
    let status = myself("sleep 600")?.env(LIMIT, "2000").status()?;
    match status.code() {
        Some(code) if code == i32::from(MISSING) => Err(ABSENT.into()),
        Some(code) if code == i32::from(OVER_LIMIT) => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

fn killed() -> Result<(), Failed> {
    let mut holder = Reaped(myself("echo up; sleep 600")?.stdout(Stdio::piped()).spawn()?);
    let folder = env::temp_dir().join(format!("flyball-vm-{}", holder.0.id()));
    let mut line = String::new();
    BufReader::new(holder.0.stdout.take().ok_or("piped")?).read_line(&mut line)?;
    if line != "up\n" {
        let status = holder.0.wait()?.code();
        return Err(if status == Some(i32::from(MISSING)) { ABSENT.into() } else { format!("{status:?}").into() });
    }
    let machine = machines(&folder);
    if machine.len() != 1 || !folder.exists() {
        return Err(format!("{machine:?} run, and {} exists: {}", folder.display(), folder.exists()).into());
    }
    // `kill` is SIGKILL: nothing of the process runs any more.
    holder.0.kill()?;
    holder.0.wait()?;
    wait_for("the machine to end", PATIENCE, || machines(&folder).is_empty().then_some(()));
    let _ = myself("true")?.env(LIMIT, "1").status()?;
    if folder.exists() { Err("its folder stayed".into()) } else { Ok(()) }
}

/// Processes that were told of this folder.
fn machines(folder: &Path) -> Vec<u32> {
    let wanted = folder.display().to_string();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_told = |pid: &u32| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(&wanted))
    };
    numbers.filter(is_told).collect()
}

fn without_qemu() -> Result<(), Failed> {
    let output = myself("true")?.env("PATH", "/nonexistent").output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let is_told = said.contains("install the package qemu-system-x86");
    if output.status.code() == Some(i32::from(MISSING)) && is_told { Ok(()) } else { Err(said.into_owned().into()) }
}
