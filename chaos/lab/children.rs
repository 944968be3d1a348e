//! Child processes in a lab's namespaces: they die with the process that started them, however it dies.
//!
//! The kernel can be asked to kill a child when its parent ends, and by parent it means the *thread* that started it. A
//! lab enters namespaces on threads that live for one step, so that their children would die at once: one thread starts
//! all children, and lives as long as the process. Nothing has to run for this when the process is killed.
//!
//! A child that changes its user or gains capabilities loses that promise, and a grandchild never had it. Therefore each
//! one carries a label in its environment, which its own children inherit: whose it is, by number and time of start. The
//! next process that starts a lab ends what carries the label of one that is no more.

use std::env;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread;

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::sys::die_with_this_thread;

/// In the environment of each child: the process that started it, and when that one started, in ticks since boot.
const LABEL: &str = "FLYBALL_LAB";

/// A command to be started in a namespace, and where to tell how that went; the command goes back.
struct Job {
    namespace: Arc<File>,
    command: Command,
    told: Sender<(Command, io::Result<Child>)>,
}

static STARTER: LazyLock<io::Result<Mutex<Sender<Job>>>> = LazyLock::new(|| {
    let (sender, jobs) = channel();
    thread::Builder::new().name("flyball-children".to_owned()).spawn(move || serve(&jobs))?;
    Ok(Mutex::new(sender))
});

/// Starts the command in the namespace.
pub(super) fn spawn(namespace: &Arc<File>, command: &mut Command) -> io::Result<Child> {
    let gone = || io::Error::other("the thread that starts children is no more");
    let starter = STARTER.as_ref().map_err(|error| io::Error::from(error.kind()))?;
    let (told, answer) = channel();
    command.env(LABEL, label(std::process::id()).unwrap_or_default());
    die_with_this_thread(command);
    let job = Job { namespace: Arc::clone(namespace), command: std::mem::replace(command, Command::new("")), told };
    starter.lock().unwrap_or_else(PoisonError::into_inner).send(job).map_err(|_| gone())?;
    let (returned, child) = answer.recv().map_err(|_| gone())?;
    *command = returned;
    child
}

/// Between two jobs it is where it began: the file of a namespace that it stays in would keep that namespace.
fn serve(jobs: &Receiver<Job>) {
    let Ok(home) = File::open("/proc/thread-self/ns/net") else { return };
    for Job { namespace, mut command, told } in jobs {
        let entered = setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET).map_err(io::Error::from);
        let child = entered.and_then(|()| command.spawn());
        let is_back = setns(home.as_fd(), CloneFlags::CLONE_NEWNET).is_ok();
        // Who asked may have panicked.
        let _ = told.send((command, child));
        if !is_back {
            return;
        }
    }
}

/// Number and time of start, which no two processes share.
fn label(process: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name before may hold anything, but ends with the last parenthesis; the time of start is the 20th field after.
    let started = stat.get(stat.rfind(')')? + 1..)?.split_whitespace().nth(19)?;
    Some(format!("{process}.{started}"))
}

/// Ends every process whose label is of one that is no more.
pub(super) fn sweep() -> usize {
    let Ok(processes) = fs::read_dir("/proc") else { return 0 };
    let numbers = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let own = env::var(LABEL).ok();
    // In another container numbers mean other processes.
    let space = |process: &dyn std::fmt::Display| fs::read_link(format!("/proc/{process}/ns/pid")).ok();
    let here = space(&"self");
    let numbers = numbers.filter(|process| here.is_some() && space(process) == here);
    numbers.filter(|process| orphaned(*process, own.as_deref())).filter(|process| end(*process)).count()
}

/// Whether its label is of a process that is no more, and not the one that this process itself was started with.
fn orphaned(process: u32, own: Option<&str>) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{process}/environ")) else { return false };
    let variables = environment.split(|byte| *byte == 0).filter_map(|variable| std::str::from_utf8(variable).ok());
    let labels = variables.filter_map(|variable| variable.strip_prefix(LABEL)?.strip_prefix('='));
    let owner = |label: &str| label.split_once('.').and_then(|(owner, _)| owner.parse().ok());
    let mut labels = labels.filter(|label| Some(*label) != own);
    labels.any(|carried| owner(carried).is_some_and(|owner| label(owner).is_none_or(|living| living != carried)))
}

fn end(process: u32) -> bool {
    i32::try_from(process).is_ok_and(|process| kill(Pid::from_raw(process), Signal::SIGKILL).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_names_a_living_process_and_no_other() {
        let own = label(std::process::id()).expect("this process");
        assert!(own.starts_with(&format!("{}.", std::process::id())), "{own}");
        assert_eq!(label(std::process::id()), Some(own));
        assert_eq!(label(u32::MAX), None);
    }
}
