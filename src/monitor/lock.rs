//! One monitor for a port of an interface: two would count every packet twice.
//!
//! The lock is an abstract unix socket. Its names belong to the network namespace, as interfaces do, it is gone with
//! its process however that ends, and it can be asked whose it is. A file would outlive a killed run.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen, socket, sockopt,
};

use super::error::AttachError;
use super::netlink::Link;

/// Held as long as this lives.
#[derive(Debug)]
pub(super) struct PortLocks {
    _sockets: Vec<OwnedFd>,
}

impl PortLocks {
    /// Locks each port of one interface, or none.
    pub(super) fn take(name: &str, link: Link, ports: &[u16]) -> Result<Self, AttachError> {
        let sockets: Result<_, _> = ports.iter().map(|port| take_one(name, link.index, *port)).collect();
        Ok(Self { _sockets: sockets? })
    }
}

fn take_one(interface: &str, index: u32, port: u16) -> Result<OwnedFd, AttachError> {
    listen_on(index, port).map_err(|errno| match errno {
        Errno::EADDRINUSE => {
            let pid = Holder::of(index, port).and_then(|holder| holder.pid);
            AttachError::AlreadyWatched { port, interface: interface.to_owned(), pid }
        }
        errno => AttachError::Lock { port, interface: interface.to_owned(), source: io::Error::from(errno) },
    })
}

/// Whether some process holds the lock.
pub(super) fn is_held(index: u32, port: u16) -> bool {
    Holder::of(index, port).is_some()
}

struct Holder {
    pid: Option<i32>,
}

impl Holder {
    fn of(index: u32, port: u16) -> Option<Self> {
        let socket = unix_socket().ok()?;
        match connect(socket.as_raw_fd(), &address(index, port).ok()?) {
            Ok(()) => {
                let credentials = getsockopt(&socket, sockopt::PeerCredentials).ok();
                // 0: in a pid namespace that we cannot see into.
                Some(Self { pid: credentials.map(|c| c.pid()).filter(|pid| *pid != 0) })
            }
            // Nobody takes our calls from the queue: when it is full, the holder is there, and cannot be asked.
            Err(Errno::EAGAIN) => Some(Self { pid: None }),
            Err(_) => None,
        }
    }
}

fn listen_on(index: u32, port: u16) -> Result<OwnedFd, Errno> {
    let socket = unix_socket()?;
    bind(socket.as_raw_fd(), &address(index, port)?)?;
    listen(&socket, Backlog::MAXCONN)?;
    Ok(socket)
}

fn unix_socket() -> Result<OwnedFd, Errno> {
    socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)
}

fn address(index: u32, port: u16) -> Result<UnixAddr, Errno> {
    UnixAddr::new_abstract(format!("flyball/monitor/{index}/{port}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_had_once_and_the_holder_is_named() {
        // No interface has such an index: tests of other processes cannot meet here.
        let link = Link { index: u32::MAX - std::process::id(), is_up: true, is_ethernet: true };
        let held = PortLocks::take("eth0", link, &[5783, 5784]).expect("free");
        assert!(is_held(link.index, 5784));
        let error = PortLocks::take("eth0", link, &[1, 5784]).expect_err("the second is taken");
        let own = i32::try_from(std::process::id()).ok();
        assert!(
            matches!(&error, AttachError::AlreadyWatched { port: 5784, interface, pid } if interface == "eth0" && *pid == own)
        );
        assert!(!is_held(link.index, 1), "all or none");
        drop(held);
        assert!(!is_held(link.index, 5784));
    }
}
