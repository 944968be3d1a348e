//! Some thousand devices in one process: the SDK's own driver, with a thread for each household, in its namespace.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use flyball::chaos::pusher;
use flyball::lab::{Namespace, SERVER};
use flyball_sdk::device::endpoint::Endpoint;
use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::jitter::Pace;
use flyball_sdk::device::key::{MacKey, derive};
use flyball_sdk::device::labels::DeviceLabels;
use flyball_sdk::device::machine::{Bounds, Event, INITIAL, Machine, Memory, Settings};
use flyball_sdk::device::udp::{FleetHandle, UdpDevice, UdpEvent, UdpFleet};

use crate::bed::{Bed, Household, MASTER, PORT};

const KEY_ID: u16 = 1;
/// The devices of a household start one after the other over this time.
const START_WITHIN: Duration = Duration::from_secs(10);
/// Until a device is told another one. Nobody is told this one, so that it is seen who was told.
const UNTOLD: Duration = Duration::from_secs(8);

/// All devices, running.
pub(crate) struct Devices {
    known: Arc<HashMap<DeviceId, Known>>,
    handles: Vec<FleetHandle>,
    threads: Vec<JoinHandle<()>>,
    ports: Vec<(Namespace, Ports)>,
}

/// Whose each port of a household is.
type Ports = Arc<Mutex<HashMap<u16, DeviceId>>>;

struct Known {
    carrier: &'static str,
    interval_ms: AtomicU64,
    longest_ms: AtomicU64,
}

impl Devices {
    pub(crate) fn start(bed: &Bed) -> Self {
        let known = bed.households.iter().flat_map(|household| {
            household.ids().map(|id| {
                let known = Known { carrier: household.carrier, interval_ms: 0.into(), longest_ms: 0.into() };
                (id, known)
            })
        });
        let known: Arc<HashMap<DeviceId, Known>> = Arc::new(known.collect());
        let mut devices = Self { known, handles: Vec::new(), threads: Vec::new(), ports: Vec::new() };
        bed.households.iter().for_each(|household| devices.run(household));
        devices
    }

    /// Starts a household.
    fn run(&mut self, household: &Household) {
        let (ids, ports): (Vec<DeviceId>, Ports) = (household.ids().collect(), Arc::default());
        let count = u32::try_from(ids.len()).expect("some hundred");
        let devices = ids.iter().zip(0..).map(|(id, number)| device(*id, START_WITHIN * number / count, &ports));
        let mut fleet = UdpFleet::new(devices.collect()).expect("sockets");
        self.handles.push(fleet.handle());
        let namespace = household.device.namespace().clone();
        self.ports.push((namespace.clone(), ports));
        let known = Arc::clone(&self.known);
        self.threads.push(std::thread::spawn(move || {
            let ended = namespace.enter(|| {
                fleet.run(|i, event| {
                    if let UdpEvent::Machine(Event::Pace(pace)) = event {
                        known[&ids[i]].told(pace);
                    }
                })
            });
            ended.expect("entered").expect("the devices run");
        }));
    }

    /// Share of the devices whose interval `is_right` for their carrier; zero where none was told.
    pub(crate) fn share(&self, is_right: impl Fn(&str, Duration) -> bool) -> f64 {
        let right = self.known.values().filter(|known| is_right(known.carrier, known.interval()));
        right.count() as f64 / self.known.len() as f64
    }

    /// How many devices have which interval, for people.
    pub(crate) fn intervals(&self) -> String {
        let mut counts = BTreeMap::new();
        for known in self.known.values() {
            *counts.entry((known.carrier, known.interval())).or_insert(0) += 1;
        }
        let lines = counts.iter().map(|((carrier, interval), count)| format!("{count} of {carrier} at {interval:?}"));
        lines.collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn carrier(&self, device: DeviceId) -> &'static str {
        self.known[&device].carrier
    }

    /// The longest wait between two beats of a device, now.
    pub(crate) fn longest(&self) -> impl Fn(DeviceId) -> Option<Duration> + Send + 'static {
        let known = Arc::clone(&self.known);
        move |device| Some(Duration::from_millis(known[&device].longest_ms.load(Ordering::Relaxed)))
    }

    /// Where pushes are to be listened for.
    pub(crate) fn households(&self) -> Vec<pusher::Household<impl Fn(u16) -> Option<DeviceId> + Send + 'static>> {
        let heard = self.ports.iter().map(|(namespace, ports)| {
            let ports = Arc::clone(ports);
            let owner = move |port| ports.lock().expect("not poisoned").get(&port).copied();
            pusher::Household { namespace: namespace.clone(), owner }
        });
        heard.collect()
    }
}

impl Drop for Devices {
    fn drop(&mut self) {
        self.handles.iter().for_each(FleetHandle::stop);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Known {
    fn told(&self, pace: Pace) {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).expect("short");
        self.interval_ms.store(ms(pace.interval), Ordering::Relaxed);
        self.longest_ms.store(ms(pace.longest()), Ordering::Relaxed);
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms.load(Ordering::Relaxed))
    }
}

/// A device that begins after `wait`, and says which ports are its own.
fn device(id: DeviceId, wait: Duration, ports: &Ports) -> UdpDevice {
    let bounds = Bounds::new(Duration::from_secs(1), Duration::from_secs(300)).expect("sound");
    let initial = Pace { interval: UNTOLD, jitter: 0, retry: 12, ..INITIAL };
    // As devices are that nobody changed: what the server can do for them is what is tried.
    let settings = Settings { initial, bounds, follows_up: false, ..Settings::new(id, KEY_ID) };
    let machine = Machine::new(settings, Memory::for_next_boot(None, 0), wait);
    let endpoint = Endpoint::new(machine, MacKey::new(&derive(&MASTER, KEY_ID, id)), &DeviceLabels::default());
    let ports = Arc::clone(ports);
    UdpDevice::new(endpoint, SocketAddr::from((SERVER, PORT)).to_string()).opened_by(move |server| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        ports.lock().expect("not poisoned").insert(socket.local_addr()?.port(), id);
        Ok(socket)
    })
}
