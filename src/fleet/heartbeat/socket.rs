//! The workers' sockets: one port, shared, and steered by device id.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::settings::{BindError, Settings};
use super::steer::program;
use crate::fleet::sys::attach_steering;

/// How long a worker waits for datagrams before it looks at its timers and at what it was told.
pub(super) const WAIT_MAX: Duration = Duration::from_millis(20);

/// Binds one socket a worker. Where the kernel cannot steer there is one worker, and the log says why.
pub(super) fn bind(settings: &Settings) -> Result<Vec<UdpSocket>, BindError> {
    let refused = |source| BindError::Bind { address: settings.address, source };
    let workers = settings.worker_count();
    let first = socket(settings.address, settings.receive_buffer_bytes, workers > 1).map_err(refused)?;
    if workers == 1 {
        return Ok(vec![first]);
    }
    // Before the others join: from then on they are chosen by the program, and never by address.
    if let Err(error) = attach_steering(&first, &program(workers as u32)) {
        tracing::warn!(%error, "heartbeats: the kernel cannot steer datagrams by device: one worker takes them all");
        return Ok(vec![first]);
    }
    let address = first.local_addr().map_err(refused)?;
    let others = (1..workers).map(|_| socket(address, settings.receive_buffer_bytes, true));
    std::iter::once(Ok(first)).chain(others).collect::<io::Result<_>>().map_err(refused)
}

fn socket(address: SocketAddr, receive_buffer_bytes: usize, is_shared: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // `[::]` takes IPv4 too, whatever the machine's default is.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_port(is_shared)?;
    // As much as the kernel allows.
    let _ = socket.set_recv_buffer_size(receive_buffer_bytes);
    let _ = socket.set_send_buffer_size(receive_buffer_bytes);
    socket.set_read_timeout(Some(WAIT_MAX))?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}
