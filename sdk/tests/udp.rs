//! Devices over real sockets on the loopback, against a small server that answers as it is told to.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use flyball_sdk::device::endpoint::Endpoint;
use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::jitter::Pace;
use flyball_sdk::device::key::{MacKey, derive};
use flyball_sdk::device::machine::{Bounds, Event, INITIAL, Machine, Memory, Settings};
use flyball_sdk::device::probe::{Cell, ProbeOrder, ProbeOutcome, ProbePhase};
use flyball_sdk::device::udp::{UdpDevice, UdpEvent, UdpFleet};
use flyball_sdk::device::wire::{Ack, Answer, Arrived, Request, is_authentic, kind, sent, told};

const MASTER: [u8; 32] = [7; 32];
const LIMIT: Duration = Duration::from_secs(20);
const PACE: Pace =
    Pace { generation: 9, interval: Duration::from_millis(300), jitter: 64, retry: 12, is_hostile: false };

fn key(device: DeviceId) -> MacKey {
    MacKey::new(&derive(&MASTER, 3, device))
}

/// What the server does.
#[derive(Debug, Clone, Copy, Default)]
struct Manner {
    asks_for_hello: bool,
    asks_new_addresses: bool,
    challenges: bool,
    /// Sends rubbish, and an ack under another key, before each answer.
    is_noisy: bool,
    probe: Option<ProbeOrder>,
}

/// What the server saw.
#[derive(Debug, Default)]
struct Seen {
    beats: HashMap<DeviceId, u32>,
    labels: Vec<String>,
    cookies: usize,
    nonces: usize,
    reports: Vec<ProbeOutcome>,
}

struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(manner: Manner) -> Self {
        Self::at("127.0.0.1:0".parse().expect("an address"), manner)
    }

    fn at(address: SocketAddr, manner: Manner) -> Self {
        let socket = UdpSocket::bind(address).expect("bound");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("set");
        let address = socket.local_addr().expect("bound");
        let (seen, stop) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let mut desk = Desk { socket, manner, seen: Arc::clone(&seen), sides: HashMap::new(), asked: HashMap::new() };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                desk.serve();
            }
        });
        Self { address, seen, stop, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))) || std::thread::panicking(), "the server did not panic");
    }
}

struct Desk {
    socket: UdpSocket,
    manner: Manner,
    seen: Arc<Mutex<Seen>>,
    sides: HashMap<(DeviceId, u8), SocketAddr>,
    asked: HashMap<DeviceId, SocketAddr>,
}

impl Desk {
    fn serve(&mut self) {
        let mut bytes = [0; 2_048];
        let Ok((length, from)) = self.socket.recv_from(&mut bytes) else { return };
        let bytes = &bytes[..length];
        let arrived = Arrived::read(bytes).expect("a datagram of ours");
        let head = *arrived.head();
        assert!(is_authentic(bytes, &key(head.device)), "{head:?}");
        if self.manner.is_noisy {
            self.noise(&head, from);
        }
        if let Arrived::Hello(hello) = arrived {
            self.seen.lock().expect("sound").labels.push(hello.labels.to_owned());
            return;
        }
        match head.kind {
            kind::HEARTBEAT => self.beat(head, from),
            kind::PROBE => self.probe(head, from),
            kind::ANSWER => {
                assert_eq!(head.flags, sent::NEW_ADDRESS);
                self.seen.lock().expect("sound").cookies += 1;
            }
            other => panic!("type {other}"),
        }
    }

    fn noise(&self, head: &Request, to: SocketAddr) {
        let forged = Answer::Ack(ack(kind::ACK, told::HELLO, head.sequence));
        let forged = forged.sealed(&MacKey::new(&[1; 32]), 3, head.device, head.boot);
        for noise in [&b"x"[..], &[0x46; 40], &[0x46; 41], &forged] {
            self.socket.send_to(noise, to).expect("sent");
        }
    }

    fn beat(&mut self, request: Request, from: SocketAddr) {
        if self.manner.challenges && request.cookie != [9; 16] {
            return self.answer(&request, from, Answer::Challenge { nonce: [9; 16] });
        }
        let mut seen = self.seen.lock().expect("sound");
        seen.nonces += usize::from(request.cookie == [9; 16]);
        let beats = seen.beats.entry(request.device).or_default();
        *beats += 1;
        let is_first = *beats == 1;
        drop(seen);
        let is_new = self.asked.insert(request.device, from) != Some(from);
        let flags =
            [(self.manner.asks_for_hello, told::HELLO), (self.manner.asks_new_addresses && is_new, told::NEW_ADDRESS)];
        let flags =
            flags.into_iter().filter(|(is_set, _)| *is_set && is_first).fold(0, |flags, (_, flag)| flags | flag);
        let probe = self.manner.probe.filter(|_| is_first);
        let flags = flags | if probe.is_some() { told::PROBE } else { 0 };
        let answer = Ack { probe: probe.map_or(0, ProbeOrder::to_bits), ..ack(kind::ACK, flags, request.sequence) };
        self.answer(&request, from, Answer::Ack(answer));
    }

    fn probe(&mut self, request: Request, from: SocketAddr) {
        let report = request.report().expect("about a probe");
        let probe = ProbeOrder { flows: report.flow + 1, ..report.order }.to_bits();
        let answer = |flags| Answer::Ack(Ack { probe, ..ack(kind::ANSWER, flags, request.sequence) });
        let side = self.sides.entry((request.device, report.flow)).or_insert(from);
        match report.phase {
            ProbePhase::Test => {
                let side = *side;
                assert_ne!(side, from, "asked over the main flow");
                self.answer(&request, side, answer(0));
                self.answer(&request, from, answer(told::CONTROL));
            }
            phase => {
                assert_eq!(*side, from, "one flow, one port");
                if phase == ProbePhase::Report {
                    self.seen.lock().expect("sound").reports.push(report.outcome);
                }
                self.answer(&request, from, answer(0));
            }
        }
    }

    fn answer(&self, request: &Request, to: SocketAddr, answer: Answer) {
        let bytes = answer.sealed(&key(request.device), 3, request.device, request.boot);
        self.socket.send_to(&bytes, to).expect("sent");
    }
}

fn ack(kind: u8, flags: u16, sequence: u32) -> Ack {
    Ack { kind, flags, sequence, pace: PACE, probe: 0 }
}

fn device(number: u8, server: SocketAddr) -> UdpDevice {
    let id = DeviceId([number; 16]);
    let bounds = Bounds::new(Duration::from_millis(200), Duration::from_secs(60)).expect("sound");
    let settings = Settings { bounds, initial: Pace { retry: 12, ..INITIAL }, ..Settings::new(id, 3) };
    let machine = Machine::new(settings, Memory { boot: 1, pace: None }, Duration::ZERO);
    let labels = "carrier=a,region=eu".parse().expect("labels");
    UdpDevice::new(Endpoint::new(machine, key(id), &labels), server.to_string())
}

/// Runs the devices until `is_done` has seen enough, and gives all events.
fn run(devices: Vec<UdpDevice>, mut is_done: impl FnMut(&[(usize, UdpEvent)]) -> bool) -> Vec<(usize, UdpEvent)> {
    let mut fleet = UdpFleet::new(devices).expect("sockets");
    let (handle, started, mut events) = (fleet.handle(), Instant::now(), Vec::new());
    fleet
        .run(|place, event| {
            events.push((place, event));
            if is_done(&events) {
                handle.stop();
            }
            assert!(started.elapsed() < LIMIT, "in vain: {events:?}");
        })
        .expect("it runs");
    events
}

fn acked(events: &[(usize, UdpEvent)], place: usize) -> usize {
    let is_it =
        |(at, event): &&(usize, UdpEvent)| *at == place && matches!(event, UdpEvent::Machine(Event::Acked { .. }));
    events.iter().filter(is_it).count()
}

#[test]
fn many_devices_beat_in_one_thread_at_the_pace_that_they_are_told() {
    let server = Server::start(Manner { asks_for_hello: true, asks_new_addresses: true, ..Manner::default() });
    let devices = (0..50).map(|number| device(number, server.address)).collect();
    let started = Instant::now();
    let events = run(devices, |events| (0..50).all(|place| acked(events, place) >= 4));
    assert!(started.elapsed() >= PACE.interval * 3, "not sooner than told");
    let paces = events.iter().filter(|(_, event)| matches!(event, UdpEvent::Machine(Event::Pace(PACE)))).count();
    let kept =
        events.iter().filter(|(_, event)| matches!(event, UdpEvent::Remember(memory) if memory.pace == Some(PACE)));
    assert_eq!((paces, kept.count()), (50, 50));
    let seen = server.seen.lock().expect("sound");
    assert_eq!((seen.labels.len(), seen.cookies), (50, 50));
    assert!(seen.labels.iter().all(|labels| labels == "carrier=a\nregion=eu\n"));
}

#[test]
fn noise_and_forgeries_change_nothing_and_a_challenge_is_met() {
    let server = Server::start(Manner { is_noisy: true, challenges: true, ..Manner::default() });
    let events = run(vec![device(1, server.address)], |events| acked(events, 0) >= 3);
    assert_eq!(server.seen.lock().expect("sound").nonces, acked(&events, 0));
}

#[test]
fn a_probe_runs_over_side_sockets_and_is_reported() {
    let order = ProbeOrder { first: Cell::new(1), flows: 4, step: 3 };
    let server = Server::start(Manner { probe: Some(order), ..Manner::default() });
    let is_probed = |(_, event): &&(usize, UdpEvent)| matches!(event, UdpEvent::Machine(Event::Probed(_)));
    let events = run(vec![device(1, server.address)], |events| {
        events.iter().filter(is_probed).count() == 4 && server.seen.lock().expect("sound").reports.len() == 4
    });
    assert_eq!(server.seen.lock().expect("sound").reports, [ProbeOutcome::Survived; 4]);
    assert!(acked(&events, 0) >= 4, "beats go on meanwhile");
}

#[test]
fn a_server_that_is_away_is_found_when_it_comes_back() {
    let address = Server::start(Manner::default()).address;
    let mut server = None;
    let events = run(vec![device(1, address)], |events| {
        let unanswered =
            events.iter().filter(|(_, event)| matches!(event, UdpEvent::Machine(Event::Unanswered { .. })));
        if server.is_none() && unanswered.count() == 7 {
            server = Some(Server::at(address, Manner::default()));
        }
        acked(events, 0) > 0
    });
    let is_connected = |(_, event): &&(usize, UdpEvent)| matches!(event, UdpEvent::Connected { .. });
    assert_eq!(events.iter().filter(is_connected).count(), 1, "over the same socket");
}

#[test]
fn a_name_that_cannot_be_resolved_is_told_once_and_ends_nothing() {
    let id = DeviceId([1; 16]);
    let settings = Settings { initial: Pace { retry: 12, ..INITIAL }, ..Settings::new(id, 3) };
    let machine = Machine::new(settings, Memory::default(), Duration::ZERO);
    let device = UdpDevice::new(Endpoint::new(machine, key(id), &Default::default()), "a name without a port");
    let events = run(vec![device], |events| events.len() >= 4);
    let troubles = events.iter().filter(|(_, event)| matches!(event, UdpEvent::Trouble(_))).count();
    assert_eq!(troubles, 1, "{events:?}");
}
