//! Real datagrams over a veth pair into a namespace of their own.

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use flyball::lab::{Lab, SERVER, UPLINK};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};

use crate::packets::{PORT, heartbeat, set_sequence};
use crate::programs::Programs;

/// Datagrams a system call.
const BATCH: usize = 64;

/// A sender and a server, and nothing between them but a router.
pub(crate) struct Road {
    pub(crate) lab: Lab,
    sender: UdpSocket,
    /// It takes what comes, and drops it when full.
    _server: UdpSocket,
}

impl Road {
    pub(crate) fn build() -> Self {
        let lab = Lab::start().expect("namespaces (are you root?)");
        let server = lab.server().udp(SocketAddrV4::new(SERVER, PORT).into()).expect("a socket of the server");
        let sender = lab.internet().udp(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0).into()).expect("a sender");
        Self { lab, sender, _server: server }
    }

    /// Attaches programs in this order at the server's ingress.
    pub(crate) fn attach(&self, programs: &mut Programs, names: &[&str]) {
        let attach = || names.iter().for_each(|name| programs.attach(name, UPLINK));
        self.lab.server().enter(attach).expect("the server's namespace");
    }

    /// Sends the beats as fast as they go, or at most `per_second`.
    pub(crate) fn send(&self, beats: &mut dyn Iterator<Item = (u64, u32)>, per_second: Option<f64>) {
        let to = SockaddrIn::from(SocketAddrV4::new(SERVER, PORT));
        let (mut buffers, started, mut sent) = (vec![heartbeat(0, 0); BATCH], Instant::now(), 0usize);
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
        loop {
            let mut filled = 0;
            for (buffer, (device, sequence)) in buffers.iter_mut().zip(&mut *beats) {
                *buffer = heartbeat(device, 0);
                set_sequence(buffer, sequence);
                filled += 1;
            }
            if filled == 0 {
                return;
            }
            let slices: Vec<[IoSlice<'_>; 1]> = buffers[..filled].iter().map(|b| [IoSlice::new(b)]).collect();
            let addresses = vec![Some(to); filled];
            let fd = self.sender.as_raw_fd();
            let done = sendmmsg(fd, &mut headers, &slices, &addresses, [], MsgFlags::empty()).expect("sent");
            sent += done.count();
            if let Some(rate) = per_second {
                wait_until(started, Duration::from_secs_f64(sent as f64 / rate));
            }
        }
    }
}

fn wait_until(started: Instant, due: Duration) {
    if let Some(early) = due.checked_sub(started.elapsed()).filter(|early| *early > Duration::from_millis(1)) {
        std::thread::sleep(early);
    }
}
