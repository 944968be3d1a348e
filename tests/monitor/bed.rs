//! A network namespace with one cable in it: the monitor watches one end, the test puts packets in at the other.
//!
//! The namespace belongs to the test's thread alone, and has no name: when the thread ends, also by a panic, the
//! kernel removes it with all that is in it. Packets are put in whole, as bytes: any device at any address.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::Duration;

use caps::{CapSet, Capability};
use flyball::monitor::attach::Via;
use flyball::monitor::capability::Capabilities;
use flyball::monitor::key::Key;
use flyball::monitor::live::AttachOptions;
use flyball::monitor::prefixes::Prefixes;
use flyball::monitor::settings::Settings;
use libtest_mimic::{Completion, Failed};
use nix::ifaddrs::getifaddrs;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, sendto, socket};

/// The end that is watched.
pub(crate) const WATCHED: &str = "watched";
/// The end where the fleet is.
pub(crate) const FLEET: &str = "fleet";
/// The watched port.
pub(crate) const PORT: u16 = 5783;

/// The namespace of the thread that holds it.
pub(crate) struct Bed {
    socket: OwnedFd,
}

/// What this machine lacks, if anything.
pub(crate) fn missing() -> Option<String> {
    let needed = [Capability::CAP_BPF, Capability::CAP_NET_ADMIN, Capability::CAP_SYS_ADMIN, Capability::CAP_NET_RAW];
    let missing = needed.into_iter().find(|cap| !caps::has_cap(None, CapSet::Effective, *cap).unwrap_or(false));
    if let Some(capability) = missing {
        return Some(format!("needs root: {capability} is missing"));
    }
    let is_there = |program: &&str| Command::new(program).arg("-V").output().is_ok();
    let program = ["ip", "tc"].into_iter().find(|program| !is_there(program));
    program.map(|program| format!("needs the `{program}` command (iproute2)"))
}

/// Runs a test in its bed.
pub(crate) fn run(test: fn(&Bed)) -> Result<Completion, Failed> {
    let outcome = std::thread::spawn(move || catch_unwind(AssertUnwindSafe(|| test(&Bed::make())))).join();
    match outcome.expect("the panic was caught") {
        Ok(()) => Ok(Completion::Completed),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Err(Failed::from(text.unwrap_or("panicked")))
        }
    }
}

impl Bed {
    fn make() -> Self {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace of its own");
        let bed = Self {
            socket: socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)
                .expect("a packet socket"),
        };
        bed.plug_in();
        bed
    }

    /// Lays the cable.
    pub(crate) fn plug_in(&self) {
        ip(&["link", "add", WATCHED, "type", "veth", "peer", "name", FLEET]);
        for end in [WATCHED, FLEET] {
            ip(&["link", "set", end, "up"]);
        }
    }

    /// Takes it away, with both its ends.
    pub(crate) fn unplug(&self) {
        ip(&["link", "delete", WATCHED]);
    }

    /// Puts a packet in at the fleet's end.
    pub(crate) fn arrive(&self, packet: &[u8]) {
        self.send(FLEET, packet);
    }

    /// Sends one out at the watched end.
    pub(crate) fn leave(&self, packet: &[u8]) {
        self.send(WATCHED, packet);
    }

    fn send(&self, interface: &str, packet: &[u8]) {
        let is_it = |one: &nix::ifaddrs::InterfaceAddress| one.interface_name == interface;
        let mut links = getifaddrs().expect("asked").filter(is_it).filter_map(|one| one.address);
        let link = links.find_map(|address| address.as_link_addr().copied()).expect("it is there");
        let sent = sendto(self.socket.as_raw_fd(), packet, &link, MsgFlags::empty());
        assert_eq!(sent.expect("sent"), packet.len());
    }
}

/// Runs `ip`, in the namespace of this thread.
pub(crate) fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("`ip` is installed");
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Heartbeats on the watched end.
pub(crate) fn settings() -> Settings {
    Settings {
        interfaces: vec![WATCHED.to_owned()],
        key: Key::Heartbeat,
        ports: vec![PORT],
        gap: Duration::from_millis(200),
        devices: 1_000,
        prefixes: Prefixes::default(),
    }
}

/// Where to attach, and nothing dropped.
pub(crate) fn options(via: Via) -> AttachOptions {
    AttachOptions { via, capabilities: Capabilities::AsTheyAre }
}

/// What `tc` shows of the watched end.
pub(crate) fn tc(what: &str, side: &[&str]) -> String {
    let output =
        Command::new("tc").args([what, "show", "dev", WATCHED]).args(side).output().expect("`tc` is installed");
    assert!(output.status.success() && output.stderr.is_empty(), "tc {what}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
