//! Addresses that were asked to answer, and did not yet. One table, made once: a device has one place in it, which it
//! shares with others. Who comes later takes the place, and who lost it is asked again.

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::key::Mac;
use std::time::Duration;

use super::address::Address;
use crate::fleet::registry::entry::Stamp;

/// Places. At 10,000 new addresses a second to a worker, and an answer after 0.3 s, one in eleven is asked twice.
pub(super) const PLACES: usize = 1 << 15;
/// An answer that comes later is none: longer than a device takes over the slowest network.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The silence that the datagram ended with which the address came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended {
    /// Since the last packet either way.
    pub(super) silence: Duration,
    /// Since the last from the device.
    pub(super) gap: Duration,
    /// The device says that the binding was a stream.
    pub(super) is_stream: bool,
    /// It may have been shorter.
    pub(super) is_doubtful: bool,
}

/// An address that was asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) device: DeviceId,
    pub(super) from: Address,
    /// The ack's MAC.
    pub(super) cookie: Mac,
    pub(super) boot: u32,
    pub(super) sequence: u32,
    pub(super) at: Stamp,
    /// Of a device that was known.
    pub(super) ended: Option<Ended>,
}

/// What a datagram of a device is beside the last that was asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    /// It is to be asked about.
    New,
    /// It was asked about.
    Same,
    /// A later one was asked about.
    Older,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Pending(Box<[Option<Asked>]>);

impl Pending {
    pub(super) fn new(places: usize) -> Self {
        Self(vec![None; places].into())
    }

    /// What is there of a device.
    pub(super) fn of(&self, device: &DeviceId) -> Option<&Asked> {
        self.0[self.place(device)].as_ref().filter(|asked| asked.device == *device)
    }

    /// Whether a datagram was asked about.
    pub(super) fn beside(&self, device: &DeviceId, boot: u32, sequence: u32, now: Stamp) -> Beside {
        match self.of(device).filter(|asked| now.since(asked.at) <= WAIT_MAX) {
            Some(asked) if (asked.boot, asked.sequence) == (boot, sequence) => Beside::Same,
            Some(asked) if (asked.boot, asked.sequence) > (boot, sequence) => Beside::Older,
            _ => Beside::New,
        }
    }

    /// Remembers; whoever had the place is forgotten.
    pub(super) fn put(&mut self, asked: Asked) {
        let place = self.place(&asked.device);
        self.0[place] = Some(asked);
    }

    /// What was asked of this device at this address, if that is the answer; and forgets it.
    pub(super) fn answer(&mut self, device: &DeviceId, from: &Address, cookie: &Mac, now: Stamp) -> Option<Asked> {
        let place = self.place(device);
        let is_it = |asked: &Asked| asked.device == *device && asked.from == *from && asked.cookie == *cookie;
        self.0[place].filter(|asked| is_it(asked) && now.since(asked.at) <= WAIT_MAX)?;
        self.0[place].take()
    }

    /// Ids are spread by their owner or by a hash; a crowd at one place is asked again, no more.
    fn place(&self, device: &DeviceId) -> usize {
        let word = |bytes: &[u8]| bytes.iter().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
        let hash = (word(&device.0[..8]) ^ word(&device.0[8..]).rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (hash >> 32) as usize % self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(device: u8, port: u8, at: Stamp) -> Asked {
        let from = Address::new([9; 16], [0, port]);
        let device = DeviceId([device; 16]);
        Asked { device, from, cookie: [device.0[0]; 16], boot: 1, sequence: 5, at, ended: None }
    }

    #[test]
    fn only_the_address_that_was_asked_answers_once_in_time_with_the_cookie() {
        let (mut pending, now) = (Pending::new(8), Stamp::default());
        let one = asked(1, 1, now);
        pending.put(one);
        let late = now.plus_ms(30_001);
        assert!(pending.answer(&one.device, &one.from, &[0; 16], now).is_none(), "another cookie");
        assert!(pending.answer(&one.device, &asked(1, 2, now).from, &one.cookie, now).is_none(), "another address");
        assert!(pending.answer(&DeviceId([2; 16]), &one.from, &one.cookie, now).is_none(), "another device");
        assert!(pending.answer(&one.device, &one.from, &one.cookie, late).is_none(), "too late");
        assert!(pending.answer(&one.device, &one.from, &one.cookie, now.plus_ms(30_000)).is_some());
        assert!(pending.answer(&one.device, &one.from, &one.cookie, now).is_none(), "once");
    }

    #[test]
    fn a_later_device_takes_the_place() {
        let (mut pending, now) = (Pending::new(1), Stamp::default());
        pending.put(asked(1, 1, now));
        pending.put(asked(2, 1, now));
        assert!(pending.of(&DeviceId([1; 16])).is_none() && pending.of(&DeviceId([2; 16])).is_some());
        let beside = |boot, sequence| pending.beside(&DeviceId([2; 16]), boot, sequence, now);
        assert_eq!((beside(1, 5), beside(1, 4), beside(1, 6)), (Beside::Same, Beside::Older, Beside::New));
        assert_eq!((beside(0, 9), beside(2, 0)), (Beside::Older, Beside::New));
    }
}
