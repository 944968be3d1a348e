//! One carrier, one device, one server in the lab, and the program at the server's uplink.
//!
//! The program sees a packet before the server's socket does: what has arrived has been judged, so that "no event" needs
//! no waiting.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use flyball::lab::{Carrier, Device, Lab, Nat};
use libtest_mimic::Failed;

use super::watch::{Watch, settings};

/// Bindings of a trial that is not about expiry.
const LONG: Duration = Duration::from_secs(60);
/// More than any datagram.
const DATAGRAM_BYTES_MAX: usize = 65_536;

pub(crate) struct Bed {
    // Before the lab, whose interfaces it is attached to.
    pub(crate) watch: Watch,
    pub(crate) server: UdpSocket,
    pub(crate) device: Device,
    pub(crate) carrier: Carrier,
    pub(crate) lab: Lab,
}

impl Bed {
    /// Behind a NAT that keeps ports and bindings: each socket of the device is one address.
    pub(crate) fn new(key: &str) -> Result<Self, Failed> {
        Self::behind(&Nat::preserved_ports(LONG), key)
    }

    pub(crate) fn behind(nat: &Nat, key: &str) -> Result<Self, Failed> {
        let lab = Lab::start()?;
        let carrier = lab.carrier(nat)?;
        let device = lab.device(&carrier)?;
        let server = lab.server_udp()?;
        let watch = Watch::attach(&settings(key, &[server.local_addr()?.port()]), lab.server())?;
        Ok(Self { watch, server, device, carrier, lab })
    }

    /// Sends to the server; where the server saw it come from.
    pub(crate) fn send(&self, socket: &UdpSocket, payload: &[u8]) -> Result<SocketAddr, Failed> {
        passes(socket, &self.server, self.server.local_addr()?, payload)
    }

    /// Sends to the device.
    pub(crate) fn push(&self, to: SocketAddr, socket: &UdpSocket, payload: &[u8]) -> Result<(), Failed> {
        passes(&self.server, socket, to, payload).map(drop)
    }
}

/// Sends a datagram that must arrive unchanged; where it came from.
pub(crate) fn passes(
    sender: &UdpSocket,
    receiver: &UdpSocket,
    to: SocketAddr,
    payload: &[u8],
) -> Result<SocketAddr, Failed> {
    sender.send_to(payload, to)?;
    let mut received = vec![0; DATAGRAM_BYTES_MAX];
    let (length, from) = receiver.recv_from(&mut received)?;
    if received[..length] == *payload { Ok(from) } else { Err("another datagram arrived".into()) }
}
