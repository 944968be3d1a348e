//! A device that does what it is told to, right or wrong.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::key::{Mac, MacKey, derive};
use flyball_sdk::device::probe::{ProbeOrder, ProbeOutcome, ProbePhase, ProbeReport};
use flyball_sdk::device::wire::{Ack, Answer, Hello, Request, kind, sent, told};

use crate::bed::{Bed, PATIENCE};

pub(crate) const MASTER: [u8; 32] = {
    let mut key = [0x5a; 32];
    key[31] = 0x5b;
    key
};

pub(crate) struct Device {
    pub(crate) id: DeviceId,
    pub(crate) key_id: u16,
    pub(crate) key: MacKey,
    pub(crate) boot: u32,
    pub(crate) sequence: u32,
    pub(crate) socket: UdpSocket,
    pub(crate) server: SocketAddr,
}

/// A socket to the server, on a port of its own.
pub(crate) fn socket(server: SocketAddr) -> UdpSocket {
    socket_at(if server.is_ipv6() { "[::1]:0" } else { "127.0.0.1:0" })
}

/// A socket there.
pub(crate) fn socket_at(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).expect("a free port");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

impl Device {
    pub(crate) fn new(bed: &Bed, name: &str) -> Self {
        Self::at(bed.address, name)
    }

    pub(crate) fn at(server: SocketAddr, name: &str) -> Self {
        let id: DeviceId = name.parse().expect("a name");
        let key = MacKey::new(&derive(&MASTER, 1, id));
        Self { id, key_id: 1, key, boot: 7, sequence: 0, socket: socket(server), server }
    }

    /// As one that registered.
    pub(crate) fn registered(bed: &Bed, name: &str) -> Self {
        let mut device = Self::new(bed, name);
        device.register();
        device
    }

    /// The next datagram's head.
    pub(crate) fn next(&mut self) -> Request {
        self.sequence += 1;
        Request::heartbeat(self.key_id, self.id, self.boot, self.sequence)
    }

    pub(crate) fn seal(&self, request: &Request) -> Vec<u8> {
        request.sealed(&self.key).to_vec()
    }

    pub(crate) fn send(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.server).expect("sent");
    }

    /// Sends a heartbeat; its bytes.
    pub(crate) fn beat(&mut self) -> Vec<u8> {
        let next = self.next();
        let bytes = self.seal(&next);
        self.send(&bytes);
        bytes
    }

    /// Sends a heartbeat, and takes its ack, which is the next thing that comes.
    pub(crate) fn acked(&mut self) -> Ack {
        self.beat();
        let (ack, _) = self.ack();
        assert_eq!(ack.sequence, self.sequence, "the ack of this heartbeat");
        ack
    }

    /// The next ack, and its MAC.
    pub(crate) fn ack(&self) -> (Ack, Mac) {
        match self.answer() {
            (Answer::Ack(ack), mac) => (ack, mac),
            (other, _) => panic!("{other:?}"),
        }
    }

    pub(crate) fn answer(&self) -> (Answer, Mac) {
        self.answer_at(&self.socket)
    }

    pub(crate) fn answer_at(&self, socket: &UdpSocket) -> (Answer, Mac) {
        let mut bytes = [0; 100];
        let (length, _) = socket.recv_from(&mut bytes).expect("an answer");
        Answer::read(&bytes[..length], &self.key, self.id, self.boot).expect("authentic")
    }

    /// Nothing waits here. Whatever was caused before is here: the server has answered something later.
    pub(crate) fn has_nothing(socket: &UdpSocket) -> bool {
        socket.set_nonblocking(true).expect("set");
        let is_empty = socket.recv_from(&mut [0; 100]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        socket.set_nonblocking(false).expect("set");
        is_empty
    }

    /// Answers an ack to a new address; the bytes.
    pub(crate) fn echo(&mut self, cookie: Mac) -> Vec<u8> {
        let echo = Request { kind: kind::ANSWER, flags: sent::NEW_ADDRESS, cookie, ..self.next() };
        let bytes = self.seal(&echo);
        self.send(&bytes);
        bytes
    }

    /// First heartbeat, ack, answer, ack. Returns what was sent.
    pub(crate) fn register(&mut self) -> [Vec<u8>; 2] {
        let first = self.beat();
        let (ack, mac) = self.ack();
        assert_eq!(ack.flags & told::NEW_ADDRESS, told::NEW_ADDRESS);
        let echo = self.echo(mac);
        let (ack, _) = self.ack();
        assert_eq!((ack.flags & told::NEW_ADDRESS, ack.sequence), (0, self.sequence));
        [first, echo]
    }

    /// Goes on from another port.
    pub(crate) fn rebind(&mut self) -> UdpSocket {
        std::mem::replace(&mut self.socket, socket(self.server))
    }

    pub(crate) fn hello(&mut self, labels: &str) {
        let head = Request { kind: kind::HELLO, ..self.next() };
        let bytes = Hello { head, labels }.sealed(&self.key);
        self.send(&bytes);
    }

    /// Something of a side flow.
    pub(crate) fn side(
        &mut self,
        socket: &UdpSocket,
        order: ProbeOrder,
        phase: ProbePhase,
        flags: u16,
        end: (ProbeOutcome, u8),
    ) {
        let report = ProbeReport { order, flow: 0, phase, outcome: end.0, controls: end.1, passed: 0 };
        let request = Request { kind: kind::PROBE, flags, report: report.to_bytes(), ..self.next() };
        socket.send_to(&self.seal(&request), self.server).expect("sent");
    }
}
