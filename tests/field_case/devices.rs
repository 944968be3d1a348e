//! Some thousand devices in one process: the SDK's own machine in each, a socket in a carrier's network for each.

use std::collections::HashMap;
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

use flyball::lab::{Namespace, SERVER};
use flyball_sdk::device::endpoint::Endpoint;
use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::jitter::Pace;
use flyball_sdk::device::key::{MacKey, derive};
use flyball_sdk::device::labels::DeviceLabels;
use flyball_sdk::device::machine::{Bounds, Flow, INITIAL, Machine, Memory, Output, Settings};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::bed::{Bed, Household, MASTER, PORT};
use crate::push::Pushes;

const KEY_ID: u16 = 1;
/// The devices of a household start one after the other over this time.
const START_WITHIN: Duration = Duration::from_secs(10);
/// How soon the end is noticed.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// All devices, running.
pub(crate) struct Devices {
    known: Arc<HashMap<DeviceId, Known>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

struct Known {
    carrier: String,
    interval_ms: AtomicU64,
    longest_ms: AtomicU64,
}

impl Devices {
    pub(crate) fn start(bed: &Bed, pushes: &Arc<Pushes>) -> Self {
        let of = |household: &Household| {
            let carrier = household.carrier.clone();
            (0..household.devices).map(move |number| {
                let known = Known { carrier: carrier.clone(), interval_ms: 0.into(), longest_ms: 1_000.into() };
                (id(&carrier, number), known)
            })
        };
        let known = Arc::new(bed.households.iter().flat_map(of).collect());
        let stop = Arc::new(AtomicBool::new(false));
        let threads = bed.households.iter().map(|household| {
            let live =
                Arc::new(Live { known: Arc::clone(&known), pushes: Arc::clone(pushes), stop: Arc::clone(&stop) });
            let ids: Vec<DeviceId> = (0..household.devices).map(|number| id(&household.carrier, number)).collect();
            let namespace: Namespace = household.device.namespace().clone();
            std::thread::spawn(move || namespace.enter(|| live_in(ids, &live)).expect("entered"))
        });
        Self { threads: threads.collect(), known, stop }
    }

    /// Share of the devices that have a pace that `is_right` for their carrier.
    pub(crate) fn share(&self, is_right: impl Fn(&str, Pace) -> bool) -> f64 {
        let right = self.known.values().filter(|known| {
            let interval = Duration::from_millis(known.interval_ms.load(Ordering::Relaxed));
            is_right(&known.carrier, Pace { interval, ..INITIAL })
        });
        right.count() as f64 / self.known.len() as f64
    }

    /// How many devices have which interval, for people.
    pub(crate) fn intervals(&self) -> String {
        let mut counts = std::collections::BTreeMap::new();
        for known in self.known.values() {
            *counts.entry((known.carrier.as_str(), known.interval_ms.load(Ordering::Relaxed))).or_insert(0) += 1;
        }
        let lines = counts.iter().map(|((carrier, ms), count)| format!("{count} of {carrier} at {ms} ms"));
        lines.collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn carrier(&self, device: DeviceId) -> &str {
        &self.known[&device].carrier
    }

    /// The longest wait between two beats of a device, now.
    pub(crate) fn longest(&self) -> impl Fn(DeviceId) -> Duration + Send + 'static {
        let known = Arc::clone(&self.known);
        move |device| Duration::from_millis(known[&device].longest_ms.load(Ordering::Relaxed))
    }
}

impl Drop for Devices {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn id(carrier: &str, number: u16) -> DeviceId {
    format!("{carrier}-{number}").parse().expect("an id")
}

struct Live {
    known: Arc<HashMap<DeviceId, Known>>,
    pushes: Arc<Pushes>,
    stop: Arc<AtomicBool>,
}

/// Runs the devices of a household on this thread, until told to stop.
fn live_in(ids: Vec<DeviceId>, live: &Arc<Live>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = LocalSet::new();
    let devices = u32::try_from(ids.len()).expect("some hundred");
    for (device, number) in ids.into_iter().zip(0..) {
        let live = Arc::clone(live);
        // A task for each: in one task together they would share what one may do before it lets others.
        local.spawn_local(async move {
            sleep(START_WITHIN * number / devices).await;
            One::new(device, live).run().await;
        });
    }
    local.block_on(&runtime, async {
        while !live.stop.load(Ordering::Relaxed) {
            sleep(LOOK_EVERY).await;
        }
    });
}

/// One device and its sockets.
struct One {
    endpoint: Endpoint,
    flows: [Option<UdpSocket>; Flow::COUNT],
    live: Arc<Live>,
    device: DeviceId,
    started: Instant,
    out: Vec<Output>,
}

impl One {
    fn new(device: DeviceId, live: Arc<Live>) -> Self {
        let bounds = Bounds::new(Duration::from_secs(1), Duration::from_secs(300)).expect("sound");
        let initial = Pace { interval: Duration::from_secs(9), jitter: 0, retry: 12, ..INITIAL };
        // As devices are that nobody changed: what the server can do for them is what is tried.
        let settings = Settings { initial, bounds, follows_up: false, ..Settings::new(device, KEY_ID) };
        let machine = Machine::new(settings, Memory::for_next_boot(None, 0), Duration::ZERO);
        let endpoint = Endpoint::new(machine, MacKey::new(&derive(&MASTER, KEY_ID, device)), &DeviceLabels::default());
        let flows = std::array::from_fn(|number| (number == 0).then(open));
        Self { endpoint, flows, live, device, started: Instant::now(), out: Vec::new() }
    }

    async fn run(mut self) {
        let mut bytes = [0; 256];
        loop {
            let deadline = self.started + self.endpoint.machine.deadline();
            tokio::select! {
                (number, length) = arrival(&self.flows, &mut bytes) => self.take(number, &bytes[..length]),
                () = sleep_until(deadline) => {
                    let now = self.started.elapsed();
                    self.endpoint.machine.timeout(now, &mut self.out);
                }
            }
            self.act().await;
        }
    }

    fn take(&mut self, number: usize, bytes: &[u8]) {
        if self.live.pushes.arrived(bytes) {
            return;
        }
        let flow = Flow::numbered(number).expect("one of ours");
        let now = self.started.elapsed();
        // A packet of a push to a side flow, or of nobody: no matter.
        let _ = self.endpoint.receive(now, flow, bytes, &mut self.out);
    }

    async fn act(&mut self) {
        let mut bytes = Vec::new();
        for output in std::mem::take(&mut self.out) {
            match output {
                Output::Open(flow) => self.flows[flow.number()] = Some(open()),
                Output::Close(flow) => self.flows[flow.number()] = None,
                Output::Send { flow, message } => {
                    self.endpoint.seal(&message, &mut bytes);
                    if let Some(socket) = &self.flows[flow.number()] {
                        // Lost, as on any network.
                        let _ = socket.send_to(&bytes, SocketAddr::from((SERVER, PORT))).await;
                    }
                }
                Output::Remember(_) | Output::Event(_) => {}
            }
        }
        let pace = self.endpoint.machine.pace();
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).expect("short");
        let known = &self.live.known[&self.device];
        known.interval_ms.store(ms(pace.interval), Ordering::Relaxed);
        known.longest_ms.store(ms(pace.longest()), Ordering::Relaxed);
    }
}

/// A socket in the namespace of this thread.
fn open() -> UdpSocket {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a free port");
    socket.set_nonblocking(true).expect("set");
    UdpSocket::from_std(socket).expect("in a runtime")
}

/// The next datagram on any of the flows.
async fn arrival(flows: &[Option<UdpSocket>], bytes: &mut [u8]) -> (usize, usize) {
    poll_fn(|context| {
        for (number, socket) in flows.iter().enumerate() {
            let mut buffer = ReadBuf::new(bytes);
            let Some(Poll::Ready(Ok(()))) = socket.as_ref().map(|socket| socket.poll_recv(context, &mut buffer)) else {
                continue;
            };
            return Poll::Ready((number, buffer.filled().len()));
        }
        Poll::Pending
    })
    .await
}
