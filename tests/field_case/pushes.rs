//! What was pushed, and what became of it.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use flyball_sdk::device::id::DeviceId;

/// First bytes of a push; its number follows.
const MARK: &[u8; 8] = b"a push: ";
/// A push of this age may have made a stream of the binding, for which Linux asks 2 s; the rest is room for what is late.
const LIFTS_FROM: Duration = Duration::from_millis(1_900);

/// All pushes; one's number is its place.
#[derive(Debug, Default)]
pub(crate) struct Pushes(Mutex<Vec<Push>>);

/// One push.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Push {
    pub(crate) device: DeviceId,
    /// Since the server had heard of the device's main flow.
    pub(crate) age: Duration,
    pub(crate) has_arrived: bool,
}

impl Pushes {
    /// The bytes of a push that is sent now.
    pub(crate) fn add(&self, device: DeviceId, age: Duration) -> [u8; 12] {
        let mut pushes = self.0.lock().expect("not poisoned");
        let number = u32::try_from(pushes.len()).expect("some ten thousand");
        pushes.push(Push { device, age, has_arrived: false });
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(MARK);
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        bytes
    }

    /// `device` got this. A push to another one has not arrived: the NAT gave its port away.
    pub(crate) fn arrived(&self, device: DeviceId, datagram: &[u8]) {
        let number = datagram.strip_prefix(MARK).and_then(|rest| rest.first_chunk::<4>());
        let Some(number) = number.map(|bytes| u32::from_be_bytes(*bytes)) else { return };
        let mut pushes = self.0.lock().expect("not poisoned");
        if let Some(push) = pushes.get_mut(number as usize).filter(|push| push.device == device) {
            push.has_arrived = true;
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().expect("not poisoned").len()
    }

    /// All since the one of this number, to the devices that `whose` names.
    pub(crate) fn since(&self, since: usize, whose: impl Fn(DeviceId) -> bool) -> Vec<Push> {
        let pushes = self.0.lock().expect("not poisoned");
        pushes[since..].iter().filter(|push| whose(push.device)).copied().collect()
    }
}

/// Without those that came after a push had made a stream of the device's binding. What is left out depends on earlier
/// pushes only, and the moment of each push on nothing: the share that is lost of the rest is that of a device that
/// nobody pushed to.
pub(crate) fn until_lifted(mut pushes: Vec<Push>) -> Vec<Push> {
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
