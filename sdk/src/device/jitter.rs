//! When the next beat is due: the base told by the server, and on top of it a part of the jitter that the device draws
//! by itself, for each beat anew, so that a fleet that was told one number never beats in step.

use std::time::Duration;

use super::id::DeviceId;

/// The pace that a device was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Of the order that told it; 48 bits. An older order is ignored.
    pub generation: u64,
    /// The shortest time between two beats.
    pub interval: Duration,
    /// The most that is added to it, in 256ths of the interval.
    pub jitter: u8,
    /// Time between two fast retries, in 20 ms: 150 is every 3 s. A beat that nothing answered is retried at this pace
    /// 20 times, then at a fifth of it until it is answered. 0 = 150.
    pub retry: u8,
    /// The NAT forgets sooner than any allowed interval can serve.
    pub is_hostile: bool,
}

/// Fast retries before the slow ones.
pub const FAST_RETRIES: u32 = 20;
/// A slow retry takes as long as this many fast ones.
pub const SLOW_RETRY_TIMES: u32 = 5;
/// What `retry: 0` means.
pub const RETRY_DEFAULT: u8 = 150;
const RETRY_UNIT: Duration = Duration::from_millis(20);

impl Pace {
    /// The longest time between two beats.
    pub fn longest(&self) -> Duration {
        self.interval + self.jitter_max()
    }

    /// The most that is added to the interval.
    pub fn jitter_max(&self) -> Duration {
        self.interval * u32::from(self.jitter) / 256
    }

    /// From the beat with this sequence number to the next.
    pub fn wait(&self, device: DeviceId, sequence: u32) -> Duration {
        let drawn = draw(device, self.generation, sequence);
        self.interval + self.jitter_max().mul_f64(drawn)
    }

    /// From the `tries`-th sending of a beat (1 = the first) to the next one, if nothing answers.
    pub fn retry_wait(&self, tries: u32) -> Duration {
        let units = if self.retry == 0 { RETRY_DEFAULT } else { self.retry };
        let fast = RETRY_UNIT * u32::from(units);
        if tries <= FAST_RETRIES { fast } else { fast * SLOW_RETRY_TIMES }
    }
}

/// Uniform in [0, 1): the high 53 bits of a hash of all three ([`mixed`] over each part).
fn draw(device: DeviceId, generation: u64, sequence: u32) -> f64 {
    let (high, low) = device.0.split_at(8);
    let word = |bytes: &[u8]| bytes.iter().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
    let parts = [word(high), word(low), generation, u64::from(sequence)];
    let hash = parts.into_iter().fold(0x9e37_79b9_7f4a_7c15, |hash, part| mixed(hash ^ part));
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014): each bit of the result hangs on every bit of `x`.
pub fn mixed(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace =
        Pace { generation: 7, interval: Duration::from_secs(80), jitter: 64, retry: 0, is_hostile: false };

    #[test]
    fn beats_are_spread_over_the_whole_jitter() {
        let mut tenths = [0; 10];
        for sequence in 0..10_000 {
            let wait = PACE.wait(DeviceId([9; 16]), sequence);
            assert!(wait >= PACE.interval && wait < PACE.longest(), "{wait:?}");
            tenths[((wait - PACE.interval).as_secs_f64() / 2.0) as usize] += 1;
        }
        assert!(tenths.iter().all(|count| (850..1_150).contains(count)), "{tenths:?}");
    }

    #[test]
    fn devices_generations_and_beats_draw_apart() {
        let wait = PACE.wait(DeviceId([9; 16]), 1);
        assert_eq!(wait, PACE.wait(DeviceId([9; 16]), 1));
        assert_ne!(wait, PACE.wait(DeviceId([8; 16]), 1));
        assert_ne!(wait, PACE.wait(DeviceId([9; 16]), 2));
        assert_ne!(wait, Pace { generation: 8, ..PACE }.wait(DeviceId([9; 16]), 1));
    }

    #[test]
    fn retries_come_every_3_s_for_a_minute_and_then_every_15() {
        assert_eq!(PACE.retry_wait(1), Duration::from_secs(3));
        assert_eq!(PACE.retry_wait(20), Duration::from_secs(3));
        assert_eq!(PACE.retry_wait(21), Duration::from_secs(15));
        let scaled = Pace { retry: 12, ..PACE };
        assert_eq!(
            (scaled.retry_wait(1), scaled.retry_wait(21)),
            (Duration::from_millis(240), Duration::from_millis(1_200))
        );
    }
}
