//! As many datagrams as one thread can send, all from one socket; what comes back is thrown away.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};
use socket2::SockRef;
use std::io::IoSlice;

use crate::fleet::Datagram;
use crate::thread;

const BATCH: usize = 64;

pub(crate) struct Flood {
    pub(crate) socket: UdpSocket,
    /// A pace; without, as fast as it goes.
    pub(crate) per_second: Option<u32>,
}

impl Flood {
    /// On the second core, where there is one.
    pub(crate) fn new() -> Self {
        thread::pin(0, 1);
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let _ = SockRef::from(&socket).set_send_buffer_size(4 << 20);
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
        Self { socket, per_second: None }
    }

    /// Sends them in order until the time is over; they are enough for it, or it ends with them. Waits until what was
    /// sent is taken.
    pub(crate) fn run(&self, datagrams: &[Datagram], to: SocketAddr, time: Duration) {
        let SocketAddr::V4(to) = to else { panic!("over IPv4") };
        let to: [Option<SockaddrIn>; BATCH] = [Some(SockaddrIn::from(to)); BATCH];
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
        let (begun, mut sent) = (Instant::now(), 0_u32);
        for batch in datagrams.chunks_exact(BATCH) {
            let slices: Vec<[IoSlice<'_>; 1]> = batch.iter().map(|bytes| [IoSlice::new(bytes)]).collect();
            let fd = self.socket.as_raw_fd();
            sendmmsg(fd, &mut headers, &slices, to, [], MsgFlags::empty()).map(drop).expect("sent");
            sent += BATCH as u32;
            self.drain();
            if begun.elapsed() >= time {
                break;
            }
            if let Some(pace) = self.per_second {
                let due = Duration::from_secs(1) * sent / pace;
                std::thread::sleep(due.saturating_sub(begun.elapsed()));
            }
        }
        std::thread::sleep(Duration::from_millis(50));
        self.drain();
    }

    /// Throws away what came.
    pub(crate) fn drain(&self) {
        let mut bytes = [0; 64];
        while nix::sys::socket::recv(self.socket.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT).is_ok() {}
    }
}
