//! What was pushed, and what became of it.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use flyball_sdk::device::id::DeviceId;

/// First bytes of a push; its number follows.
const MARK: &[u8; 8] = b"a push: ";
/// A push of this age may have made a stream of the binding, for which Linux asks 2 s; the rest is room for what is late.
const LIFTS_FROM: Duration = Duration::from_millis(1_900);

/// All pushes; one's number is its place.
#[derive(Debug, Default)]
pub struct Pushes(Mutex<Vec<Push>>);

/// More are not sent.
pub const PUSHES_MAX: usize = 10_000_000;

/// One push.
#[derive(Debug, Clone, Copy)]
pub struct Push {
    /// To whom.
    pub device: DeviceId,
    /// When.
    pub at: Instant,
    /// Since the server had heard of the device's main flow.
    pub age: Duration,
    /// The time that its moment was drawn from: what it stands for.
    pub stands_for: Duration,
    /// Whether the device has it.
    pub has_arrived: bool,
}

impl Pushes {
    /// The bytes of a push that is sent now.
    pub fn add(&self, device: DeviceId, age: Duration, stands_for: Duration) -> [u8; 12] {
        let mut pushes = self.0.lock().expect("nothing panics under this lock");
        let number = pushes.len() as u32;
        pushes.push(Push { device, at: Instant::now(), age, stands_for, has_arrived: false });
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(MARK);
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        bytes
    }

    /// `device` got this. A push to another one has not arrived: the NAT gave its port away.
    pub fn arrived(&self, device: DeviceId, datagram: &[u8]) {
        let number = datagram.strip_prefix(MARK).and_then(|rest| rest.first_chunk::<4>());
        let Some(number) = number.map(|bytes| u32::from_be_bytes(*bytes)) else { return };
        let mut pushes = self.0.lock().expect("nothing panics under this lock");
        if let Some(push) = pushes.get_mut(number as usize).filter(|push| push.device == device) {
            push.has_arrived = true;
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.lock().expect("nothing panics under this lock").len()
    }

    /// All since the one of this number, to the devices that `whose` names.
    pub fn since(&self, since: usize, whose: impl Fn(DeviceId) -> bool) -> Vec<Push> {
        let pushes = self.0.lock().expect("nothing panics under this lock");
        pushes[since..].iter().filter(|push| whose(push.device)).copied().collect()
    }
}

/// Without those that came after a push had made a stream of the device's binding. What is left out depends on earlier
/// pushes only, and the moment of each push on nothing: the share that is lost of the rest is that of a device that
/// nobody pushed to.
pub fn until_lifted(mut pushes: Vec<Push>) -> Vec<Push> {
    let mut lifted = HashSet::new();
    pushes.retain(|push| {
        let is_first = !lifted.contains(&push.device);
        if push.has_arrived && push.age >= LIFTS_FROM {
            lifted.insert(push.device);
        }
        is_first
    });
    pushes
}
