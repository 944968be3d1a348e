//! A device's side of the lab.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use crate::packet::{beat, device_id};

/// What passes the lab does so within a millisecond; a busy machine takes longer.
const PASSED: Duration = Duration::from_millis(300);
/// Nothing that comes takes a tenth of it.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(20);
/// How the server answers: an ack's length.
pub(crate) const ANSWER: [u8; 40] = [0; 40];

/// The socket of a device that beats.
pub(crate) struct Phone {
    pub(crate) id: u32,
    socket: UdpSocket,
    pub(crate) server: SocketAddr,
    sequence: u32,
}

/// Two looks at the test's own clock, about a millisecond apart: a packet passed the server's uplink in between.
pub(crate) type Passed = (Instant, Instant);

/// A heartbeat that reached the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beat {
    /// When.
    pub(crate) passed: Passed,
    /// Where the server saw it come from.
    pub(crate) from: SocketAddr,
}

impl Phone {
    /// A device of this number, which beats to the server over this socket.
    pub(crate) fn new(id: u32, socket: UdpSocket, server: SocketAddr) -> Self {
        Self { id, socket, server, sequence: 0 }
    }

    /// Sends a heartbeat, which may be lost.
    pub(crate) fn send(&mut self) -> Result<(), Failed> {
        self.sequence += 1;
        self.socket.send_to(&self.last_beat(), self.server)?;
        Ok(())
    }

    /// What it sent last.
    pub(crate) fn last_beat(&self) -> Vec<u8> {
        beat(self.id, self.sequence)
    }

    /// A packet of the server comes; it is waited for as long as anything here.
    pub(crate) fn hears(&self) -> Result<bool, Failed> {
        Ok(self.receive(WAIT_MAX)? == Some(ANSWER.len()))
    }

    /// No packet of the server comes.
    pub(crate) fn hears_nothing(&self) -> Result<bool, Failed> {
        Ok(self.receive(PASSED)?.is_none())
    }

    fn receive(&self, within: Duration) -> Result<Option<usize>, Failed> {
        Ok(receive(&self.socket, &mut [0; 100], within)?.map(|(length, _)| length))
    }

    /// Its id in lower hex.
    pub(crate) fn hex(&self) -> String {
        device_id(self.id).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// One datagram, if it comes in this time. A wait that the machine interrupts goes on.
pub(crate) fn receive(
    socket: &UdpSocket,
    datagram: &mut [u8],
    within: Duration,
) -> io::Result<Option<(usize, SocketAddr)>> {
    let deadline = Instant::now() + within;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv_from(datagram) {
            Err(error)
                if [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::Interrupted].contains(&error.kind()) => {}
            received => return received.map(Some),
        }
    }
}
