//! A recorded capture: frames in a file, so that whatever reads a kernel can read a run of last night, or of another
//! machine, without root.
//!
//! ```text
//! flyball monitor capture 1\n
//! {"key":"heartbeat","ports":[5783],"gap_ms":30000,"cohorts":["carrier=unknown,region=unknown"],"zero_unix_ms":…,"byte_order":"little"}\n
//! frame…
//! ```
//!
//! A frame is its kind (`u8`), three zeros, the length of its body (`u32`), the body, and a CRC-32 over all of these.
//! Bodies are the kernel's bytes as they are; so are the frame's own numbers in the recorder's byte order, and a machine
//! of the other one refuses the file. A capture of a run that was killed ends within a frame: everything before is read,
//! and the error says where it ends.

mod read;
mod write;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::read::Capture;
pub use self::write::{Blank, Recorder};
use super::event::Decoder;
use super::key::Key;
use super::mirror::{CohortCounts, Record, Troubles};
use super::prefixes::COHORTS_MAX;
use crate::time::WallTime;

/// The first line.
const MAGIC: &str = "flyball monitor capture 1\n";
/// Longest second line, in bytes: all cohorts with the longest names.
const HEADER_MAX_BYTES: u64 = 1 << 20;
/// Kind, zeros and length.
const HEAD_BYTES: usize = 8;
/// The checksum.
const TAIL_BYTES: usize = 4;
/// The cohort's number and zeros, before its counts.
const COUNTS_HEAD_BYTES: usize = 8;
/// Capacity, devices and evictions, before the devices by cohort.
const CENSUS_HEAD_BYTES: usize = 16;

/// Kinds of frames.
mod kind {
    pub(super) const RECORD: u8 = 1;
    pub(super) const COUNTS: u8 = 2;
    pub(super) const TROUBLES: u8 = 3;
    pub(super) const CENSUS: u8 = 4;
}

/// What the frames' numbers mean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// As the `--key` flag has it.
    pub key: String,
    /// Watched ports.
    pub ports: Vec<u16>,
    /// A gap from here on was told, in milliseconds.
    pub gap_ms: u64,
    /// Cohorts by number.
    pub cohorts: Vec<Arc<str>>,
    /// Wall time at the kernel's time 0, in milliseconds since the Unix epoch.
    pub zero_unix_ms: i64,
    /// `little` or `big`.
    pub byte_order: String,
}

/// Why a capture cannot be written or read. Offsets are in bytes from the file's first.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file cannot be made or written.
    #[error("{}: the capture cannot be written", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file cannot be opened or read.
    #[error("{}: the capture cannot be read, at byte {offset}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is another kind of file.
    #[error("{}: no capture: it does not begin with `{}`; record one with `flyball monitor --record F`", path.display(), MAGIC.trim_end())]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// The line after the first cannot be used.
    #[error("{}: byte {}: the capture's header {what}; record it again", path.display(), MAGIC.len())]
    Header {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// It ends within a frame.
    #[error("{}: byte {offset}: the capture ends within a frame: its recording was cut off; all before it was read", path.display())]
    Truncated {
        /// Which file.
        path: PathBuf,
        /// Where the frame begins.
        offset: u64,
    },
    /// A frame is none.
    #[error("{}: byte {offset}: the capture is corrupt: {what}; all before it was read: copy it again from where it was recorded", path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// Where the frame begins.
        offset: u64,
        /// What is wrong with it.
        what: String,
    },
}

impl Header {
    /// Of a recording that begins on this machine.
    pub fn new(key: Key, ports: &[u16], gap_ms: u64, cohorts: &[Arc<str>], zero: WallTime) -> Self {
        Self {
            key: key.to_string(),
            ports: ports.to_vec(),
            gap_ms,
            cohorts: cohorts.to_vec(),
            zero_unix_ms: zero.unix_ms(),
            byte_order: byte_order().to_owned(),
        }
    }

    /// How to read its records.
    ///
    /// # Errors
    /// What in it cannot be used.
    pub fn decoder(&self) -> Result<Decoder, String> {
        if self.byte_order != byte_order() {
            return Err(format!(
                "says {:?} for its byte order, and this machine's is {}",
                self.byte_order,
                byte_order()
            ));
        }
        if !(1..=COHORTS_MAX).contains(&self.cohorts.len()) {
            return Err(format!("names {} cohorts, and there are 1 to {COHORTS_MAX}", self.cohorts.len()));
        }
        let key: Key = self.key.parse().map_err(|error| format!("has a key that cannot be used: {error}"))?;
        Ok(Decoder::new(key, self.cohorts.clone(), WallTime::from_unix_ms(self.zero_unix_ms)))
    }
}

const fn byte_order() -> &'static str {
    if cfg!(target_endian = "little") { "little" } else { "big" }
}

/// Lengths that the body of a frame of this kind may have; `None` for an unknown kind.
fn body_bytes(kind: u8) -> Option<std::ops::RangeInclusive<usize>> {
    let exactly = |bytes| bytes..=bytes;
    match kind {
        kind::RECORD => Some(exactly(size_of::<Record>())),
        kind::COUNTS => Some(exactly(COUNTS_HEAD_BYTES + size_of::<CohortCounts>())),
        kind::TROUBLES => Some(exactly(size_of::<Troubles>())),
        kind::CENSUS => Some(CENSUS_HEAD_BYTES..=CENSUS_HEAD_BYTES + 4 * COHORTS_MAX),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
