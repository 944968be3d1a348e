//! Who is in the device map. The kernel evicts without a word; the program counts each device that it inserts, so what
//! was inserted and is not there any more was evicted.

use std::io;
use std::os::fd::AsFd as _;

use aya::maps::{HashMap, Map, MapData, MapError};
use bytemuck::Zeroable as _;

use super::frame::Census;
use super::mirror::{Device, DeviceKey};
use super::sys::{Position, lookup_batch};

/// Entries a call: 300 KB of buffers, and about a millisecond in the kernel.
const CHUNK: usize = 4_096;
/// What hashes to one place comes whole or not at all; more than this there is a broken hash.
const CHUNK_MAX: usize = 1 << 20;

/// The device map, to be counted.
#[derive(Debug)]
pub(super) struct Devices(MapData);

impl Devices {
    pub(super) fn new(map: Map) -> Result<Self, MapError> {
        // Checks its type, and the sizes of its keys and values, which is what `lookup_batch` asks for.
        HashMap::<_, DeviceKey, Device>::try_from(&map)?;
        let (Map::LruHashMap(map) | Map::HashMap(map)) = map else { unreachable!("these are the types of a HashMap") };
        Ok(Self(map))
    }

    /// Counts what the map holds. `inserted` was read before, so that a device that comes meanwhile hides an eviction
    /// until the next census, and none is made up. A few milliseconds for 100,000 devices: not for an async worker.
    pub(super) fn count(&self, inserted: u64, cohorts: usize) -> io::Result<Census> {
        let mut by_cohort = vec![0; cohorts];
        let devices = self.for_each(|device| {
            // As in the program: a number beyond the list counts as unknown.
            let at = usize::from(device.cohort);
            by_cohort[if at < cohorts { at } else { 0 }] += 1;
        })?;
        let capacity = self.0.info().map_or(0, |info| info.max_entries());
        let evicted = inserted.saturating_sub(u64::from(devices));
        Ok(Census { capacity, devices, evicted, by_cohort })
    }

    fn for_each(&self, mut visit: impl FnMut(&Device)) -> io::Result<u32> {
        let (mut chunk, mut at, mut devices): (_, Option<Position>, u32) = (CHUNK, None, 0);
        let (mut keys, mut values) = (vec![DeviceKey::zeroed(); chunk], vec![Device::zeroed(); chunk]);
        loop {
            let step = match lookup_batch(self.0.fd().as_fd(), at, &mut keys, &mut values) {
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && chunk < CHUNK_MAX => {
                    chunk *= 2;
                    keys.resize(chunk, DeviceKey::zeroed());
                    values.resize(chunk, Device::zeroed());
                    continue;
                }
                step => step?,
            };
            values[..step.entries].iter().for_each(&mut visit);
            devices = devices.saturating_add(u32::try_from(step.entries).unwrap_or(u32::MAX));
            match step.next {
                Some(next) => at = Some(next),
                None => return Ok(devices),
            }
        }
    }
}
