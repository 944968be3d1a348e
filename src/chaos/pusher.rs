//! Reach, measured by nobody's word. Pushes: packets to where each device was last heard of, from the server's own address and port, at moments that have
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
use std::io::{self, ErrorKind, Read as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::wire::{Arrived, Request, kind, sent};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::pushes::{PUSHES_MAX, Pushes};
use crate::lab::{LabError, Namespace, SERVER};

/// Heard at once from one socket; the rest waits in it.
const BATCH: usize = 256;
/// How often it is looked what reached the households; it waits in their sockets.
const LISTEN_EVERY: Duration = Duration::from_millis(20);
/// A push is this late at most while nobody beats.
const EAR_WAITS: Duration = Duration::from_millis(2);

/// Sends pushes until dropped.
#[derive(Debug)]
pub struct Pusher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    is_open: AtomicBool,
    waiting: AtomicUsize,
    copies: AtomicUsize,
    probes: AtomicU64,
    is_over: AtomicBool,
}

/// Pushes cannot be sent or heard.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// A namespace cannot be entered.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// A raw socket cannot be made.
    #[error("no raw socket: needs CAP_NET_RAW")]
    Socket(#[source] io::Error),
}

/// Where a household is heard, and whose its ports are.
#[derive(Debug)]
pub struct Household<F> {
    /// Where.
    pub namespace: Namespace,
    /// Whose a port is.
    pub owner: F,
}

/// What is known of the devices, beside what they send.
#[derive(Debug)]
pub struct Known<L> {
    /// The longest time between two beats of a device, now; `None` while nothing is to be pushed to it.
    pub longest: L,
    /// Where the server listens.
    pub port: u16,
    /// Moments are drawn from this.
    pub seed: u64,
}

impl Pusher {
    /// Hears devices in the server's namespace, and pushes in the households'.
    ///
    /// # Errors
    /// A namespace cannot be entered, or no raw socket be had.
    pub fn start<F: Fn(u16) -> Option<DeviceId> + Send + 'static>(
        server: &Namespace,
        households: Vec<Household<F>>,
        pushes: &Arc<Pushes>,
        known: Known<impl Fn(DeviceId) -> Option<Duration> + Send + 'static>,
    ) -> Result<Self, PushError> {
        let shared = Arc::new(Shared { copies: AtomicUsize::new(1), ..Shared::default() });
        let (beats, mouth) = server.enter(|| Ok((ear()?, mouth()?)))?.map_err(PushError::Socket)?;
        beats.set_read_timeout(Some(EAR_WAITS)).map_err(PushError::Socket)?;
        let mut ears = Vec::new();
        for household in households {
            let ear = household.namespace.enter(ear)?.map_err(PushError::Socket)?;
            ear.set_nonblocking(true).map_err(PushError::Socket)?;
            ears.push((ear, household.owner));
        }
        let (last_heard, due) = Default::default();
        let random = StdRng::seed_from_u64(known.seed);
        let (pushes, told) = (Arc::clone(pushes), Arc::clone(&shared));
        let mut round = Round { ear: beats, mouth, known, shared: told, pushes, last_heard, due, random };
        let thread = std::thread::spawn(move || round.run(&ears));
        Ok(Self { shared, thread: Some(thread) })
    }

    /// From now on, or no longer, a beat is followed by a push.
    pub fn open(&self, is_open: bool) {
        self.shared.is_open.store(is_open, Ordering::Relaxed);
    }

    /// A push is sent so many times: what the way loses of single packets is not what is measured.
    pub fn send_copies(&self, copies: usize) {
        self.shared.copies.store(copies, Ordering::Relaxed);
    }

    /// Datagrams of tests that reached the server.
    pub fn probes(&self) -> u64 {
        self.shared.probes.load(Ordering::Relaxed)
    }

    /// Whether it has stopped by itself, because a socket failed.
    pub fn has_failed(&self) -> bool {
        self.thread.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Pushes whose moment has not come.
    pub fn waiting(&self) -> usize {
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
fn ear() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(8 << 20)?;
    Ok(socket)
}

/// Sends datagrams whose IP header is ours.
fn mouth() -> io::Result<Socket> {
    Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255)))
}

/// Takes what there is, for one household.
fn listen(ear: &Socket, owner: &impl Fn(u16) -> Option<DeviceId>, pushes: &Pushes) -> io::Result<()> {
    each(ear, |packet| {
        let datagram = Datagram::read(packet)?;
        pushes.arrived(owner(datagram.to)?, datagram.payload);
        Some(())
    })
}

/// Calls `take` with what waits in a raw socket, up to a batch. What is not ours is heard too, and nothing comes of it.
fn each(mut ear: &Socket, mut take: impl FnMut(&[u8]) -> Option<()>) -> io::Result<()> {
    let mut buffer = [0; 2_048];
    for _ in 0..BATCH {
        match ear.read(&mut buffer) {
            Ok(length) => {
                take(&buffer[..length]);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
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
    known: Known<L>,
    shared: Arc<Shared>,
    pushes: Arc<Pushes>,
    last_heard: HashMap<DeviceId, LastHeard>,
    due: BinaryHeap<Reverse<Due>>,
    random: StdRng,
}

/// A push whose moment is to come: device, its beat, and the time that the moment was drawn from.
type Due = (Instant, DeviceId, u32, Duration);

impl<L: Fn(DeviceId) -> Option<Duration>> Round<L> {
    fn run<F: Fn(u16) -> Option<DeviceId>>(&mut self, ears: &[(Socket, F)]) -> io::Result<()> {
        let mut listened_at = Instant::now();
        while !self.shared.is_over.load(Ordering::Relaxed) {
            self.hear()?;
            self.push()?;
            if listened_at.elapsed() > LISTEN_EVERY {
                listened_at = Instant::now();
                ears.iter().try_for_each(|(ear, owner)| listen(ear, owner, &self.pushes))?;
            }
        }
        Ok(())
    }

    fn hear(&mut self) -> io::Result<()> {
        let ear = self.ear.try_clone()?;
        each(&ear, |packet| {
            let datagram = Datagram::read(packet).filter(|datagram| datagram.to == self.known.port)?;
            let Ok(Arrived::Request(request)) = Arrived::read(datagram.payload) else { return None };
            self.heard(datagram.from, &request);
            Some(())
        })?;
        self.shared.waiting.store(self.due.len(), Ordering::Relaxed);
        Ok(())
    }

    fn heard(&mut self, from: SocketAddrV4, request: &Request) {
        let boot_and_sequence = (request.boot, request.sequence);
        let known = self.last_heard.get(&request.device);
        if request.kind == kind::PROBE {
            self.shared.probes.fetch_add(1, Ordering::Relaxed);
        }
        if request.kind == kind::PROBE || known.is_some_and(|known| known.boot_and_sequence >= boot_and_sequence) {
            return;
        }
        let is_beat = request.kind == kind::HEARTBEAT && request.flags & sent::RETRY == 0;
        let beat = if is_beat { request.sequence } else { known.map_or(0, |known| known.beat) };
        let at = Instant::now();
        self.last_heard.insert(request.device, LastHeard { from, at, boot_and_sequence, beat });
        if !is_beat || !self.shared.is_open.load(Ordering::Relaxed) {
            return;
        }
        if let Some(longest) = (self.known.longest)(request.device) {
            let wait = longest.mul_f64(self.random.random());
            self.due.push(Reverse((at + wait, request.device, beat, longest)));
        }
    }

    fn push(&mut self) -> io::Result<()> {
        let now = Instant::now();
        while self.due.peek().is_some_and(|Reverse((due, ..))| *due <= now) {
            let Some(Reverse((_, device, beat, longest))) = self.due.pop() else { break };
            let heard = &self.last_heard[&device];
            let is_there = (self.known.longest)(device).is_some();
            if heard.beat == beat && is_there && self.pushes.count() < PUSHES_MAX {
                let bytes = self.pushes.add(device, now - heard.at, longest);
                for _ in 0..self.shared.copies.load(Ordering::Relaxed) {
                    self.send(heard.from, &bytes)?;
                }
            }
        }
        self.shared.waiting.store(self.due.len(), Ordering::Relaxed);
        Ok(())
    }

    /// What the kernel has no room for is not sent: like any other datagram, it is lost.
    fn send(&self, to: SocketAddrV4, payload: &[u8; 12]) -> io::Result<()> {
        let mut packet = Vec::with_capacity(40);
        // RFC 791: version 4, 5 words, no fragments, 64 hops, UDP. Length and checksum are the kernel's to fill in.
        packet.extend([0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0]);
        packet.extend(SERVER.octets());
        packet.extend(to.ip().octets());
        // RFC 768: a checksum of zero is none.
        for field in [self.known.port, to.port(), 8 + payload.len() as u16, 0] {
            packet.extend(field.to_be_bytes());
        }
        packet.extend(payload);
        match self.mouth.send_to(&packet, &SockAddr::from(SocketAddrV4::new(*to.ip(), 0))) {
            Err(error) if error.raw_os_error() != Some(libc::ENOBUFS) => Err(error),
            _ => Ok(()),
        }
    }
}
