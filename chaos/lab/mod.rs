//! A laboratory of network namespaces: devices behind carriers whose NAT is the kernel's own, and one server.
//!
//! A NAT that is imitated behaves as its author believes NATs behave. This one is Linux conntrack with its own timers,
//! its own port choice and its own surprises (see the README beside this file), with timeouts short enough for tests.
//!
//! The obvious way names namespaces under `/run/netns`; a run that is killed then leaves them behind, and somebody has
//! to sweep what may be another run's. Here nothing has a name: a namespace is held by an open file and interfaces exist
//! only inside of namespaces, so that the kernel removes everything when the last file is closed, on drop, in a panic,
//! and after SIGKILL. Any number of labs run beside each other, and the machine's own network is never touched.
//!
//! Child processes die with the process that started them; see `children.rs` for how, and for what a later run sweeps.
//!
//! Limits: a socket or a child process that outlives the lab keeps the one namespace it is in, without its links.
//! Timeouts are whole seconds. Needs root (CAP_SYS_ADMIN and CAP_NET_ADMIN), `ip`, `nft`, `conntrack`.
//!
//! ```no_run
//! use flyball::lab::{Lab, Nat};
//! use std::time::Duration;
//!
//! let lab = Lab::start()?;
//! let carrier = lab.carrier(&Nat::random_ports(Duration::from_secs(3)))?;
//! let device = lab.device(&carrier)?;
//! let (server, socket) = (lab.server_udp()?, device.udp()?);
//! let address = server.local_addr().expect("bound");
//! socket.send_to(b"heartbeat", address).expect("sent");
//! # Ok::<(), flyball::lab::LabError>(())
//! ```

mod carrier;
mod children;
mod device;
mod error;
mod link;
mod namespace;
mod nat;
mod netem;
mod sys;
mod tool;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub use carrier::Carrier;
pub use device::Device;
pub use error::LabError;
pub use namespace::Namespace;
pub use nat::{Nat, Ports};
pub use netem::{Chance, Direction, Distribution, End, Impair, Impaired, Loss, Netem, Rate, Reorder};

pub(crate) use sys::die_with_this_thread;

use crate::error_chain::chain;
use link::Site;

/// The server's address.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// The server's IPv6 address.
pub const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// The interface towards the rest of the network, in the server's, each carrier's and each device's namespace.
pub const UPLINK: &str = "uplink";

/// The server's link, in the internet's namespace.
const SERVER_LINK: &str = "server";

/// Carriers of one lab: the third byte of their prefix.
const CARRIERS_MAX: u32 = 255;
/// Devices of one lab: the second and third byte of their prefix.
const DEVICES_MAX: u32 = 65_535;

/// A running network: an internet and a server on it. Carriers and devices are added, and leave when dropped.
#[derive(Debug)]
pub struct Lab {
    internet: Namespace,
    server: Namespace,
    carriers: AtomicU32,
    devices: AtomicU32,
}

impl Lab {
    /// What this machine lacks for a lab, and what to do about it; `None` if it lacks nothing. It looks for the tools
    /// and then makes the smallest lab with a NAT in it, which takes about 0.1 s.
    pub fn missing() -> Option<String> {
        if let Some(missing) = tool::missing() {
            return Some(missing);
        }
        let tried = Self::start().and_then(|lab| {
            let carrier = lab.carrier(&Nat::random_ports(Duration::from_secs(1)))?;
            lab.device(&carrier)?;
            carrier.reboot()
        });
        tried.err().map(|error| chain(&error))
    }

    /// An internet with a server on it. The first one of a process sweeps first.
    pub fn start() -> Result<Self, LabError> {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(|| {
            Self::sweep();
        });
        let internet = Namespace::router("internet")?;
        let server = Namespace::host("server")?;
        link::connect(&internet, &server, SERVER_LINK, &Site::server())?;
        Ok(Self { internet, server, carriers: AtomicU32::new(0), devices: AtomicU32::new(0) })
    }

    /// Ends the children of labs whose process is no more, found by their label; how many there were. Those of running
    /// ones are left alone.
    pub fn sweep() -> usize {
        children::sweep()
    }

    /// A new carrier: a network of its own behind this NAT.
    pub fn carrier(&self, nat: &Nat) -> Result<Carrier, LabError> {
        Carrier::start(&self.internet, next(&self.carriers, CARRIERS_MAX, "carriers")?, nat)
    }

    /// A new device in the carrier's network.
    pub fn device(&self, carrier: &Carrier) -> Result<Device, LabError> {
        Device::start(next(&self.devices, DEVICES_MAX, "devices")?, carrier)
    }

    /// The server's namespace. What is watched on its `UPLINK` is what reaches the server from every carrier.
    pub fn server(&self) -> &Namespace {
        &self.server
    }

    /// The router between all of them.
    pub fn internet(&self) -> &Namespace {
        &self.internet
    }

    /// A socket of the server, at `SERVER` and a free port.
    pub fn server_udp(&self) -> Result<UdpSocket, LabError> {
        self.server.udp(SocketAddr::from((SERVER, 0)))
    }
}

impl Impair for Lab {
    fn end(&self, direction: Direction) -> End<'_> {
        match direction {
            Direction::Up => End { namespace: &self.internet, link: SERVER_LINK },
            Direction::Down => End { namespace: &self.server, link: UPLINK },
        }
    }
}

/// The next number from 1 on.
fn next(counter: &AtomicU32, max: u32, what: &'static str) -> Result<u16, LabError> {
    let taken = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < max).then_some(n + 1));
    taken.ok().and_then(|n| u16::try_from(n + 1).ok()).ok_or(LabError::Full { what, max })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_start_at_one_and_end_at_their_maximum() {
        let counter = AtomicU32::new(0);
        assert_eq!(next(&counter, 2, "carriers").expect("room"), 1);
        assert_eq!(next(&counter, 2, "carriers").expect("room"), 2);
        for _ in 0..2 {
            assert!(matches!(next(&counter, 2, "carriers"), Err(LabError::Full { what: "carriers", max: 2 })));
        }
    }
}
