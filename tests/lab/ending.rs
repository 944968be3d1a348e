//! Nothing of a lab remains, however it ends; and what a machine lacks for one is told.
//!
//! A namespace without a name cannot be looked up. A witness tells instead: an interface of another lab whose other
//! half is put into the namespace vanishes in the moment that the kernel ends it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use flyball::lab::{Direction, Impair, Lab, LabError, Nat, Netem};
use libtest_mimic::{Failed, Trial};

use super::bed::{Bed, same};
use super::support::child::{Reaped, wait_for};
use super::support::lab::trial;

/// Tells this binary, started by itself, what to be.
pub(crate) const ROLE: &str = "FLYBALL_LAB_ROLE";

/// The kernel ends namespaces one after another, in the background.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("nothing_remains_after_drop", dropped),
        trial("nothing_remains_after_a_panic", panicked),
        trial("nothing_remains_after_a_run_was_killed", killed),
        trial("children_die_with_a_process_that_was_killed_and_those_of_a_living_one_stay", orphaned),
        trial("what_a_process_that_is_no_more_left_running_is_swept_by_its_label", swept),
        trial("a_machine_without_the_tools_is_told_which", without_tools),
        trial("a_process_without_the_capability_is_told_which", without_capability),
    ]
}

/// Another process: one that holds a lab until it is killed, or one that says what is missing.
pub(crate) fn child(role: &OsStr) -> ExitCode {
    if role == "missing" {
        println!("{}", Lab::missing().unwrap_or_default());
        return ExitCode::SUCCESS;
    }
    let Ok(bed) = Bed::new(&Nat::random_ports(Duration::from_secs(60))) else { return ExitCode::FAILURE };
    let Ok(children) = children(&bed) else { return ExitCode::FAILURE };
    let pids = children.iter().map(|child| child.id().to_string());
    println!("{}", paths(&bed).into_iter().chain(pids).collect::<Vec<_>>().join(" "));
    let _ = std::io::stdin().read(&mut [0]);
    ExitCode::SUCCESS
}

/// A device that beats and a server's process, and netem on the way where the kernel has it.
fn children(bed: &Bed) -> Result<Vec<Child>, LabError> {
    if Netem::missing().is_none() {
        bed.device.impair(Direction::Up, &Netem { delay: Duration::from_secs(1), ..Netem::default() })?;
    }
    let mut device = Command::new(env!("CARGO_BIN_EXE_flyball"));
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cmd/device-errors.in/key");
    device.args(["device", "--server", "203.0.113.1:5783", "--id", "1", "--key-file", key]);
    let device =
        bed.device.namespace().spawn(device.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))?;
    Ok(vec![device, bed.lab.server().spawn(Command::new("sleep").arg("600").stdout(Stdio::null()))?])
}

/// Whether the process runs; one that nobody waited for does not.
fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with(['Z', 'X']))
}

fn myself(role: &str) -> Result<Command, Failed> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env(ROLE, role).stdin(Stdio::piped()).stdout(Stdio::piped());
    Ok(command)
}

/// All four kinds of namespaces.
fn paths(bed: &Bed) -> Vec<String> {
    let all = [bed.lab.internet(), bed.lab.server(), bed.carrier.namespace(), bed.device.namespace()];
    all.map(|namespace| namespace.path().display().to_string()).to_vec()
}

/// Interfaces of a lab of its own, each joined to a namespace of another.
struct Witness {
    lab: Lab,
    count: usize,
}

impl Witness {
    fn of(paths: &[String]) -> Result<Self, Failed> {
        let witness = Self { lab: Lab::start()?, count: paths.len() };
        for (i, path) in paths.iter().enumerate() {
            let name = format!("witness{i}");
            let arguments =
                ["link", "add", name.as_str(), "type", "veth", "peer", "name", "watched", "netns", path.as_str()];
            let made = witness.lab.server().output(Command::new("ip").args(arguments))?;
            same(String::from_utf8_lossy(&made.stderr).as_ref(), "")?;
        }
        same(witness.alive(), paths.len())?;
        Ok(witness)
    }

    fn alive(&self) -> usize {
        let is_there = |name: &String| {
            let shown = self.lab.server().output(Command::new("ip").args(["link", "show", "dev", name]));
            shown.is_ok_and(|output| output.status.success())
        };
        (0..self.count).map(|i| format!("witness{i}")).filter(is_there).count()
    }

    fn wait_until_all_are_gone(&self) {
        wait_for("the kernel to end the namespaces", PATIENCE, || (self.alive() == 0).then_some(()));
    }
}

fn dropped() -> Result<(), Failed> {
    let bed = Bed::new(&Nat::random_ports(Duration::from_secs(60)))?;
    let socket = bed.socket()?;
    bed.heartbeat(&socket)?;
    let witness = Witness::of(&paths(&bed))?;
    drop((bed, socket));
    witness.wait_until_all_are_gone();
    Ok(())
}

fn panicked() -> Result<(), Failed> {
    let mut witness = None;
    let outcome = catch_unwind(AssertUnwindSafe(|| -> Result<(), Failed> {
        let bed = Bed::new(&Nat::random_ports(Duration::from_secs(60)))?;
        witness = Some(Witness::of(&paths(&bed))?);
        // A panic inside of a namespace is the panic of who asked.
        bed.device.namespace().enter(|| resume_unwind(Box::new("on purpose")))?;
        Ok(())
    }));
    match outcome {
        Ok(result) => return result.and(Err("the panic was swallowed".into())),
        Err(panic) => same(panic.downcast_ref::<&str>(), Some(&"on purpose"))?,
    }
    witness.ok_or("no witness")?.wait_until_all_are_gone();
    Ok(())
}

fn killed() -> Result<(), Failed> {
    let mut holder = Reaped(myself("hold")?.spawn()?);
    let mut line = String::new();
    BufReader::new(holder.0.stdout.take().ok_or("piped")?).read_line(&mut line)?;
    let paths = line.split_whitespace().take(4).map(str::to_owned).collect::<Vec<_>>();
    same(paths.len(), 4)?;
    let witness = Witness::of(&paths)?;
    // `kill` is SIGKILL: nothing of the process runs any more.
    holder.0.kill()?;
    holder.0.wait()?;
    witness.wait_until_all_are_gone();
    Ok(())
}

fn orphaned() -> Result<(), Failed> {
    let mut holders = Vec::new();
    for _ in 0..2 {
        let mut holder = Reaped(myself("hold")?.spawn()?);
        let mut line = String::new();
        BufReader::new(holder.0.stdout.take().ok_or("piped")?).read_line(&mut line)?;
        let pids: Vec<String> = line.split_whitespace().skip(4).map(str::to_owned).collect();
        same((pids.len(), pids.iter().all(|pid| is_running(pid))), (2, true))?;
        holders.push((holder, pids));
    }
    let (killed, theirs) = &mut holders[0];
    killed.0.kill()?;
    killed.0.wait()?;
    wait_for("the children to die", PATIENCE, || (!theirs.iter().any(|pid| is_running(pid))).then_some(()));
    same(holders[1].1.iter().all(|pid| is_running(pid)), true)
}

/// One that lost the kernel's promise, as a grandchild has.
fn swept() -> Result<(), Failed> {
    let lab = Lab::start()?;
    let theirs = Reaped(lab.server().spawn(Command::new("sleep").arg("600"))?);
    let mut left = Command::new("sleep");
    // No process started before the machine did.
    let mut left = Reaped(left.arg("600").env("FLYBALL_LAB", format!("{}.0", std::process::id())).spawn()?);
    wait_for("its label to be swept", PATIENCE, || {
        Lab::sweep();
        left.0.try_wait().ok().flatten()
    });
    same(is_running(&theirs.0.id().to_string()), true)
}

fn without_tools() -> Result<(), Failed> {
    let mut command = myself("missing")?;
    let said = String::from_utf8(command.env("PATH", "/nonexistent").output()?.stdout)?;
    same(said.starts_with("cannot run `ip`: install the package iproute2: "), true)
}

fn without_capability() -> Result<(), Failed> {
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-sys_admin", "--"]).arg(std::env::current_exe()?).env(ROLE, "missing");
    let said = String::from_utf8(command.output()?.stdout)?;
    let expected = "cannot make the network namespace `internet`: run as root, with CAP_SYS_ADMIN and CAP_NET_ADMIN: ";
    same(said.starts_with(expected), true)
}
