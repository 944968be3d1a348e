//! Which devices are tried together: a salted hash puts each device into one of a bounded number of buckets, and a
//! bucket is what is in an arm, fails, and tells.
//!
//! A bucket of two devices is one cluster: nothing is lost in truth, and a little in power. So what is kept of a cohort
//! is bounded by its buckets and not by its devices: two bits each, and a count for those that failed. With 65,536
//! buckets a cohort of 100,000 has about 51,000 that are not empty.

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::jitter::mixed;
use serde::{Deserialize, Serialize};

/// A wave of 5 % of a million devices has 3,277 clusters, far more than a gate needs, in 16 KiB; and the first five of
/// 50 devices share one in three of a thousand rollouts. (With 1,024 it was one in eleven.)
pub const BUCKETS: u32 = 65_536;

/// How devices are hashed: by the rollout's id, so that other devices are first in each rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hashing {
    salt: u64,
}

/// A set of buckets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buckets {
    words: Vec<u64>,
}

impl Hashing {
    /// For the rollout with this id.
    pub fn new(rollout: &str) -> Self {
        Self { salt: rollout.bytes().fold(0x0066_6c79_6261_6c6c, |salt, byte| mixed(salt ^ u64::from(byte))) }
    }

    /// The bucket of a device: the high bits of its hash, so that the lowest buckets are a random part of the cohort.
    pub fn bucket(self, device: DeviceId) -> u32 {
        ((u64::from(BUCKETS) * (self.hash(device, 0) >> 32)) >> 32) as u32
    }

    /// Uniform in [0, 1), another for each `nonce`, and no relation to the bucket.
    pub fn draw(self, device: DeviceId, nonce: u64) -> f64 {
        (self.hash(device, mixed(nonce) | 1) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The moment of a round at which a bucket is called, as a part of the round: uniform, another in each.
    pub fn call(self, bucket: u32, round: u64) -> f64 {
        (mixed(mixed(self.salt ^ u64::from(bucket)) ^ round) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn hash(self, device: DeviceId, nonce: u64) -> u64 {
        let id = u128::from_be_bytes(device.0);
        [(id >> 64) as u64, id as u64, nonce].into_iter().fold(self.salt, |hash, part| mixed(hash ^ part))
    }
}

impl Default for Buckets {
    fn default() -> Self {
        Self { words: vec![0; BUCKETS.div_ceil(64) as usize] }
    }
}

impl Buckets {
    /// Takes one in; whether it was not in.
    pub fn insert(&mut self, bucket: u32) -> bool {
        let Some(word) = self.words.get_mut(bucket as usize / 64) else { return false };
        let bit = 1 << (bucket % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Takes all out.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// Those in, in `from..to`.
    pub fn count(&self, from: u32, to: u32) -> u32 {
        self.iter().filter(|bucket| (from..to).contains(bucket)).count() as u32
    }

    /// Those in whose number is odd.
    pub fn count_odd(&self) -> u32 {
        self.words.iter().map(|word| (word & 0xaaaa_aaaa_aaaa_aaaa).count_ones()).sum()
    }

    fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let bits = |(at, word): (usize, &u64)| {
            let (at, word) = (at as u32 * 64, *word);
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at + bit)
        };
        self.words.iter().enumerate().flat_map(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(n: u32) -> DeviceId {
        DeviceId(u128::from(n).to_be_bytes())
    }

    #[test]
    fn any_part_of_the_buckets_is_that_part_of_the_devices() {
        let hashing = Hashing::new("rollout 7");
        for part in [0.05, 0.2, 0.9] {
            let limit = f64::from(BUCKETS) * part;
            let seen = (0..20_000).filter(|n| f64::from(hashing.bucket(device(*n))) < limit).count();
            assert!((seen as f64 / 20_000.0 - part).abs() < 0.01, "{part}: {seen}");
        }
    }

    #[test]
    fn other_devices_are_first_in_another_rollout() {
        let [a, b] = ["a", "b"].map(Hashing::new);
        let first = |hashing: Hashing, n: u32| hashing.bucket(device(n)) < BUCKETS / 20;
        let both = (0..20_000).filter(|n| first(a, *n) && first(b, *n)).count();
        assert!((20..90).contains(&both), "{both} of 50 expected");
    }

    #[test]
    fn draws_are_uniform_and_know_nothing_of_the_bucket() {
        let hashing = Hashing::new("a");
        let first = (0..20_000).filter(|n| hashing.bucket(device(*n)) < BUCKETS / 10);
        let draws: Vec<f64> = first.map(|n| hashing.draw(device(n), 3)).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        assert!((mean - 0.5).abs() < 0.03, "{mean}");
        assert_ne!(hashing.draw(device(1), 3), hashing.draw(device(1), 4));
    }

    #[test]
    fn a_set_counts_what_is_in_a_range_and_takes_nothing_beyond() {
        let mut set = Buckets::default();
        assert!(set.insert(0) && set.insert(64) && set.insert(BUCKETS - 1) && !set.insert(64) && !set.insert(BUCKETS));
        assert_eq!((set.count(0, BUCKETS), set.count(1, BUCKETS - 1), set.count(65, 65)), (3, 1, 0));
    }
}
