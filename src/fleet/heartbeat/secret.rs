//! What only this process can have written, so that nothing must be remembered to recognise it.

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::key::{Mac, MacKey};
use std::time::Duration;

use super::address::Address;
use crate::time::MonoTime;

/// A nonce is good for this long at least, and twice as long at most.
const SLOT: Duration = Duration::from_secs(30);
/// Real generations are milliseconds since 1970, and have been above this since 2004: a device that follows an order
/// takes none with a generation below.
const NONCE_GENERATION_BITS: u32 = 40;

/// A key that ends with the process.
#[derive(Debug, Clone)]
pub(super) struct Secret(MacKey);

impl Secret {
    /// Drawn anew.
    pub(super) fn draw() -> Self {
        Self(MacKey::new(&rand::random()))
    }

    /// What a device with lower counters than before has to repeat, from this address.
    pub(super) fn challenge(&self, from: &Address, device: DeviceId, boot: u32, now: MonoTime) -> Mac {
        self.nonce(from, device, boot, slot(now))
    }

    /// Whether it did.
    pub(super) fn is_answer(&self, nonce: &Mac, from: &Address, device: DeviceId, boot: u32, now: MonoTime) -> bool {
        let now = slot(now);
        let is = |slot: u64| self.nonce(from, device, boot, slot) == *nonce;
        is(now) || now.checked_sub(1).is_some_and(is)
    }

    /// The generation that stands in an ack to a new address, so that its MAC, the cookie, is one that no process before
    /// this one can have given: not even one that was given the same orders.
    ///
    /// Without it, whoever copied a heartbeat and the answer to its ack could, after the registry is lost, send both again
    /// and have the device registered where it is not. The same datagram gets the same nonce, so that each copied pair is
    /// one guess of 40 bits.
    pub(super) fn generation(&self, device: DeviceId, boot: u32, sequence: u32) -> u64 {
        let mac = self.0.mac(&[b"g", &device.0, &boot.to_be_bytes(), &sequence.to_be_bytes()]);
        mac[..8].iter().fold(0, |word, byte| word << 8 | u64::from(*byte)) & ((1 << NONCE_GENERATION_BITS) - 1)
    }

    fn nonce(&self, from: &Address, device: DeviceId, boot: u32, slot: u64) -> Mac {
        self.0.mac(&[b"c", &from.to_bytes(), &device.0, &boot.to_be_bytes(), &slot.to_be_bytes()])
    }
}

fn slot(now: MonoTime) -> u64 {
    now.since(MonoTime::default()).as_secs() / SLOT.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_good_for_its_address_device_boot_and_time_only() {
        let (secret, device) = (Secret::draw(), DeviceId([1; 16]));
        let (a, b) = (Address::new([1; 16], [0, 1]), Address::new([1; 16], [0, 2]));
        let at = |s: u64| MonoTime::from_start(Duration::from_secs(s));
        let nonce = secret.challenge(&a, device, 3, at(59));
        assert!(secret.is_answer(&nonce, &a, device, 3, at(59)) && secret.is_answer(&nonce, &a, device, 3, at(89)));
        assert!(!secret.is_answer(&nonce, &a, device, 3, at(90)));
        assert!(!secret.is_answer(&nonce, &b, device, 3, at(59)));
        assert!(!secret.is_answer(&nonce, &a, DeviceId([2; 16]), 3, at(59)));
        assert!(!secret.is_answer(&nonce, &a, device, 4, at(59)));
        assert!(!Secret::draw().is_answer(&nonce, &a, device, 3, at(59)));
    }

    #[test]
    fn a_nonce_in_place_of_a_generation_is_below_every_real_one() {
        let (secret, device) = (Secret::draw(), DeviceId([1; 16]));
        let in_2004 = 1_104_537_600_000;
        assert!((0..1_000).all(|sequence| secret.generation(device, 0, sequence) < in_2004));
        assert_eq!(secret.generation(device, 0, 1), secret.generation(device, 0, 1));
        assert_ne!(secret.generation(device, 0, 1), Secret::draw().generation(device, 0, 1));
    }
}
