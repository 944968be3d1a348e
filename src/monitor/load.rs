//! The object, with this run's constants and sizes, loaded into the kernel.

use std::time::Duration;

use aya::{Btf, Ebpf, EbpfError, EbpfLoader};

use super::clock;
use super::mirror::PORT_BITMAP_BYTES;
use super::prefixes::COHORTS_MAX;
use super::settings::Settings;

/// Built from `ebpf/monitor.bpf.c`.
pub static OBJECT: &[u8] = {
    /// ELF is read in words.
    #[repr(C, align(8))]
    struct Aligned<T: ?Sized>(T);
    static BYTES: &Aligned<[u8]> = &Aligned(*include_bytes!("../../ebpf/monitor.bpf.o"));
    &BYTES.0
};

/// Bytes of the ring buffer: 11,000 records of a burst before the reader wakes.
const RING_BYTES: u32 = 1 << 20;
/// A rebinding leaves its old address behind only where the kernel lost a race; some room for those.
const TUPLES_PER_DEVICE: (u32, u32) = (5, 4);
/// Devices whose cohort user space may set one by one.
const ASSIGNMENTS: u32 = 65_536;
/// TCP connections that are kept.
const CONNECTIONS: u32 = 65_536;
/// A map of prefixes has room for reloads that bring more.
const PREFIXES_MIN: u32 = 65_536;

/// The object in the kernel; its programs are not loaded yet.
///
/// # Errors
/// The kernel refuses a map or a relocation.
pub fn open(settings: &Settings, btf: Option<&Btf>) -> Result<Ebpf, EbpfError> {
    let (key, ports) = (settings.key.globals(), port_bitmap(&settings.ports));
    let (gap, tick) = (nanoseconds(settings.gap), clock::tick());
    let (more, of) = TUPLES_PER_DEVICE;
    EbpfLoader::new()
        .btf(btf)
        .override_global("PORTS", &ports[..], true)
        .override_global("KEY_KIND", &key.kind, true)
        .override_global("KEY_OFFSET_AT", &key.offset, true)
        .override_global("KEY_LENGTH", &key.length, true)
        .override_global("KEY_PREFIX", &key.prefix, true)
        .override_global("GAP_THRESHOLD", &gap, true)
        .override_global("TICK", &tick, true)
        .map_max_entries("devices", settings.devices)
        .map_max_entries("tuples", (settings.devices / of).saturating_add(1).saturating_mul(more))
        .map_max_entries("cohorts", COHORTS_MAX as u32)
        .map_max_entries("prefixes", PREFIXES_MIN.max(2 * settings.prefixes.rows.len() as u32))
        .map_max_entries("assignments", ASSIGNMENTS)
        .map_max_entries("connections", CONNECTIONS)
        .map_max_entries("records", RING_BYTES)
        .load(OBJECT)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// One bit a port, lowest first.
fn port_bitmap(ports: &[u16]) -> Box<[u8; PORT_BITMAP_BYTES]> {
    let mut bitmap = Box::new([0; PORT_BITMAP_BYTES]);
    for port in ports {
        bitmap[usize::from(port >> 3)] |= 1 << (port & 7);
    }
    bitmap
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_has_its_bit() {
        let bitmap = port_bitmap(&[0, 9, 65_535]);
        assert_eq!((bitmap[0], bitmap[1], bitmap[8191]), (1, 2, 128));
        assert_eq!(bitmap.iter().map(|byte| byte.count_ones()).sum::<u32>(), 3);
    }
}
