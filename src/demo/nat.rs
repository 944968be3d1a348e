//! A NAT in user space, over loopback: no privileges, no kernel. Each socket of a device gets a public port while its
//! binding lives; what comes for a binding that was forgotten is dropped, as a NAT does it. Times follow Linux: a
//! binding is a *stream*, and kept longer, once a packet passes later than 2 s after its first, after a reply.
//!
//! It knows the truth that nobody else does: whether a packet to a device would pass now.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

/// From a binding's first packet to the first that makes it a stream (Linux: `nf_conntrack_udp`, `stream_ts`).
const STREAM_AFTER: Duration = Duration::from_secs(2);
/// Bindings at most; of more, the oldest make room.
const BINDINGS_MAX: usize = 4_096;
/// A binding that was forgotten is kept in mind this long, for NATs that give the same port again.
const KEPT_IN_MIND: Duration = Duration::from_secs(120);
/// Larger datagrams are cut: none of ours are.
const DATAGRAM_MAX_BYTES: usize = 2_048;

/// How long bindings live.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rules {
    /// Until a binding is a stream.
    pub(crate) unreplied: Duration,
    /// Once it is one.
    pub(crate) stream: Duration,
    /// A binding that is made anew gets the public port that it had.
    pub(crate) is_port_kept: bool,
}

/// One NAT. It forwards until it is dropped.
pub(crate) struct Nat {
    shared: Arc<Shared>,
    inside: SocketAddr,
    forwarding: AbortHandle,
}

struct Shared {
    inside: UdpSocket,
    public: IpAddr,
    server: SocketAddr,
    state: Mutex<State>,
}

struct State {
    rules: Rules,
    bindings: HashMap<SocketAddr, Binding>,
}

struct Binding {
    outside: Arc<UdpSocket>,
    reading: AbortHandle,
    begun: Instant,
    last: Instant,
    is_replied: bool,
    is_stream: bool,
}

impl Nat {
    /// Between devices, which send to [`Nat::inside`], and `server`, which sees `public`.
    pub(crate) async fn start(rules: Rules, public: Ipv4Addr, server: SocketAddr) -> io::Result<Self> {
        let inside = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = inside.local_addr()?;
        let state = Mutex::new(State { rules, bindings: HashMap::new() });
        let shared = Arc::new(Shared { inside, public: public.into(), server, state });
        let forwarding = tokio::spawn(Arc::clone(&shared).forward()).abort_handle();
        Ok(Self { shared, inside: address, forwarding })
    }

    /// Where devices send to.
    pub(crate) fn inside(&self) -> SocketAddr {
        self.inside
    }

    /// The carrier changes its NAT; bindings that are there are kept by the new rules.
    pub(crate) fn set_rules(&self, rules: Rules) {
        self.shared.lock().rules = rules;
    }

    /// Whether a packet from the server to this socket of a device would pass now.
    pub(crate) fn is_reachable(&self, device: SocketAddr) -> bool {
        let state = self.shared.lock();
        state.bindings.get(&device).is_some_and(|binding| binding.is_alive(state.rules, Instant::now()))
    }
}

impl Drop for Nat {
    fn drop(&mut self) {
        self.forwarding.abort();
        self.shared.lock().bindings.values().for_each(|binding| binding.reading.abort());
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    async fn forward(self: Arc<Self>) {
        let mut bytes = [0; DATAGRAM_MAX_BYTES];
        loop {
            // Errors of single datagrams, such as a device that is gone.
            let Ok((length, device)) = self.inside.recv_from(&mut bytes).await else { continue };
            if let Ok(outside) = self.bound(device).await {
                let _ = outside.send_to(&bytes[..length], self.server).await;
            }
        }
    }

    /// The public socket of a device's socket, bound anew where the NAT has forgotten it.
    async fn bound(self: &Arc<Self>, device: SocketAddr) -> io::Result<Arc<UdpSocket>> {
        let now = Instant::now();
        let kept = {
            let mut state = self.lock();
            let rules = state.rules;
            match state.bindings.get_mut(&device) {
                Some(binding) if binding.is_alive(rules, now) => {
                    binding.passed(now);
                    return Ok(Arc::clone(&binding.outside));
                }
                Some(binding) if rules.is_port_kept => {
                    binding.begin(now);
                    return Ok(Arc::clone(&binding.outside));
                }
                Some(_) => state.bindings.remove(&device),
                None => None,
            }
        };
        // The old port stays taken until the new one is.
        let outside = Arc::new(UdpSocket::bind((self.public, 0)).await?);
        kept.iter().for_each(|binding| binding.reading.abort());
        let reading = tokio::spawn(Arc::clone(self).back(device, Arc::clone(&outside))).abort_handle();
        let (begun, last) = (now, now);
        let binding =
            Binding { outside: Arc::clone(&outside), reading, begun, last, is_replied: false, is_stream: false };
        let mut state = self.lock();
        state.make_room(now);
        state.bindings.insert(device, binding);
        Ok(outside)
    }

    /// What comes for a public port, as long as its binding lives.
    async fn back(self: Arc<Self>, device: SocketAddr, outside: Arc<UdpSocket>) {
        let mut bytes = [0; DATAGRAM_MAX_BYTES];
        loop {
            let Ok((length, from)) = outside.recv_from(&mut bytes).await else { continue };
            if from == self.server && self.lock().replied(device, &outside) {
                let _ = self.inside.send_to(&bytes[..length], device).await;
            }
        }
    }
}

impl State {
    fn replied(&mut self, device: SocketAddr, outside: &Arc<UdpSocket>) -> bool {
        let (rules, now) = (self.rules, Instant::now());
        let Some(binding) = self.bindings.get_mut(&device) else { return false };
        if !Arc::ptr_eq(&binding.outside, outside) || !binding.is_alive(rules, now) {
            return false;
        }
        binding.passed(now);
        binding.is_replied = true;
        true
    }

    fn make_room(&mut self, now: Instant) {
        let oldest = self.bindings.iter().min_by_key(|(_, binding)| binding.last).map(|(device, _)| *device);
        let is_full = self.bindings.len() >= BINDINGS_MAX;
        let rules = self.rules;
        self.bindings.retain(|device, binding| {
            let is_over = !binding.is_alive(rules, now) && now - binding.last > KEPT_IN_MIND;
            let goes = is_over || is_full && Some(*device) == oldest;
            if goes {
                binding.reading.abort();
            }
            !goes
        });
    }
}

impl Binding {
    fn is_alive(&self, rules: Rules, now: Instant) -> bool {
        now - self.last <= if self.is_stream { rules.stream } else { rules.unreplied }
    }

    /// A packet passes, either way.
    fn passed(&mut self, now: Instant) {
        self.is_stream |= self.is_replied && now - self.begun > STREAM_AFTER;
        self.last = now;
    }

    fn begin(&mut self, now: Instant) {
        (self.begun, self.last, self.is_replied, self.is_stream) = (now, now, false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Rules =
        Rules { unreplied: Duration::from_millis(300), stream: Duration::from_millis(300), is_port_kept: false };

    async fn bed(rules: Rules) -> (Nat, UdpSocket, UdpSocket) {
        let server = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let nat = Nat::start(rules, Ipv4Addr::new(127, 10, 9, 1), server.local_addr().expect("bound")).await;
        let nat = nat.expect("a NAT");
        let device = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        device.connect(nat.inside()).await.expect("connects");
        (nat, server, device)
    }

    async fn seen(server: &UdpSocket, device: &UdpSocket) -> SocketAddr {
        device.send(b"beat").await.expect("sent");
        server.recv_from(&mut [0; 16]).await.expect("arrives").1
    }

    async fn until_forgotten(nat: &Nat, device: &UdpSocket) {
        let device = device.local_addr().expect("bound");
        for _ in 0..500 {
            if !nat.is_reachable(device) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the binding is still there after 5 s");
    }

    #[tokio::test]
    async fn a_reply_passes_while_the_binding_lives_and_a_late_one_does_not() {
        let (nat, server, device) = bed(SHORT).await;
        let public = seen(&server, &device).await;
        assert_eq!(public.ip(), Ipv4Addr::new(127, 10, 9, 1));
        server.send_to(b"ack", public).await.expect("sent");
        assert_eq!(device.recv(&mut [0; 16]).await.expect("arrives"), 3);
        until_forgotten(&nat, &device).await;
        server.send_to(b"late", public).await.expect("sent");
        assert_ne!(seen(&server, &device).await, public, "a new port");
        assert!(device.try_recv(&mut [0; 16]).is_err());
    }

    #[tokio::test]
    async fn where_ports_are_kept_a_forgotten_binding_comes_back_on_its_own() {
        let (nat, server, device) = bed(Rules { is_port_kept: true, ..SHORT }).await;
        let public = seen(&server, &device).await;
        until_forgotten(&nat, &device).await;
        assert_eq!(seen(&server, &device).await, public);
    }
}
