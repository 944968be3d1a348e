//! One thread for one device or many: it waits for all their sockets and deadlines at once.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::{UdpDevice, UdpEvent};
use crate::device::machine::Flow;

/// A wall clock that is ahead of the monotonic one by more than this slept, or was set: either way a beat does no harm.
const SLEPT: Duration = Duration::from_secs(5);

const STOP: u8 = b's';
const LINK_UP: u8 = b'l';

/// Devices, and what wakes them.
#[derive(Debug)]
pub struct UdpFleet {
    devices: Vec<UdpDevice>,
    clock: Clock,
    waker: Arc<UnixStream>,
    woken: UnixStream,
}

/// Reaches a fleet from another thread.
#[derive(Debug, Clone)]
pub struct FleetHandle(Arc<UnixStream>);

/// Both clocks. The monotonic one stands still while the machine sleeps; NATs do not.
#[derive(Debug)]
struct Clock {
    started: Instant,
    wall: SystemTime,
    seen_at: Duration,
}

impl FleetHandle {
    /// Has [`UdpFleet::run`] return.
    pub fn stop(&self) {
        self.say(STOP);
    }

    /// Tells all devices that the link has come up.
    pub fn link_up(&self) {
        self.say(LINK_UP);
    }

    fn say(&self, what: u8) {
        // A full socket holds the word already, a closed one needs none.
        let _ = (&*self.0).write(&[what]);
    }
}

impl UdpFleet {
    /// Of these devices; each is known by its place in the list.
    ///
    /// # Errors
    /// The system has no sockets to give.
    pub fn new(devices: Vec<UdpDevice>) -> io::Result<Self> {
        let (waker, woken) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        Ok(Self { devices, clock: Clock::start(), waker: Arc::new(waker), woken })
    }

    /// A handle, for a signal's sake.
    pub fn handle(&self) -> FleetHandle {
        FleetHandle(Arc::clone(&self.waker))
    }

    /// Runs until a handle stops it; `tell` is called with a device's place and what is to be known of it.
    ///
    /// # Errors
    /// The system cannot wait for sockets: too many for its limits.
    pub fn run(&mut self, mut tell: impl FnMut(usize, UdpEvent)) -> io::Result<()> {
        loop {
            let now = self.clock.now();
            if self.clock.has_slept(now) {
                self.each(|device, tell| device.link_up(now, tell), &mut tell);
            }
            self.each(
                |device, tell| {
                    if device.deadline() <= now {
                        device.timeout(now, tell)
                    }
                },
                &mut tell,
            );
            let next = self.devices.iter().map(UdpDevice::deadline).min();
            let (ready, is_woken) = self.wait(next)?;
            let now = self.clock.now();
            for (i, flow) in ready {
                self.devices[i].receive(now, flow, &mut |event| tell(i, event));
            }
            if is_woken {
                let words = self.words();
                if words.contains(&STOP) {
                    return Ok(());
                }
                self.each(|device, tell| device.link_up(now, tell), &mut tell);
            }
        }
    }

    fn each(&mut self, act: impl Fn(&mut UdpDevice, &mut dyn FnMut(UdpEvent)), tell: &mut impl FnMut(usize, UdpEvent)) {
        for (i, device) in self.devices.iter_mut().enumerate() {
            act(device, &mut |event| tell(i, event));
        }
    }

    /// Waits for a deadline or a socket: which are ready, and whether a handle spoke.
    fn wait(&self, deadline: Option<Duration>) -> io::Result<(Vec<(usize, Flow)>, bool)> {
        let sockets = || self.devices.iter().enumerate().flat_map(|(i, device)| device.sockets().map(move |s| (i, s)));
        let mut polled: Vec<PollFd<'_>> = vec![PollFd::new(&self.woken, PollFlags::IN)];
        polled.extend(sockets().map(|(_, (_, socket))| PollFd::new(socket, PollFlags::IN)));
        let time = deadline.map(|deadline| deadline.saturating_sub(self.clock.now()));
        let time = time.and_then(|time| Timespec::try_from(time).ok());
        match poll(&mut polled, time.as_ref()) {
            Err(Errno::INTR) => return Ok((Vec::new(), false)),
            other => other?,
        };
        let is_ready = |polled: &PollFd<'_>| !polled.revents().is_empty();
        let ready = sockets().zip(&polled[1..]).filter(|(_, polled)| is_ready(polled));
        Ok((ready.map(|((i, (flow, _)), _)| (i, flow)).collect(), is_ready(&polled[0])))
    }

    fn words(&self) -> Vec<u8> {
        let mut words = [0; 64];
        let read = (&self.woken).read(&mut words).unwrap_or(0);
        words[..read].to_vec()
    }
}

impl Clock {
    fn start() -> Self {
        Self { started: Instant::now(), wall: SystemTime::now(), seen_at: Duration::ZERO }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether more time passed since the last call than the monotonic clock tells.
    fn has_slept(&mut self, now: Duration) -> bool {
        let wall = SystemTime::now();
        let passed = wall.duration_since(std::mem::replace(&mut self.wall, wall)).unwrap_or_default();
        let seen = now - std::mem::replace(&mut self.seen_at, now);
        passed > seen + SLEPT
    }
}
