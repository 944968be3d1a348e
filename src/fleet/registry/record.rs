//! A device in a file: 80 bytes, in network byte order. What passes with the process is not written: times, keys (they are
//! derived), tests under way.

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::jitter::Pace;
use std::time::Duration;

use super::entry::{Entry, Stamp};
use super::replay::Window;
use crate::fleet::heartbeat::address::{ADDRESS_BYTES, Address};
use crate::keepalive::cohort::CohortIndex;

/// Bytes of one.
pub const RECORD_BYTES: usize = 80;
const HAS_OWN: u8 = 1;
const IS_HOSTILE: u8 = 2;
const HAS_SAID_HELLO: u8 = 4;

/// Writes a device.
pub fn write(entry: &Entry, to: &mut Vec<u8>) {
    let end = to.len() + RECORD_BYTES;
    let own = entry.own.map(Pace::from);
    let mut flags = if entry.hello_epoch > 0 { HAS_SAID_HELLO } else { 0 };
    flags |= own.map_or(0, |own| HAS_OWN | if own.is_hostile { IS_HOSTILE } else { 0 });
    let (boot, highest, seen) = entry.window.parts();
    to.extend_from_slice(&entry.device.0);
    to.extend_from_slice(&boot.to_be_bytes());
    to.extend_from_slice(&highest.to_be_bytes());
    to.extend_from_slice(&seen.to_be_bytes());
    to.extend_from_slice(&entry.address.to_bytes());
    to.extend_from_slice(&entry.key_id.to_be_bytes());
    to.extend_from_slice(&entry.cohort.0.to_be_bytes());
    to.extend_from_slice(&[flags, own.map_or(0, |own| own.jitter), own.map_or(0, |own| own.retry)]);
    to.extend_from_slice(&own.map_or(0, |own| own.generation).to_be_bytes());
    let interval_ms = own.map_or(0, |own| own.interval.as_millis());
    to.extend_from_slice(&u32::try_from(interval_ms).unwrap_or(u32::MAX).to_be_bytes());
    to.resize(end, 0);
}

/// Reads a device, as one that was not heard since. Its cohort is a number of the file's.
pub fn read(bytes: &[u8; RECORD_BYTES], now: Stamp) -> Entry {
    let window = Window::from_parts(u32_at(bytes, 16), u32_at(bytes, 20), u64_at(bytes, 24));
    let address = Address::from_bytes(at::<ADDRESS_BYTES>(bytes, 32));
    let key_id = u16::from_be_bytes(at(bytes, 50));
    let [flags, jitter, retry] = at(bytes, 56);
    let interval = Duration::from_millis(u32_at(bytes, 67).into());
    let pace = Pace { generation: u64_at(bytes, 59), interval, jitter, retry, is_hostile: flags & IS_HOSTILE != 0 };
    Entry {
        cohort: CohortIndex(u32_at(bytes, 52)),
        own: (flags & HAS_OWN != 0).then(|| pace.into()),
        hello_epoch: u32::from(flags & HAS_SAID_HELLO != 0),
        ..Entry::new(DeviceId(at(bytes, 0)), key_id, window, address, now)
    }
}

fn at<const N: usize>(bytes: &[u8; RECORD_BYTES], start: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[start + i])
}

fn u32_at(bytes: &[u8; RECORD_BYTES], start: usize) -> u32 {
    u32::from_be_bytes(at(bytes, start))
}

fn u64_at(bytes: &[u8; RECORD_BYTES], start: usize) -> u64 {
    u64::from_be_bytes(at(bytes, start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_survives_the_file() {
        let mut window = Window::new(3, 100);
        window.take(3, 104);
        let address = Address::from(std::net::SocketAddr::from(([192, 0, 2, 1], 4_711)));
        let pace = Pace {
            generation: 1 << 41,
            interval: Duration::from_millis(84_200),
            jitter: 64,
            retry: 12,
            is_hostile: true,
        };
        let entry = Entry {
            cohort: CohortIndex(9),
            own: Some(pace.into()),
            hello_epoch: 7,
            ..Entry::new(DeviceId([0xd; 16]), 5, window, address, Stamp::default())
        };
        let mut bytes = vec![0xff; 3];
        write(&entry, &mut bytes);
        let read = read(bytes[3..].try_into().expect("a whole record"), Stamp::default());
        assert_eq!((read.device, read.window, read.address), (entry.device, entry.window, entry.address));
        assert_eq!((read.key_id, read.cohort, read.own, read.hello_epoch), (5, CohortIndex(9), entry.own, 1));
        assert!(read.is_unheard && !read.is_present && read.key.is_none());
    }
}
