//! What the kernel knows of our threads.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// A thread's processor time since some moment.
pub(crate) struct Processor {
    thread: i32,
    since: Duration,
}

impl Processor {
    pub(crate) fn of(thread: i32) -> Self {
        Self { thread, since: spent(&task(thread)) }
    }

    pub(crate) fn spent(&self) -> Duration {
        spent(&task(self.thread)) - self.since
    }
}

/// Of this process.
fn task(thread: i32) -> PathBuf {
    format!("/proc/self/task/{thread}").into()
}

/// `schedstat` of a task, first field: nanoseconds on a processor.
pub(crate) fn spent(task: &Path) -> Duration {
    let text = fs::read_to_string(task.join("schedstat")).expect("the thread runs");
    Duration::from_nanos(text.split_whitespace().next().and_then(|ns| ns.parse().ok()).expect("a number"))
}

/// The thread of this name.
pub(crate) fn named(name: &str) -> i32 {
    loop {
        let tasks = fs::read_dir("/proc/self/task").expect("our own").flatten();
        let mut ids = tasks.filter_map(|task| task.file_name().to_str()?.parse::<i32>().ok());
        let is_it =
            |id: &i32| fs::read_to_string(format!("/proc/self/task/{id}/comm")).is_ok_and(|comm| comm.trim() == name);
        if let Some(id) = ids.find(is_it) {
            return id;
        }
        std::thread::yield_now();
    }
}

/// Keeps a thread on one core; 0 is the calling thread.
pub(crate) fn pin(thread: i32, core: usize) {
    let mut set = CpuSet::new();
    set.set(core).expect("a core");
    // A machine with one core has only that.
    let _ = sched_setaffinity(Pid::from_raw(thread), &set);
}

/// Memory of this process that is in use.
pub(crate) fn resident_bytes() -> u64 {
    memory_bytes("self", "VmRSS:")
}

/// The most that ever was.
pub(crate) fn resident_bytes_max() -> u64 {
    memory_bytes("self", "VmHWM:")
}

/// A line of a process's status, which is in KiB.
pub(crate) fn memory_bytes(process: &str, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it lives");
    let line = status.lines().find(|line| line.starts_with(key)).expect("a line");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number");
    kib * 1_024
}
