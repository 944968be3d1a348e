//! Pushes: packets to where each device was last heard of, from the server's own address and port, at moments that have
//! nothing to do with its heartbeats.
//!
//! Nothing of Flyball is asked for it. A raw socket in the server's namespace hears what every device sends, and another
//! one sends as the server would; what the NAT lets through, the device's own socket gets.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::{ErrorKind, Read as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use flyball::lab::{Namespace, SERVER};
use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::wire::{Arrived, kind};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// First bytes of a push; its number follows.
const MARK: &[u8; 8] = b"a push: ";
/// Most pushes of one run.
const PUSHES_MAX: usize = 200_000;
/// Heard at once; the rest waits in the socket.
const BATCH: usize = 256;

/// What was pushed and what arrived, by the push's number.
#[derive(Debug)]
pub(crate) struct Pushes {
    sent: AtomicU32,
    arrived: Vec<AtomicBool>,
    to: Mutex<Vec<DeviceId>>,
}

impl Pushes {
    pub(crate) fn new() -> Arc<Self> {
        let arrived = (0..PUSHES_MAX).map(|_| AtomicBool::new(false)).collect();
        Arc::new(Self { sent: AtomicU32::new(0), arrived, to: Mutex::new(Vec::new()) })
    }

    /// A device got this; whether it was a push.
    pub(crate) fn arrived(&self, datagram: &[u8]) -> bool {
        let number = datagram.strip_prefix(MARK).and_then(|rest| rest.first_chunk::<4>());
        let Some(number) = number.map(|bytes| u32::from_be_bytes(*bytes)) else { return false };
        self.arrived[number as usize].store(true, Ordering::Relaxed);
        true
    }

    /// Sent and lost since the push of number `since`, of the devices that `whose` names.
    pub(crate) fn since(&self, since: u32, whose: impl Fn(DeviceId) -> bool) -> (u32, u32) {
        let to = self.to.lock().expect("not poisoned");
        let of = to.iter().enumerate().skip(since as usize).filter(|(_, device)| whose(**device));
        of.fold((0, 0), |(sent, lost), (number, _)| {
            (sent + 1, lost + u32::from(!self.arrived[number].load(Ordering::Relaxed)))
        })
    }

    /// The number of the next push.
    pub(crate) fn next(&self) -> u32 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// Sends pushes until told to end.
pub(crate) struct Pusher {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Pusher {
    /// Each device gets a push each `every(device)` to 1.2 times that, beginning at any moment of it. With an `every`
    /// that is the longest wait between two heartbeats, at most one falls between two of them but by rare chance.
    pub(crate) fn start(
        server: &Namespace,
        port: u16,
        pushes: &Arc<Pushes>,
        every: impl Fn(DeviceId) -> Duration + Send + 'static,
    ) -> Self {
        let (ear, mouth) = server.enter(|| (ear(), mouth())).expect("raw sockets");
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, pushes) = (Arc::clone(&stop), Arc::clone(pushes));
        let mut round = Round {
            ear,
            mouth,
            port,
            pushes,
            last_seen: HashMap::new(),
            due: BinaryHeap::new(),
            every: Box::new(every),
            random: StdRng::seed_from_u64(1),
        };
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                round.hear();
                round.push();
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Pusher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Hears every UDP datagram to this namespace.
fn ear() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP)).expect("a raw socket");
    socket.set_read_timeout(Some(Duration::from_millis(2))).expect("set");
    socket.set_recv_buffer_size(8 << 20).expect("set");
    socket
}

/// Sends datagrams whose IP header is ours.
fn mouth() -> Socket {
    Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).expect("a raw socket")
}

struct LastSeen {
    at: SocketAddrV4,
    boot_and_sequence: (u32, u32),
}

struct Round {
    ear: Socket,
    mouth: Socket,
    port: u16,
    pushes: Arc<Pushes>,
    last_seen: HashMap<DeviceId, LastSeen>,
    due: BinaryHeap<Reverse<(Instant, DeviceId)>>,
    every: Box<dyn Fn(DeviceId) -> Duration + Send>,
    random: StdRng,
}

impl Round {
    fn hear(&mut self) {
        let mut buffer = [0; 2_048];
        for _ in 0..BATCH {
            match (&self.ear).read(&mut buffer) {
                // What is not ours is heard too, and nothing comes of it.
                Ok(length) => {
                    self.take(&buffer[..length]);
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return,
                Err(error) => panic!("the ear: {error}"),
            }
        }
    }

    fn take(&mut self, packet: &[u8]) -> Option<()> {
        let ip = usize::from(packet.first()? & 0xf) * 4;
        let (head, udp) = packet.split_at_checked(ip)?;
        let from = Ipv4Addr::from(*head.get(12..16)?.first_chunk::<4>()?);
        let (ports, payload) = udp.split_at_checked(8)?;
        if u16::from_be_bytes([ports[2], ports[3]]) != self.port {
            return None;
        }
        let Ok(Arrived::Request(request)) = Arrived::read(payload) else { return None };
        if request.kind == kind::PROBE {
            return None;
        }
        let at = SocketAddrV4::new(from, u16::from_be_bytes([ports[0], ports[1]]));
        let boot_and_sequence = (request.boot, request.sequence);
        let known = self.last_seen.get(&request.device);
        if known.is_none() {
            let first = (self.every)(request.device).mul_f64(self.random.random());
            self.due.push(Reverse((Instant::now() + first, request.device)));
        }
        if known.is_none_or(|known| known.boot_and_sequence < boot_and_sequence) {
            self.last_seen.insert(request.device, LastSeen { at, boot_and_sequence });
        }
        Some(())
    }

    fn push(&mut self) {
        let now = Instant::now();
        while self.due.peek().is_some_and(|Reverse((due, _))| *due <= now) {
            let Some(Reverse((due, device))) = self.due.pop() else { return };
            let number = self.pushes.sent.load(Ordering::Relaxed);
            if number as usize >= PUSHES_MAX {
                return;
            }
            self.send(self.last_seen[&device].at, number);
            self.pushes.to.lock().expect("not poisoned").push(device);
            self.pushes.sent.store(number + 1, Ordering::Relaxed);
            let wait = (self.every)(device).mul_f64(self.random.random_range(1.0..1.2));
            self.due.push(Reverse((due + wait, device)));
        }
    }

    fn send(&self, to: SocketAddrV4, number: u32) {
        let mut packet = Vec::with_capacity(40);
        // RFC 791: version 4, 5 words, no fragments, 64 hops, UDP. Length and checksum are the kernel's to fill in.
        packet.extend([0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0]);
        packet.extend(SERVER.octets());
        packet.extend(to.ip().octets());
        let length = 8 + MARK.len() as u16 + 4;
        // RFC 768: a checksum of zero is none.
        for field in [self.port, to.port(), length, 0] {
            packet.extend(field.to_be_bytes());
        }
        packet.extend(MARK);
        packet.extend(number.to_be_bytes());
        self.mouth.send_to(&packet, &SockAddr::from(SocketAddrV4::new(*to.ip(), 0))).expect("pushed");
    }
}
