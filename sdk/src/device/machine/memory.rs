//! What a device keeps over its restarts: which start this is, and the last order, so that it begins at the pace that
//! its NAT needs, and no order that was replaced long ago is taken for a new one.

use std::time::Duration;

use crate::device::jitter::Pace;

/// Bytes that a memory takes.
pub const MEMORY_BYTES: usize = 32;
const MAGIC: [u8; 4] = *b"fbd1";
const COVERED_BYTES: usize = MEMORY_BYTES - 4;

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Counts the device's starts. It must rise with each, or the server takes what the device says for a replay (and
    /// asks it to prove itself, which costs a datagram).
    pub boot: u32,
    /// The last order, as it was told.
    pub pace: Option<Pace>,
}

impl Memory {
    /// What the next start begins with: `max(last + 1, unix seconds)`, so that a device that lost its memory, and knows
    /// the time, is not counted as a replay of itself. `unix_seconds` is 0 on a device without a clock.
    pub fn for_next_boot(last: Option<Self>, unix_seconds: u64) -> Self {
        let last = last.unwrap_or_default();
        let now = u32::try_from(unix_seconds).unwrap_or(u32::MAX);
        Self { boot: last.boot.saturating_add(1).max(now), ..last }
    }

    /// As kept: magic, boot, generation u64, interval u64 in ns, jitter, retry, hostile, order there or not, CRC-32.
    pub fn to_bytes(&self) -> [u8; MEMORY_BYTES] {
        let none = Pace { generation: 0, interval: Duration::ZERO, jitter: 0, retry: 0, is_hostile: false };
        let pace = self.pace.unwrap_or(none);
        let nanos = u64::try_from(pace.interval.as_nanos()).unwrap_or(u64::MAX);
        let mut bytes = [0; MEMORY_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&self.boot.to_be_bytes());
        bytes[8..16].copy_from_slice(&pace.generation.to_be_bytes());
        bytes[16..24].copy_from_slice(&nanos.to_be_bytes());
        let flags = [pace.jitter, pace.retry, u8::from(pace.is_hostile), u8::from(self.pace.is_some())];
        bytes[24..28].copy_from_slice(&flags);
        let crc = crc32(&bytes[..COVERED_BYTES]);
        bytes[COVERED_BYTES..].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// What was kept; `None` for anything else, such as a write that a power cut ended.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; MEMORY_BYTES] = bytes.try_into().ok()?;
        let (covered, crc) = bytes.split_last_chunk::<4>()?;
        if covered[..4] != MAGIC || crc32(covered).to_be_bytes() != *crc {
            return None;
        }
        let word = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| covered[at + i]));
        let [jitter, retry, hostile, has_pace] = std::array::from_fn(|i| covered[24 + i]);
        let interval = Duration::from_nanos(word(16));
        let pace = Pace { generation: word(8), interval, jitter, retry, is_hostile: hostile != 0 };
        let boot = u32::from_be_bytes(std::array::from_fn(|i| covered[4 + i]));
        Some(Self { boot, pace: (has_pace != 0).then_some(pace) })
    }
}

/// CRC-32 as in IEEE 802.3, bit by bit: 28 bytes need no table.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        let interval = Duration::from_millis(84_200);
        Memory { boot: 7, pace: Some(Pace { generation: 1 << 41, interval, jitter: 64, retry: 12, is_hostile: true }) }
    }

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn what_is_kept_comes_back() {
        assert_eq!(Memory::from_bytes(&memory().to_bytes()), Some(memory()));
        let blank = Memory { boot: 1, pace: None };
        assert_eq!(Memory::from_bytes(&blank.to_bytes()), Some(blank));
    }

    #[test]
    fn anything_changed_or_cut_off_is_none() {
        let bytes = memory().to_bytes();
        for bit in 0..MEMORY_BYTES * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Memory::from_bytes(&changed), None, "bit {bit}");
        }
        for length in 0..MEMORY_BYTES {
            assert_eq!(Memory::from_bytes(&bytes[..length]), None);
        }
    }

    #[test]
    fn the_boot_counter_rises_with_or_without_a_memory_or_a_clock() {
        let boot = |last, unix_seconds| Memory::for_next_boot(last, unix_seconds).boot;
        assert_eq!((boot(None, 0), boot(Some(memory()), 0)), (1, 8));
        assert_eq!((boot(None, 1_800_000_000), boot(Some(memory()), 1_800_000_000)), (1_800_000_000, 1_800_000_000));
        assert_eq!(Memory::for_next_boot(Some(memory()), 0).pace, memory().pace);
    }
}
