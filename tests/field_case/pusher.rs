//! Pushes: packets to where each device was last heard of, from the server's own address and port, at moments that have
//! nothing to do with its heartbeats.
//!
//! Nothing of Flyball is asked for it. A raw socket in the server's namespace hears what every device sends, another one
//! sends as the server would, and one in each household hears what the NAT let through.
//!
//! A push that arrives refreshes the binding that it measures, so that there is at most one between two beats. With the
//! beat a moment is drawn, uniform over the longest time to the next one; where the next beat is first, there is none.
//! So no moment of a binding's life is looked at more often than another, whatever became of earlier pushes. (Pushes at
//! an interval of their own, counted over some time, would not be that: those that came early in their binding's life,
//! and arrived, leave room for one more.)

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::{ErrorKind, Read as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use flyball::lab::{Namespace, SERVER};
use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::wire::{Arrived, Request, kind, sent};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::pushes::Pushes;

/// Heard at once from one socket; the rest waits in it.
const BATCH: usize = 256;
/// How often it is looked what reached the households; it waits in their sockets.
const LISTEN_EVERY: Duration = Duration::from_millis(20);

/// Sends pushes until dropped.
pub(crate) struct Pusher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    is_open: AtomicBool,
    waiting: AtomicUsize,
    is_over: AtomicBool,
}

/// Where a household is heard, and whose its ports are.
pub(crate) struct Household<F> {
    pub(crate) namespace: Namespace,
    pub(crate) owner: F,
}

impl Pusher {
    /// `longest` is the longest time between two beats of a device.
    pub(crate) fn start<F: Fn(u16) -> Option<DeviceId> + Send + 'static>(
        server: &Namespace,
        port: u16,
        households: Vec<Household<F>>,
        pushes: &Arc<Pushes>,
        longest: impl Fn(DeviceId) -> Duration + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let (beats, mouth) = server.enter(|| (ear(), mouth())).expect("entered");
        beats.set_read_timeout(Some(Duration::from_millis(2))).expect("set");
        let ears = households.into_iter().map(|household| {
            let ear = household.namespace.enter(ear).expect("entered");
            ear.set_nonblocking(true).expect("set");
            (ear, household.owner)
        });
        let (ears, ledger): (Vec<_>, _) = (ears.collect(), Arc::clone(pushes));
        let random = StdRng::seed_from_u64(rand::random());
        let (last_heard, due) = Default::default();
        let mut round = Round {
            ear: beats,
            mouth,
            port,
            shared: Arc::clone(&shared),
            pushes: ledger,
            last_heard,
            due,
            longest,
            random,
        };
        let thread = std::thread::spawn(move || {
            let mut listened_at = Instant::now();
            while !round.shared.is_over.load(Ordering::Relaxed) {
                round.hear();
                round.push();
                if listened_at.elapsed() > LISTEN_EVERY {
                    listened_at = Instant::now();
                    ears.iter().for_each(|(ear, owner)| listen(ear, owner, &round.pushes));
                }
            }
        });
        Self { shared, thread: Some(thread) }
    }

    /// From now on, or no longer, a beat is followed by a push.
    pub(crate) fn open(&self, is_open: bool) {
        self.shared.is_open.store(is_open, Ordering::Relaxed);
    }

    /// Pushes whose moment has not come.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
    }
}

impl Drop for Pusher {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Hears every UDP datagram to this namespace.
fn ear() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP)).expect("a raw socket");
    socket.set_recv_buffer_size(8 << 20).expect("set");
    socket
}

/// Sends datagrams whose IP header is ours.
fn mouth() -> Socket {
    Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).expect("a raw socket")
}

/// Takes what there is, for one household.
fn listen(ear: &Socket, owner: &impl Fn(u16) -> Option<DeviceId>, pushes: &Pushes) {
    each(ear, |packet| {
        let datagram = Datagram::read(packet)?;
        pushes.arrived(owner(datagram.to)?, datagram.payload);
        Some(())
    });
}

/// Calls `take` with what waits in a raw socket, up to a batch. What is not ours is heard too, and nothing comes of it.
fn each(mut ear: &Socket, mut take: impl FnMut(&[u8]) -> Option<()>) {
    let mut buffer = [0; 2_048];
    for _ in 0..BATCH {
        match ear.read(&mut buffer) {
            Ok(length) => {
                take(&buffer[..length]);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return,
            Err(error) => panic!("the ear: {error}"),
        }
    }
}

/// A UDP datagram in an IPv4 packet.
struct Datagram<'a> {
    from: SocketAddrV4,
    to: u16,
    payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    fn read(packet: &'a [u8]) -> Option<Self> {
        let (head, udp) = packet.split_at_checked(usize::from(packet.first()? & 0xf) * 4)?;
        let ip = Ipv4Addr::from(*head.get(12..16)?.first_chunk::<4>()?);
        let (ports, payload) = udp.split_at_checked(8)?;
        let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
        Some(Self { from: SocketAddrV4::new(ip, port(0)), to: port(2), payload })
    }
}

/// A device's main flow.
struct LastHeard {
    from: SocketAddrV4,
    at: Instant,
    boot_and_sequence: (u32, u32),
    /// Of the beat that the push that waits belongs to.
    beat: u32,
}

struct Round<L> {
    ear: Socket,
    mouth: Socket,
    port: u16,
    shared: Arc<Shared>,
    pushes: Arc<Pushes>,
    last_heard: HashMap<DeviceId, LastHeard>,
    due: BinaryHeap<Reverse<(Instant, DeviceId, u32)>>,
    longest: L,
    random: StdRng,
}

impl<L: Fn(DeviceId) -> Duration> Round<L> {
    fn hear(&mut self) {
        let ear = self.ear.try_clone().expect("a descriptor");
        each(&ear, |packet| {
            let datagram = Datagram::read(packet).filter(|datagram| datagram.to == self.port)?;
            let Ok(Arrived::Request(request)) = Arrived::read(datagram.payload) else { return None };
            self.heard(datagram.from, &request);
            Some(())
        });
        self.shared.waiting.store(self.due.len(), Ordering::Relaxed);
    }

    fn heard(&mut self, from: SocketAddrV4, request: &Request) {
        let boot_and_sequence = (request.boot, request.sequence);
        let known = self.last_heard.get(&request.device);
        if request.kind == kind::PROBE || known.is_some_and(|known| known.boot_and_sequence >= boot_and_sequence) {
            return;
        }
        let is_beat = request.kind == kind::HEARTBEAT && request.flags & sent::RETRY == 0;
        let beat = if is_beat { request.sequence } else { known.map_or(0, |known| known.beat) };
        let at = Instant::now();
        self.last_heard.insert(request.device, LastHeard { from, at, boot_and_sequence, beat });
        if is_beat && self.shared.is_open.load(Ordering::Relaxed) {
            let wait = (self.longest)(request.device).mul_f64(self.random.random());
            self.due.push(Reverse((at + wait, request.device, beat)));
        }
    }

    fn push(&mut self) {
        let now = Instant::now();
        while self.due.peek().is_some_and(|Reverse((due, ..))| *due <= now) {
            let Some(Reverse((_, device, beat))) = self.due.pop() else { return };
            let heard = &self.last_heard[&device];
            if heard.beat == beat {
                let bytes = self.pushes.add(device, now - heard.at);
                self.send(heard.from, &bytes);
            }
        }
        self.shared.waiting.store(self.due.len(), Ordering::Relaxed);
    }

    fn send(&self, to: SocketAddrV4, payload: &[u8; 12]) {
        let mut packet = Vec::with_capacity(40);
        // RFC 791: version 4, 5 words, no fragments, 64 hops, UDP. Length and checksum are the kernel's to fill in.
        packet.extend([0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0]);
        packet.extend(SERVER.octets());
        packet.extend(to.ip().octets());
        // RFC 768: a checksum of zero is none.
        for field in [self.port, to.port(), 8 + payload.len() as u16, 0] {
            packet.extend(field.to_be_bytes());
        }
        packet.extend(payload);
        self.mouth.send_to(&packet, &SockAddr::from(SocketAddrV4::new(*to.ip(), 0))).expect("pushed");
    }
}
