//! A network namespace without a name: it lives as long as somebody holds its file.
//!
//! `ip netns exec` would remount `/sys` (tracefs and cgroup2 vanish inside); here a thread of its own enters with
//! `setns`, does one thing and ends. Sockets made there stay there, and can be used from anywhere.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};

use super::children;
use super::error::LabError;

/// How long a read of a lab's socket waits, unless changed: a lost answer must not hang a test.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Settings of every namespace. New ones take over the machine's IPv4 settings, which a lab must not depend on. On
/// these links nobody else can have an address, so that duplicates are not looked for.
const HOST_SETTINGS: [(&str, &str); 6] = [
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/conf/all/arp_ignore", "0"),
    ("net/ipv4/conf/default/arp_ignore", "0"),
    ("net/ipv6/conf/all/disable_ipv6", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
];

/// Settings of one that passes packets on. Every router has the same address on its links towards the edge, so that the
/// router above asks for a carrier's address (ARP) from one that is the carrier's own too: it must be answered all the
/// same, or answers stop passing when what the neighbours knew of each other has aged, after some ten seconds.
const ROUTER_SETTINGS: [(&str, &str); 3] =
    [("net/ipv4/ip_forward", "1"), ("net/ipv4/conf/all/accept_local", "1"), ("net/ipv6/conf/all/forwarding", "1")];

/// A network namespace. Clones are the same namespace; it ends with the last of them and the last socket inside.
#[derive(Debug, Clone)]
pub struct Namespace {
    name: Arc<str>,
    file: Arc<File>,
}

impl Namespace {
    /// A new one for an end point, with its loopback up.
    pub(super) fn host(name: &str) -> Result<Self, LabError> {
        let namespace = Self::make(name)?;
        namespace.set(&HOST_SETTINGS)?;
        namespace.ip("link set lo up\n")?;
        Ok(namespace)
    }

    /// A new one that forwards.
    pub(super) fn router(name: &str) -> Result<Self, LabError> {
        let namespace = Self::host(name)?;
        namespace.set(&ROUTER_SETTINGS)?;
        Ok(namespace)
    }

    fn make(name: &str) -> Result<Self, LabError> {
        let failed = |step| move |source| LabError::Namespace { step, namespace: name.to_owned(), source };
        let file = on_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| failed("make")(errno.into()))?;
            File::open("/proc/thread-self/ns/net").map_err(failed("hold"))
        });
        Ok(Self { name: name.into(), file: Arc::new(file.map_err(failed("make"))??) })
    }

    /// Whose it is: `server`, `carrier 1`, `device 7`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A path to it, for what takes one (`nsenter --net=PATH`, `ip link … netns PATH`). Good as long as this process
    /// holds the namespace.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()))
    }

    /// Does `work` inside, on a thread of its own, and waits for it. Sockets, interfaces, `/proc/sys/net`, and the
    /// threads and children started there are the namespace's; a panic in `work` is the caller's. A runtime must be made
    /// *and driven* inside to be wholly there: the threads that it starts later are where they are asked for.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        let failed = |source| LabError::Namespace { step: "enter", namespace: self.name.to_string(), source };
        on_thread(|| {
            setns(&*self.file, CloneFlags::CLONE_NEWNET).map_err(|errno| failed(errno.into()))?;
            Ok(work())
        })
        .map_err(failed)?
    }

    /// Starts the command inside. Whoever starts it ends it; where that process dies, by SIGKILL too, the child does.
    pub fn spawn(&self, command: &mut Command) -> Result<Child, LabError> {
        let program = command.get_program().to_string_lossy().into_owned();
        let failed = |source| LabError::Child { program, namespace: self.name.to_string(), source };
        children::spawn(&self.file, command).map_err(failed)
    }

    /// Runs the command inside to its end, and takes what it prints.
    pub fn output(&self, command: &mut Command) -> Result<Output, LabError> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = self.spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))?;
        let namespace = self.name.to_string();
        child.wait_with_output().map_err(|source| LabError::Child { program, namespace, source })
    }

    /// A UDP socket inside, whose reads give up after 5 s.
    pub fn udp(&self, address: SocketAddr) -> Result<UdpSocket, LabError> {
        let bound = self.enter(|| {
            let socket = UdpSocket::bind(address)?;
            socket.set_read_timeout(Some(READ_TIMEOUT))?;
            Ok(socket)
        })?;
        bound.map_err(|source| LabError::Socket { address, namespace: self.name.to_string(), source })
    }

    /// Writes kernel settings, given as paths below `/proc/sys`. IPv6 ones are skipped where the kernel has no IPv6.
    pub(super) fn set<V: AsRef<str> + Sync>(&self, settings: &[(&str, V)]) -> Result<(), LabError> {
        self.enter(|| {
            for (path, value) in settings.iter().filter(|(path, _)| has_ipv6() || !path.starts_with("net/ipv6/")) {
                let (path, value) = (format!("/proc/sys/{path}"), value.as_ref());
                fs::write(&path, value).map_err(|source| {
                    let namespace = self.name.to_string();
                    LabError::Setting { path, value: value.to_owned(), namespace, source }
                })?;
            }
            Ok(())
        })?
    }
}

/// Whether the kernel has IPv6, and it is not switched off at boot.
pub(super) fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

/// Runs `work` on a thread that nothing else uses, whose namespace may therefore change. Fails if none can be started.
fn on_thread<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("flyball-lab".to_owned()).spawn_scoped(scope, work)?;
        // The only error of a join is that `work` panicked.
        thread.join().map_err(|panic| std::panic::resume_unwind(panic))
    })
}
