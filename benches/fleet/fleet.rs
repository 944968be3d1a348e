//! Devices in their thousands: their keys, their numbers, and what they send, prepared.

use std::net::{SocketAddr, UdpSocket};

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::key::{MacKey, derive};
use flyball_sdk::device::wire::{Answer, REQUEST_BYTES, Request, kind, sent, told};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;

pub(crate) const MASTER: [u8; 32] = [0x5a; 32];
/// Heartbeats of each device that are prepared for a round.
pub(crate) const BEATS: usize = 4;
/// Datagrams that are sent before their answers are read, where each counts.
const WINDOW: usize = 64;

pub(crate) type Datagram = [u8; REQUEST_BYTES];

pub(crate) struct Fleet {
    keys: Vec<MacKey>,
    sequence: u32,
    random: SmallRng,
}

pub(crate) fn id(n: usize) -> DeviceId {
    let mixed = (n as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    DeviceId(mixed.to_be_bytes())
}

pub(crate) fn key(n: usize) -> MacKey {
    MacKey::new(&derive(&MASTER, 1, id(n)))
}

/// Registers so many devices, as they do it themselves; keeps nothing of them.
pub(crate) fn register(devices: usize, server: SocketAddr, socket: &UdpSocket) {
    for first in (0..devices).step_by(WINDOW) {
        let mut asking: Vec<Asking> = (first..devices.min(first + WINDOW)).map(Asking::new).collect();
        // One worker: they are answered in turn. First they are asked whether they are there, and answer.
        for _ in 0..2 {
            asking.iter_mut().for_each(|device| device.say(server, socket));
            asking.retain_mut(|device| device.is_asked_again(socket));
        }
        // Questions that lost their place to each other would do so for ever: the rest one by one.
        for mut device in asking {
            device.say(server, socket);
            while device.is_asked_again(socket) {
                device.say(server, socket);
            }
        }
    }
}

/// A device that registers. It answers as often as it is asked: the question may have lost its place to another's.
struct Asking {
    id: DeviceId,
    key: MacKey,
    sequence: u32,
    cookie: Option<[u8; 16]>,
}

impl Asking {
    fn new(n: usize) -> Self {
        Self { id: id(n), key: key(n), sequence: 0, cookie: None }
    }

    fn say(&mut self, server: SocketAddr, socket: &UdpSocket) {
        self.sequence += 1;
        let heartbeat = Request::heartbeat(1, self.id, 1, self.sequence);
        let request = self.cookie.map_or(heartbeat, |cookie| Request {
            kind: kind::ANSWER,
            flags: sent::NEW_ADDRESS,
            cookie,
            ..heartbeat
        });
        socket.send_to(&request.sealed(&self.key), server).expect("sent");
    }

    fn is_asked_again(&mut self, socket: &UdpSocket) -> bool {
        let mut bytes = [0; 100];
        let length = socket.recv(&mut bytes).expect("an answer");
        let (answer, mac) = Answer::read(&bytes[..length], &self.key, self.id, 1).expect("authentic");
        self.cookie = Some(mac);
        matches!(answer, Answer::Ack(ack) if ack.flags & told::NEW_ADDRESS != 0)
    }
}

impl Fleet {
    /// Devices that the server knows, where the flood comes from.
    pub(crate) fn registered(devices: usize, server: SocketAddr, flood: &UdpSocket) -> Self {
        register(devices, server, flood);
        // Above what any of them took to register.
        Self { keys: (0..devices).map(key).collect(), sequence: 100, random: SmallRng::seed_from_u64(7) }
    }

    /// Heartbeats of all devices, in an order drawn anew for each of their beats.
    pub(crate) fn beats(&mut self) -> Vec<Datagram> {
        self.requests(|heartbeat| heartbeat)
    }

    /// The same, changed before they are sealed.
    pub(crate) fn requests(&mut self, change: impl Fn(Request) -> Request) -> Vec<Datagram> {
        (0..BEATS).flat_map(|_| self.round(&change)).collect()
    }

    fn round(&mut self, change: impl Fn(Request) -> Request) -> Vec<Datagram> {
        self.sequence += 1;
        let mut order: Vec<usize> = (0..self.keys.len()).collect();
        order.shuffle(&mut self.random);
        let beat = |n: usize| change(Request::heartbeat(1, id(n), 1, self.sequence)).sealed(&self.keys[n]);
        order.into_iter().map(beat).collect()
    }

    /// One heartbeat of each device, of which none is lost on the way: each was acked.
    pub(crate) fn taken(&mut self, server: SocketAddr, socket: &UdpSocket) -> Vec<Datagram> {
        let beats = self.round(|heartbeat| heartbeat);
        for window in beats.chunks(WINDOW) {
            window.iter().for_each(|beat| _ = socket.send_to(beat, server).expect("sent"));
            window.iter().for_each(|_| _ = socket.recv(&mut [0; 100]).expect("an ack"));
        }
        beats
    }
}
