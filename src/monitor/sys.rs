//! Where the compiler cannot see that it is safe: the one call to the kernel that `aya` has not, many entries of a map at
//! once, and the promise that a ring's descriptor stays its own.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use aya::maps::{MapData, RingBuf};
use bytemuck::Pod;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The ring, to be waited on. Inside a runtime.
pub(super) fn readable(ring: RingBuf<MapData>) -> io::Result<AsyncFd<RingBuf<MapData>>> {
    // SAFETY: the ring owns its map, and the map its descriptor, which nobody replaces or closes before it is dropped.
    unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }.map_err(io::Error::from)
}

/// `enum bpf_cmd`
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;

/// `union bpf_attr`, as this command reads it.
#[repr(C)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Where a walk over a hash map is: a number of the kernel's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position(u32);

/// One step of a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// How many entries came.
    pub(super) entries: usize,
    /// Where to go on; `None` at the end.
    pub(super) next: Option<Position>,
}

/// Fills `keys` and `values`, which are of one length, from a hash map whose entries are of these types. An entry that
/// comes or goes meanwhile is seen or not. ENOSPC: there is no room for what hashes to one place.
pub(super) fn lookup_batch<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    from: Option<Position>,
    keys: &mut [K],
    values: &mut [V],
) -> io::Result<Step> {
    assert_eq!(keys.len(), values.len(), "the kernel is told one length");
    let (start, mut end) = (from.map_or(0, |position| position.0), 0u32);
    let mut batch = Batch {
        in_batch: from.map_or(0, |_| &raw const start as u64),
        out_batch: &raw mut end as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: u32::try_from(keys.len()).unwrap_or(u32::MAX),
        map_fd: map.as_raw_fd().cast_unsigned(),
        elem_flags: 0,
        flags: 0,
    };
    // SAFETY: `batch` is laid out as the kernel reads it. The kernel writes at most `count` keys and values, each of
    // the map's own sizes, which the caller's types have; both buffers are that long, are borrowed for the call, and may
    // hold any bits (`Pod`). `start` and `end` outlive it.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_LOOKUP_BATCH, &raw mut batch, size_of::<Batch>()) };
    let entries = batch.count as usize;
    if answer == 0 {
        return Ok(Step { entries, next: Some(Position(end)) });
    }
    match io::Error::last_os_error() {
        // The end; the last entries may have come with it.
        error if error.raw_os_error() == Some(libc::ENOENT) => Ok(Step { entries, next: None }),
        error => Err(error),
    }
}
