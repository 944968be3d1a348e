//! What crosses between the kernel and us: `ebpf/monitor.h` in Rust.
//!
//! Both sides assert sizes, and this one offsets, so that neither changes alone. Everything above this file is plain
//! Rust, and runs from a recorded capture as it runs from a kernel.
//!
//! Times of records are CLOCK_MONOTONIC in nanoseconds, those of devices count from the kernel's own start. Addresses are IPv6 or IPv4 mapped into it, ports in host order.

// The one purpose of `unsafe` here is to tell `aya` that these types are plain bytes. `bytemuck` has checked it: its
// derives refuse padding, pointers and values that not every bit pattern makes.
#![allow(unsafe_code)]

use std::mem::{offset_of, size_of};

use bytemuck::{Pod, Zeroable};

/// Bytes of a device's id.
pub const ID_BYTES: usize = 16;
/// One bit a port.
pub const PORT_BITMAP_BYTES: usize = 8192;
/// The first octave of the histograms begins at two to this many nanoseconds.
pub const GAP_OCTAVE_FIRST: u32 = 30;
/// Octaves of the histograms.
pub const GAP_OCTAVES: u32 = 13;
/// Linear buckets an octave.
pub const GAP_SUBDIVISIONS: u32 = 10;
/// Buckets of a histogram: one below the first octave, one above the last.
pub const GAP_BUCKETS: usize = (GAP_OCTAVES * GAP_SUBDIVISIONS + 2) as usize;

/// A packet went out to the device since its binding was first seen.
pub const BINDING_REPLIED: u8 = 1;
/// And a packet passed, either way, later than a NAT takes to count the binding as a stream.
pub const BINDING_STREAM: u8 = 2;
/// Bits of [`Device::rebindings`] that are the binding's; the count is above them.
pub const REBINDINGS_SHIFT: u16 = 2;
/// The gap and the silence of a record are unknown: nobody watched in between.
pub const RECORD_BLIND: u8 = 4;
/// The device's boot counter changed.
pub const RECORD_REBOOTED: u8 = 8;

/// In [`Control::watching_since`]: the next packet says when.
pub const WATCHING_FROM_HERE: u64 = u64::MAX - 1;
/// In [`Control::watching_since`]: nobody watches.
pub const WATCHING_NOT: u64 = u64::MAX;

/// `enum record_kind`.
pub mod record_kind {
    /// A device that the map does not hold.
    pub const NEW: u8 = 1;
    /// A known device, another address.
    pub const REBINDING: u8 = 2;
    /// A known device, another connection id and another address.
    pub const MIGRATION: u8 = 3;
    /// A gap over the threshold, at the same address.
    pub const GAP: u8 = 4;
    /// Sequence numbers are missing.
    pub const JUMP: u8 = 5;
    /// A TCP connection is established, and nothing gets through.
    pub const TCP_UNREACHABLE: u8 = 6;
}

/// `enum key_kind`: where in a payload the device is named.
pub mod key_kind {
    /// Flyball's own datagram.
    pub const HEARTBEAT: u32 = 1;
    /// A fixed place.
    pub const OFFSET: u32 = 2;
    /// A QUIC connection id.
    pub const QUIC: u32 = 3;
    /// A connection id of DTLS 1.2.
    pub const DTLS12: u32 = 4;
    /// A connection id of DTLS 1.3.
    pub const DTLS13: u32 = 5;
}

/// `struct device_key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct DeviceKey {
    /// The id; shorter ones are filled with zeros.
    pub id: [u8; ID_BYTES],
}

/// `struct device`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Device {
    /// The kernel's, while it writes.
    pub lock: u32,
    /// Of the binding.
    pub port: u16,
    /// By number.
    pub cohort: u16,
    /// When the last packet came from the device.
    pub from_at: u64,
    /// When the last packet went to it; 0 = never.
    pub to_at: u64,
    /// Of the binding.
    pub address: [u8; 16],
    /// Of the last heartbeat; of QUIC with a prefix, a fingerprint of the whole connection id.
    pub sequence: u32,
    /// In units of 2^20 ns: the longest silence after which the binding was still the same.
    pub longest_survived: u32,
    /// In units of 2^20 ns, modulo 2^32: when this binding was first seen.
    pub bound_at: u32,
    /// How often, above [`REBINDINGS_SHIFT`]; `BINDING_*` below.
    pub rebindings: u16,
    /// Low byte of the boot counter.
    pub boot: u8,
    /// Of the prefixes that the cohort comes from.
    pub epoch: u8,
}

/// `struct tuple_key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct TupleKey {
    /// Of the device.
    pub address: [u8; 16],
    /// Of the device.
    pub port: u16,
    /// The watched port.
    pub local: u16,
}

/// `struct connection`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Connection {
    /// 0 = before we watched.
    pub established_at: u64,
    /// The first timeout that nothing answered; 0 = none.
    pub stalled_at: u64,
    /// Whether that was told.
    pub is_reported: u32,
    /// By number.
    pub cohort: u32,
}

/// `struct control`, which we write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Control {
    /// What was last seen before this has an unknown gap; or one of `WATCHING_*`.
    pub watching_since: u64,
    /// Of the prefixes: a device of another one asks for its cohort anew. Its low byte counts.
    pub epoch: u32,
    /// Zero.
    pub reserved: u32,
}

/// `struct cohort_counts`, of one CPU.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct CohortCounts {
    /// Packets from devices.
    pub from: u64,
    /// Packets to devices.
    pub to: u64,
    /// Devices that the map did not hold.
    pub new_devices: u64,
    /// Known devices at another address.
    pub rebindings: u64,
    /// Those with another connection id too.
    pub migrations: u64,
    /// Sequence numbers that never came.
    pub missed: u64,
    /// Sequence numbers that came again, or late.
    pub stale: u64,
    /// Sum of all gaps.
    pub gap_sum: u64,
    /// Gaps by bucket.
    pub gaps: [u64; GAP_BUCKETS],
    /// TCP connections that ended.
    pub connections: u64,
    /// TCP connections that were established, and nothing got through.
    pub unreachable: u64,
    /// Sum of the lives of those that ended.
    pub life_sum: u64,
    /// Lives by bucket.
    pub lives: [u64; GAP_BUCKETS],
}

/// `struct troubles`, of one CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Troubles {
    /// The ring was full.
    pub lost_records: u64,
    /// A device or its address did not fit a map.
    pub not_stored: u64,
    /// Packets from a watched port to an address that no device was seen at.
    pub unknown_egress: u64,
    /// Packets whose device was busy on another CPU for too long.
    pub contended: u64,
}

/// `struct record`: what the ring buffer carries, and a capture keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Record {
    /// When.
    pub at: u64,
    /// Since the packet before from this device.
    pub gap: u64,
    /// Since the last packet either way.
    pub silence: u64,
    /// Which device.
    pub device: [u8; ID_BYTES],
    /// Where it was.
    pub from: [u8; 16],
    /// Where it is.
    pub to: [u8; 16],
    /// Where it was.
    pub from_port: u16,
    /// Where it is.
    pub to_port: u16,
    /// By number.
    pub cohort: u16,
    /// One of [`record_kind`].
    pub kind: u8,
    /// `BINDING_*` as it was before the silence, and `RECORD_*`.
    pub flags: u8,
    /// Sequence numbers that never came.
    pub missed: u32,
    /// Index of the interface.
    pub interface: u32,
}

const _: () = {
    assert!(size_of::<DeviceKey>() == 16);
    assert!(size_of::<Device>() == 56);
    assert!(offset_of!(Device, from_at) == 8);
    assert!(offset_of!(Device, address) == 24);
    assert!(offset_of!(Device, sequence) == 40);
    assert!(offset_of!(Device, rebindings) == 52);
    assert!(offset_of!(Device, epoch) == 55);
    assert!(size_of::<TupleKey>() == 20);
    assert!(offset_of!(TupleKey, port) == 16);
    assert!(size_of::<Connection>() == 24);
    assert!(offset_of!(Connection, cohort) == 20);
    assert!(size_of::<Control>() == 16);
    assert!(offset_of!(Control, epoch) == 8);
    assert!(size_of::<CohortCounts>() == (11 + 2 * GAP_BUCKETS) * 8);
    assert!(offset_of!(CohortCounts, gaps) == 64);
    assert!(offset_of!(CohortCounts, lives) == 64 + 8 * GAP_BUCKETS + 24);
    assert!(size_of::<Troubles>() == 32);
    assert!(size_of::<Record>() == 88);
    assert!(offset_of!(Record, device) == 24);
    assert!(offset_of!(Record, from_port) == 72);
    assert!(offset_of!(Record, cohort) == 76);
    assert!(offset_of!(Record, flags) == 79);
    assert!(offset_of!(Record, interface) == 84);
};

// SAFETY: `bytemuck::Pod` is derived above: no padding, no pointers, every bit pattern valid.
unsafe impl aya::Pod for DeviceKey {}
// SAFETY: as above.
unsafe impl aya::Pod for Device {}
// SAFETY: as above.
unsafe impl aya::Pod for TupleKey {}
// SAFETY: as above.
unsafe impl aya::Pod for Connection {}
// SAFETY: as above.
unsafe impl aya::Pod for Control {}
// SAFETY: as above.
unsafe impl aya::Pod for CohortCounts {}
// SAFETY: as above.
unsafe impl aya::Pod for Troubles {}
