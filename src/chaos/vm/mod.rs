//! A throw-away virtual machine: this same program, with the same files around it, on Debian's own kernel.
//!
//! A scenario may want what the machine's kernel has not (`sch_netem`, most of all). The obvious way, a container, shares
//! that kernel; an image of a machine would be a thing to build, to ship and to keep current. Here there is no image:
//! the guest's root is the host's own, shared read-only over 9p under a layer of memory, so that what the guest writes is
//! gone with it; its first process is this program; and only the kernel is fetched, one Debian package, at first use.
//!
//! It needs no KVM: plain emulation (TCG) is several times slower, and heartbeats are rare. KVM is used where it is
//! sound; where it is itself a guest's that cannot run stock kernels (`kvm_pvm`), it is not.
//!
//! The way: `run` writes the order into a shared folder and starts QEMU; the kernel starts this program as its first
//! process ([`guest`]); that one mounts everything, runs the order as a child, writes its exit status into the folder
//! and switches the machine off. What the child prints comes out of QEMU as it is printed.
//!
//! Nothing is left: the guest dies with QEMU, QEMU with the thread that started it (also by SIGKILL), and the folder is
//! taken away; that of a run that was killed by the next one. Limits: x86-64 and Debian's packages; no network to the
//! outside; files that the guest must hand back are named beforehand.

mod archive;
mod guest;
mod kernel;
mod machine;
mod order;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use guest::{guest, is_inside};

/// What to run inside.
#[derive(Debug, Clone)]
pub struct Request {
    /// The program; `None`: this one.
    pub program: Option<PathBuf>,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Files that it writes and that are wanted outside, at the same paths. Those that it does not write are left alone.
    pub files: Vec<PathBuf>,
    /// From the start of the machine; when it is over, the machine is switched off.
    pub limit: Duration,
}

/// Why there is no exit status.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// This machine cannot run one.
    #[error("cannot run a virtual machine here: {what}")]
    Missing {
        /// What is absent, and what to do about it.
        what: String,
    },
    /// A tool failed.
    #[error("`{command}` failed: {said}")]
    Tool {
        /// Program and arguments.
        command: String,
        /// What it said.
        said: String,
    },
    /// A file or folder could not be read or written.
    #[error("cannot {step} {}", path.display())]
    File {
        /// What was to be done.
        step: &'static str,
        /// With which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Arguments and paths are told to the guest as text.
    #[error("{0:?} is not UTF-8")]
    Text(OsString),
    /// It was switched off at the limit.
    #[error("the virtual machine was switched off after {0:?}")]
    Limit(Duration),
    /// It was switched off because of SIGINT or SIGTERM.
    #[error("interrupted")]
    Interrupted,
    /// It ended without telling how its program did.
    #[error("the virtual machine ended without an answer; its last words: {last_words}")]
    Ended {
        /// The end of its console.
        last_words: String,
    },
}

impl VmError {
    /// Whether something is missing that can be installed: exit status 5.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }
}

/// Runs the request in a machine of its own and waits for its end; what it prints is printed. The program's exit status.
pub fn run(request: &Request) -> Result<u8, VmError> {
    machine::sweep();
    let qemu = machine::Qemu::find()?;
    let kernel = kernel::kernel(&kernel::cache())?;
    let folder = machine::Folder::new()?;
    order::Order::new(request, &kernel)?.write(&folder)?;
    archive::write(&folder.path("initrd"), &kernel)?;
    machine::run(&qemu, &kernel, &folder, request.limit)?;
    order::take_back(&folder, &request.files)
}

/// A failed step with a file.
fn file(step: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> VmError {
    let path = path.into();
    move |source| VmError::File { step, path, source }
}
