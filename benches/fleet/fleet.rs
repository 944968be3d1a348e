//! Devices in their thousands: their keys, their numbers, and what they send, prepared.

use std::net::{SocketAddr, UdpSocket};

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::key::{MacKey, derive};
use flyball_sdk::device::wire::{Answer, REQUEST_BYTES, Request, kind, sent};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;

pub(crate) const MASTER: [u8; 32] = [0x5a; 32];
/// Heartbeats of each device that are prepared for a round.
const BEATS: usize = 4;
/// Registrations under way.
const WINDOW: usize = 64;

pub(crate) type Datagram = [u8; REQUEST_BYTES];

pub(crate) struct Fleet {
    keys: Vec<MacKey>,
    sequence: u32,
    random: SmallRng,
}

fn id(n: usize) -> DeviceId {
    let mixed = (n as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    DeviceId(mixed.to_be_bytes())
}

fn key(n: usize) -> MacKey {
    MacKey::new(&derive(&MASTER, 1, id(n)))
}

/// Registers so many devices, as they do it themselves; keeps nothing of them.
pub(crate) fn register(devices: usize, server: SocketAddr, socket: &UdpSocket) {
    for first in (0..devices).step_by(WINDOW) {
        let window: Vec<(DeviceId, MacKey)> = (first..devices.min(first + WINDOW)).map(|n| (id(n), key(n))).collect();
        for (id, key) in &window {
            socket.send_to(&Request::heartbeat(1, *id, 1, 1).sealed(key), server).expect("sent");
        }
        // One worker: they are answered in turn.
        for (id, key) in &window {
            let cookie = mac(socket, key, *id);
            let echo =
                Request { kind: kind::ANSWER, flags: sent::NEW_ADDRESS, cookie, ..Request::heartbeat(1, *id, 1, 2) };
            socket.send_to(&echo.sealed(key), server).expect("sent");
        }
        for (id, key) in &window {
            let _ = mac(socket, key, *id);
        }
    }
}

fn mac(socket: &UdpSocket, key: &MacKey, id: DeviceId) -> [u8; 16] {
    let mut bytes = [0; 100];
    let length = socket.recv(&mut bytes).expect("an answer");
    Answer::read(&bytes[..length], key, id, 1).expect("authentic").1
}

impl Fleet {
    /// Devices that the server knows, where the flood comes from.
    pub(crate) fn registered(devices: usize, server: SocketAddr, flood: &UdpSocket) -> Self {
        register(devices, server, flood);
        Self { keys: (0..devices).map(key).collect(), sequence: 2, random: SmallRng::seed_from_u64(7) }
    }

    /// Heartbeats of all devices, in an order drawn anew for each of their beats.
    pub(crate) fn beats(&mut self) -> Vec<Datagram> {
        let mut beats = Vec::with_capacity(BEATS * self.keys.len());
        let mut order: Vec<usize> = (0..self.keys.len()).collect();
        for _ in 0..BEATS {
            self.sequence += 1;
            order.shuffle(&mut self.random);
            let beat = |n: &usize| Request::heartbeat(1, id(*n), 1, self.sequence).sealed(&self.keys[*n]);
            beats.extend(order.iter().map(beat));
        }
        beats
    }

    /// What a server gets, by kind: heartbeats, and what is none.
    pub(crate) fn kinds(&mut self) -> Vec<(&'static str, Vec<Datagram>)> {
        let accepted = self.beats();
        let changed = |change: fn(&mut Datagram)| {
            let mut datagrams = accepted.clone();
            datagrams.iter_mut().for_each(change);
            datagrams
        };
        let malformed = changed(|bytes| bytes[0] = 0);
        let unknown_key = changed(|bytes| bytes[7] = 9);
        let forged = changed(|bytes| bytes[79] ^= 1);
        let stranger = changed(|bytes| bytes[8] ^= 0x55);
        // Sent before them all, they are new; sent again, they were.
        let replayed = accepted.clone();
        vec![
            ("malformed", malformed),
            ("unknown key", unknown_key),
            ("forged, of a known device", forged),
            ("forged, of an unknown device", stranger),
            ("accepted, and acked", accepted),
            ("replayed", replayed),
        ]
    }
}
