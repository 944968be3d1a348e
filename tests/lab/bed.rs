//! One carrier, one device, one server socket: what most trials start from.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use flyball::lab::{Carrier, Device, Lab, LabError, Nat};
use libtest_mimic::Failed;

/// What will come is here long before; what will not come is not waited for longer.
pub(crate) const ABSENCE: Duration = Duration::from_millis(300);
/// A busy machine is no failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// No datagram looks like an earlier one.
static SEQUENCE: AtomicU32 = AtomicU32::new(1);

pub(crate) struct Bed {
    pub(crate) lab: Lab,
    pub(crate) carrier: Carrier,
    pub(crate) device: Device,
    pub(crate) server: UdpSocket,
}

impl Bed {
    pub(crate) fn new(nat: &Nat) -> Result<Self, LabError> {
        let lab = Lab::start()?;
        let carrier = lab.carrier(nat)?;
        let device = lab.device(&carrier)?;
        let server = lab.server_udp()?;
        Ok(Self { lab, carrier, device, server })
    }

    /// A socket of the device.
    pub(crate) fn socket(&self) -> Result<UdpSocket, LabError> {
        self.device.udp()
    }

    /// A datagram to the server; where the server saw it come from.
    pub(crate) fn heartbeat(&self, socket: &UdpSocket) -> Result<SocketAddr, Failed> {
        arrival(socket, self.server.local_addr()?, &self.server, PATIENCE)?.ok_or("the heartbeat did not arrive".into())
    }

    /// A datagram to the server that must not arrive.
    pub(crate) fn lost_heartbeat(&self, socket: &UdpSocket) -> Result<(), Failed> {
        match arrival(socket, self.server.local_addr()?, &self.server, ABSENCE)? {
            None => Ok(()),
            Some(from) => Err(format!("the heartbeat arrived, from {from}").into()),
        }
    }

    /// A datagram of the server that must reach the device there.
    pub(crate) fn push(&self, to: SocketAddr, socket: &UdpSocket) -> Result<(), Failed> {
        arrival(&self.server, to, socket, PATIENCE)?.map(drop).ok_or("the push did not arrive".into())
    }

    /// A datagram of the server that must not reach the device.
    pub(crate) fn lost_push(&self, to: SocketAddr, socket: &UdpSocket) -> Result<(), Failed> {
        if self.push_arrives(to, socket)? { Err("the push arrived".into()) } else { Ok(()) }
    }

    /// Whether a datagram of the server reaches the device.
    pub(crate) fn push_arrives(&self, to: SocketAddr, socket: &UdpSocket) -> Result<bool, Failed> {
        Ok(arrival(&self.server, to, socket, ABSENCE)?.is_some())
    }
}

/// Sends a datagram; where `receiver` saw it come from, if it did in time. Earlier datagrams are passed over.
pub(crate) fn arrival(
    sender: &UdpSocket,
    to: SocketAddr,
    receiver: &UdpSocket,
    limit: Duration,
) -> Result<Option<SocketAddr>, Failed> {
    let sent = SEQUENCE.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    sender.send_to(&sent, to)?;
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        receiver.set_read_timeout(Some(left))?;
        let mut received = [0; 64];
        match receiver.recv_from(&mut received) {
            Ok((length, from)) if received[..length] == sent => return Ok(Some(from)),
            Err(error) if !is_passing(error.kind()) => return Err(error.into()),
            _ if Instant::now() >= deadline => return Ok(None),
            _ => {}
        }
    }
}

/// Nothing yet; or a signal, such as that of a child that another trial started.
fn is_passing(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Silence is what these trials measure: it is made by waiting.
pub(crate) fn silence(length: Duration) {
    std::thread::sleep(length);
}

/// `Err` with both values unless they are equal.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(left: T, right: T) -> Result<(), Failed> {
    if left == right { Ok(()) } else { Err(format!("{left:?} is not {right:?}").into()) }
}
