//! A device over UDP: sockets of the standard library around an [`Endpoint`], and [`UdpFleet`], which drives one device
//! or some hundreds of them in one thread.
//!
//! Sockets are connected, so that nobody but the server is heard, and an ICMP error is told. No such error ends anything:
//! a datagram that was not sent is one that was lost. A connected socket keeps the local address that it had at first, so
//! where nothing answers it is looked up whether the way to the server still begins there, and whether the server's name
//! still means the same address; the socket is opened anew only where it does not, since a new local port looks to the
//! server as if the NAT had forgotten the old one.
//!
//! Looking a name up blocks. A fleet should be given addresses.

mod fleet;

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::Duration;

pub use fleet::{FleetHandle, UdpFleet};

use super::endpoint::Endpoint;
use super::machine::{Event, Flow, Memory, Output};
use super::wire::ANSWER_BYTES;

/// After this many unanswered sendings, and as many more, the way to the server is looked up anew.
const LOOK_UP_TRIES: u32 = 5;
/// After this many, another of the server's addresses is tried.
const NEXT_ADDRESS_TRIES: u32 = 20;
/// Datagrams that are read from one socket before others have their turn.
const READ_MAX: usize = 32;

const MAIN: usize = Flow::MAIN.number();

/// Opens a socket that is connected to this address.
type Opener = Box<dyn FnMut(SocketAddr) -> io::Result<UdpSocket> + Send>;

/// Something to know, or to keep.
#[derive(Debug)]
pub enum UdpEvent {
    /// Of the machine.
    Machine(Event),
    /// Keep this over restarts, such as in a [`StateFile`](super::state_file::StateFile).
    Remember(Memory),
    /// The main socket is open.
    Connected {
        /// Its own address.
        local: SocketAddr,
        /// The server's.
        server: SocketAddr,
    },
    /// Something fails, from now on. It is tried again with the next sending; told once until it works.
    Trouble(Trouble),
}

/// What fails.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The server's name has no address.
    #[error("{server}: the name cannot be resolved")]
    Resolve {
        /// As it was given.
        server: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No socket, or no way there.
    #[error("no socket to {server}")]
    Open {
        /// The server.
        server: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Whoever has the address said that nobody listens there.
    #[error("nobody listens at {server}")]
    Refused {
        /// The server.
        server: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A datagram was not taken.
    #[error("a datagram to {server} was not sent")]
    Send {
        /// The server.
        server: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A device and its sockets.
pub struct UdpDevice {
    endpoint: Endpoint,
    server: String,
    address: Option<SocketAddr>,
    sockets: [Option<UdpSocket>; Flow::COUNT],
    opener: Opener,
    is_troubled: bool,
    /// It was said that nobody listens, and nothing authentic was heard since.
    is_refused: bool,
    out: Vec<Output>,
    bytes: Vec<u8>,
}

impl fmt::Debug for UdpDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpDevice")
            .field("server", &self.server)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl UdpDevice {
    /// A device of the server at `host:port`. Nothing is opened yet.
    pub fn new(endpoint: Endpoint, server: impl Into<String>) -> Self {
        let (address, sockets, is_troubled, is_refused, out, bytes) = Default::default();
        let opener = Box::new(connected);
        Self { endpoint, server: server.into(), address, sockets, opener, is_troubled, is_refused, out, bytes }
    }

    /// With sockets that this opens: in another network namespace, or over a certain interface.
    #[must_use]
    pub fn opened_by(self, open: impl FnMut(SocketAddr) -> io::Result<UdpSocket> + Send + 'static) -> Self {
        Self { opener: Box::new(open), ..self }
    }

    /// What decides.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Resolves the server's name and opens the main socket, which otherwise happens with the first beat. What is to be
    /// told of it is returned.
    ///
    /// # Errors
    /// It cannot be resolved, or there is no way there.
    pub fn connect(&mut self) -> Result<UdpEvent, Trouble> {
        let server = self.address.map_or_else(|| self.resolved().map(|addresses| addresses[0]), Ok)?;
        let open = |source| Trouble::Open { server, source };
        let socket = (self.opener)(server).map_err(open)?;
        let local = socket.local_addr().map_err(open)?;
        (self.address, self.sockets[MAIN]) = (Some(server), Some(socket));
        Ok(UdpEvent::Connected { local, server })
    }

    /// When [`Self::timeout`] is to be called next.
    pub fn deadline(&self) -> Duration {
        self.endpoint.machine.deadline()
    }

    /// The sockets that are open.
    pub fn sockets(&self) -> impl Iterator<Item = (Flow, &UdpSocket)> {
        let numbered = self.sockets.iter().enumerate();
        numbered.filter_map(|(number, socket)| Some((Flow::numbered(number)?, socket.as_ref()?)))
    }

    /// Does what is due.
    pub fn timeout(&mut self, now: Duration, tell: &mut dyn FnMut(UdpEvent)) {
        self.endpoint.machine.timeout(now, &mut self.out);
        self.act(now, tell);
    }

    /// The link has come up, or the device woke.
    pub fn link_up(&mut self, now: Duration, tell: &mut dyn FnMut(UdpEvent)) {
        self.look_up(false);
        self.endpoint.machine.link_up(now, &mut self.out);
        self.act(now, tell);
    }

    /// Reads what arrived on a flow.
    pub fn receive(&mut self, now: Duration, flow: Flow, tell: &mut dyn FnMut(UdpEvent)) {
        let mut bytes = [0; ANSWER_BYTES + 1];
        for _ in 0..READ_MAX {
            let Some(socket) = &self.sockets[flow.number()] else { return };
            match socket.recv(&mut bytes) {
                // What is not authentic changes nothing.
                Ok(length) => {
                    let taken = self.endpoint.receive(now, flow, &bytes[..length], &mut self.out);
                    self.is_refused &= taken.is_err();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => self.refused(error, tell),
                // An ICMP error that an earlier datagram met: the retry is the answer to it.
                Err(_) => {}
            }
            self.act(now, tell);
        }
    }

    fn act(&mut self, now: Duration, tell: &mut dyn FnMut(UdpEvent)) {
        while !self.out.is_empty() {
            let mut outputs = std::mem::take(&mut self.out);
            let mut look_up = None;
            for output in outputs.drain(..) {
                let is_next = self.do_one(output, tell);
                look_up = look_up.max(is_next);
            }
            self.out = outputs;
            // After all was sent: what begins anew says so, and begins on the new way.
            if look_up.is_some_and(|is_next| self.look_up(is_next)) {
                self.endpoint.machine.link_up(now, &mut self.out);
            }
        }
    }

    /// Whether the way is to be looked up after that, and whether the server's next address is to be tried.
    fn do_one(&mut self, output: Output, tell: &mut dyn FnMut(UdpEvent)) -> Option<bool> {
        match output {
            Output::Open(flow) => self.open_side(flow, tell),
            Output::Close(flow) => self.sockets[flow.number()] = None,
            Output::Remember(memory) => tell(UdpEvent::Remember(memory)),
            Output::Event(event) => {
                tell(UdpEvent::Machine(event));
                let Event::Unanswered { tries } = event else { return None };
                return tries.is_multiple_of(LOOK_UP_TRIES).then_some(tries.is_multiple_of(NEXT_ADDRESS_TRIES));
            }
            Output::Send { flow, message } => {
                let mut bytes = std::mem::take(&mut self.bytes);
                self.endpoint.seal(&message, &mut bytes);
                let sent = self.send(flow, &bytes, tell);
                self.bytes = bytes;
                match sent {
                    Ok(()) => self.is_troubled = false,
                    Err(trouble) => {
                        self.troubled(trouble, tell);
                        return Some(false);
                    }
                }
            }
        }
        None
    }

    fn troubled(&mut self, trouble: Trouble, tell: &mut dyn FnMut(UdpEvent)) {
        if !std::mem::replace(&mut self.is_troubled, true) {
            tell(UdpEvent::Trouble(trouble));
        }
    }

    /// Told, and no more: anybody can say so, and the retry is the answer to it.
    fn refused(&mut self, source: io::Error, tell: &mut dyn FnMut(UdpEvent)) {
        if let (Some(server), false) = (self.address, std::mem::replace(&mut self.is_refused, true)) {
            tell(UdpEvent::Trouble(Trouble::Refused { server, source }));
        }
    }

    fn send(&mut self, flow: Flow, bytes: &[u8], tell: &mut dyn FnMut(UdpEvent)) -> Result<(), Trouble> {
        if flow == Flow::MAIN && self.sockets[MAIN].is_none() {
            tell(self.connect()?);
        }
        let (Some(socket), Some(server)) = (&self.sockets[flow.number()], self.address) else { return Ok(()) };
        // The first error may be that of the datagram before; it is told instead of sending this one.
        let sent = socket.send(bytes).or_else(|_| socket.send(bytes));
        sent.map(|_| ()).map_err(|source| Trouble::Send { server, source })
    }

    fn open_side(&mut self, flow: Flow, tell: &mut dyn FnMut(UdpEvent)) {
        let Some(server) = self.address else { return };
        match (self.opener)(server) {
            Ok(socket) => self.sockets[flow.number()] = Some(socket),
            Err(source) => self.troubled(Trouble::Open { server, source }, tell),
        }
    }

    /// The server's addresses; at least one.
    fn resolved(&self) -> Result<Vec<SocketAddr>, Trouble> {
        let unresolved = |source| Trouble::Resolve { server: self.server.clone(), source };
        let addresses: Vec<SocketAddr> = self.server.to_socket_addrs().map_err(unresolved)?.collect();
        let none = || unresolved(io::Error::new(ErrorKind::NotFound, "it has no address"));
        if addresses.is_empty() { Err(none()) } else { Ok(addresses) }
    }

    /// Opens the main socket anew, with the next sending, where the way to the server is another now, or the server's
    /// next address is to be tried. True where the device itself has moved, or the server's name has.
    fn look_up(&mut self, is_next: bool) -> bool {
        let (Ok(addresses), Some(current)) = (self.resolved(), self.address) else { return false };
        let known = addresses.iter().position(|address| *address == current);
        let wanted = known.map_or(addresses[0], |i| addresses[(i + usize::from(is_next)) % addresses.len()]);
        let local_ip = |socket: &UdpSocket| socket.local_addr().map(|local| local.ip()).ok();
        let before = self.sockets[MAIN].as_ref().and_then(local_ip);
        let Some(today) = (self.opener)(wanted).ok().as_ref().and_then(local_ip) else { return false };
        let has_moved = known.is_none() || before != Some(today);
        if has_moved || wanted != current {
            (self.address, self.sockets[MAIN]) = (Some(wanted), None);
        }
        has_moved
    }
}

/// A socket of the standard library.
fn connected(server: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr =
        if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
