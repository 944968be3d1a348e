//! The least that answers: receive a batch, send half of each back to where it came from.

#![allow(unsafe_code)]

use std::mem::{size_of, zeroed};
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use socket2::SockRef;

use crate::running::Running;
use crate::thread;

const BATCH: usize = 64;
const IN: usize = 80;
const OUT: usize = 40;
const NAME: &str = "bare-echo";

/// On a thread of its own, until the process ends.
pub(crate) fn start() -> Running {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let _ = SockRef::from(&socket).set_recv_buffer_size(4 << 20);
    let _ = SockRef::from(&socket).set_send_buffer_size(4 << 20);
    let address = socket.local_addr().expect("bound");
    let handled = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&handled);
    std::thread::Builder::new().name(NAME.into()).spawn(move || echo(&socket, &count)).expect("a thread");
    let thread = thread::named(NAME);
    thread::pin(thread, 0);
    Running::bare(address, thread, handled)
}

fn echo(socket: &UdpSocket, handled: &AtomicU64) {
    // SAFETY: plain C structures, for which zeros are a value.
    let (mut headers, mut vectors): ([libc::mmsghdr; BATCH], [libc::iovec; BATCH]) = unsafe { (zeroed(), zeroed()) };
    // SAFETY: as above.
    let mut names: [libc::sockaddr_in; BATCH] = unsafe { zeroed() };
    let mut datagrams = [[0_u8; IN]; BATCH];
    for i in 0..BATCH {
        vectors[i] = libc::iovec { iov_base: datagrams[i].as_mut_ptr().cast(), iov_len: IN };
        headers[i].msg_hdr.msg_name = (&raw mut names[i]).cast();
        headers[i].msg_hdr.msg_iov = &raw mut vectors[i];
        headers[i].msg_hdr.msg_iovlen = 1;
    }
    loop {
        for i in 0..BATCH {
            vectors[i].iov_len = IN;
            headers[i].msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        }
        let (fd, size) = (socket.as_raw_fd(), BATCH as libc::c_uint);
        // SAFETY: the headers, names, vectors and datagrams live as long as this function, and have the lengths told.
        let received =
            unsafe { libc::recvmmsg(fd, headers.as_mut_ptr(), size, libc::MSG_WAITFORONE, std::ptr::null_mut()) };
        let Ok(received) = usize::try_from(received) else { continue };
        vectors[..received].iter_mut().for_each(|vector| vector.iov_len = OUT);
        let mut sent = 0;
        while sent < received {
            let rest = &mut headers[sent..received];
            // SAFETY: as above.
            let more = unsafe { libc::sendmmsg(fd, rest.as_mut_ptr(), rest.len() as libc::c_uint, libc::MSG_DONTWAIT) };
            sent += usize::try_from(more).unwrap_or(1).max(1);
        }
        handled.fetch_add(received as u64, Ordering::Relaxed);
    }
}
