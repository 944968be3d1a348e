//! Where the compiler cannot see that it is safe: datagrams by the batch, and the filter that steers them.

#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::ptr;

use super::heartbeat::address::Address;
use super::heartbeat::steer::Instruction;

/// Gives the group of sockets that this one shares its port with a program that chooses among them.
pub(super) fn attach_steering(socket: &UdpSocket, program: &[Instruction]) -> io::Result<()> {
    let mut filter: Vec<libc::sock_filter> =
        program.iter().map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k }).collect();
    let length = u16::try_from(filter.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    // SAFETY: the kernel copies `len` instructions from `filter`, which outlives the call, and reads no more than the
    // size that it is told of `program`.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Datagrams of at most `BYTES` bytes with their addresses, received or to be sent together. All memory is made once.
/// The kernel's structures point into it; they are pointed anew before each call, so that it may be moved between them.
pub(super) struct Batch<const BYTES: usize> {
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    names: Box<[libc::sockaddr_storage]>,
    datagrams: Box<[[u8; BYTES]]>,
    filled: usize,
}

// SAFETY: the pointers within are written before each call into the kernel and never read otherwise; everything they
// point to is owned by the batch and moves with it.
unsafe impl<const BYTES: usize> Send for Batch<BYTES> {}

impl<const BYTES: usize> Batch<BYTES> {
    /// Of this many.
    pub(super) fn new(size: usize) -> Self {
        // SAFETY: all three are plain C structures for which zeros are a value (null pointers, empty addresses).
        let (header, vector, name) = unsafe { (zeroed::<libc::mmsghdr>(), zeroed(), zeroed()) };
        Self {
            headers: vec![header; size].into(),
            vectors: vec![vector; size].into(),
            names: vec![name; size].into(),
            datagrams: vec![[0; BYTES]; size].into(),
            filled: 0,
        }
    }

    /// Datagrams that are there.
    pub(super) const fn len(&self) -> usize {
        self.filled
    }

    /// One of those received: its bytes, and where it came from. A longer one than fits shows as one byte more than any
    /// that is ours can have, `BYTES` being chosen so.
    pub(super) fn received(&self, index: usize) -> (&[u8], Address) {
        let length = (self.headers[index].msg_len as usize).min(BYTES);
        (&self.datagrams[index][..length], address(&self.names[index]))
    }

    /// Adds one to be sent; whether there was room.
    pub(super) fn push(&mut self, bytes: &[u8; BYTES], to: &Address, is_v6: bool) -> bool {
        let Some(name) = self.names.get_mut(self.filled) else { return false };
        self.headers[self.filled].msg_hdr.msg_namelen = write(to, name, is_v6);
        self.datagrams[self.filled] = *bytes;
        self.filled += 1;
        true
    }

    /// Waits for datagrams, as long as the socket's timeout; takes those that are there.
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<()> {
        self.filled = 0;
        self.point(self.headers.len());
        for header in &mut self.headers {
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        }
        let (fd, size) = (socket.as_raw_fd(), self.headers.len() as libc::c_uint);
        // SAFETY: `size` headers follow the pointer, each with a name and one vector of the lengths it says, all owned
        // by `self`, which is borrowed for the call.
        let taken =
            unsafe { libc::recvmmsg(fd, self.headers.as_mut_ptr(), size, libc::MSG_WAITFORONE, ptr::null_mut()) };
        self.filled = usize::try_from(taken).map_err(|_| io::Error::last_os_error())?;
        Ok(())
    }

    /// Sends all that were added; how many the system did not take. It never waits for room.
    pub(super) fn send(&mut self, socket: &UdpSocket) -> usize {
        let (size, mut done, mut failed) = (self.filled, 0, 0);
        self.filled = 0;
        self.point(size);
        while done < size {
            let rest = &mut self.headers[done..size];
            let (fd, length) = (socket.as_raw_fd(), rest.len() as libc::c_uint);
            // SAFETY: `length` headers follow the pointer, each with a name and one vector of the lengths it says, all
            // owned by `self`, which is borrowed for the call; the kernel writes only `msg_len`.
            let sent = unsafe { libc::sendmmsg(fd, rest.as_mut_ptr(), length, libc::MSG_DONTWAIT) };
            match usize::try_from(sent) {
                Ok(sent) if sent > 0 => done += sent,
                // The first of the rest is refused: the others may pass.
                _ => (done, failed) = (done + 1, failed + 1),
            }
        }
        failed
    }

    fn point(&mut self, size: usize) {
        for index in 0..size {
            self.vectors[index] = libc::iovec { iov_base: self.datagrams[index].as_mut_ptr().cast(), iov_len: BYTES };
            let header = &mut self.headers[index].msg_hdr;
            header.msg_name = (&raw mut self.names[index]).cast();
            header.msg_iov = &raw mut self.vectors[index];
            header.msg_iovlen = 1;
        }
    }
}

/// Where a received datagram came from; nowhere for a family that is not ours.
fn address(name: &libc::sockaddr_storage) -> Address {
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the kernel wrote a `sockaddr_in` there, as the family says; the storage is larger and aligned for it.
            let name = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
            let [a, b, c, d] = name.sin_addr.s_addr.to_ne_bytes();
            let ip = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d];
            Address::new(ip, name.sin_port.to_ne_bytes())
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for a `sockaddr_in6`.
            let name = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in6>() };
            Address::new(name.sin6_addr.s6_addr, name.sin6_port.to_ne_bytes())
        }
        _ => Address::default(),
    }
}

/// Writes where to send to, in the socket's own family; how long it is.
fn write(to: &Address, name: &mut libc::sockaddr_storage, is_v6: bool) -> libc::socklen_t {
    let (ip, port) = to.parts();
    if is_v6 {
        // SAFETY: the storage is larger than a `sockaddr_in6`, aligned for it, and any bits are one.
        let name = unsafe { &mut *(&raw mut *name).cast::<libc::sockaddr_in6>() };
        name.sin6_family = libc::AF_INET6 as libc::sa_family_t;
        name.sin6_port = u16::from_ne_bytes(port);
        (name.sin6_flowinfo, name.sin6_scope_id) = (0, 0);
        name.sin6_addr.s6_addr = ip;
        return size_of::<libc::sockaddr_in6>() as libc::socklen_t;
    }
    // SAFETY: as above, for a `sockaddr_in`.
    let name = unsafe { &mut *(&raw mut *name).cast::<libc::sockaddr_in>() };
    name.sin_family = libc::AF_INET as libc::sa_family_t;
    name.sin_port = u16::from_ne_bytes(port);
    name.sin_addr.s_addr = u32::from_ne_bytes([ip[12], ip[13], ip[14], ip[15]]);
    size_of::<libc::sockaddr_in>() as libc::socklen_t
}
