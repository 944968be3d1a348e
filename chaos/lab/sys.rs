//! Where the compiler cannot see that it is safe: what a child does between `fork` and `exec`.

#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{getpid, getppid};

/// The child is killed when the *thread* that starts it ends, and so when the process does, by SIGKILL too.
pub(crate) fn die_with_this_thread(command: &mut Command) {
    let parent = getpid();
    let work = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // Who died before could not be waited for.
        if getppid() == parent { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    };
    // SAFETY: between fork and exec only functions that a signal handler may call are allowed; these are three plain
    // system calls, and no path of the closure allocates.
    unsafe {
        command.pre_exec(work);
    }
}
