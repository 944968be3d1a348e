//! What is read of the kernel, one piece at a time: the one door into everything above. A kernel makes frames, and so
//! does a recorded capture; nobody behind the door can tell.

use super::mirror::{CohortCounts, Record, Troubles};

/// One piece of what the kernel saw.
#[derive(Debug, Clone)]
pub enum Frame {
    /// Something rare.
    Record(Record),
    /// Everything counted for one cohort since the program was loaded, all CPUs together.
    Counts {
        /// By number.
        cohort: u16,
        /// The sums.
        counts: Box<CohortCounts>,
    },
    /// The monitor's own troubles since the program was loaded, all CPUs together.
    Troubles(Troubles),
    /// What the device map holds.
    Census(Census),
}

/// One look through the device map.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Census {
    /// Devices that it can hold.
    pub capacity: u32,
    /// Devices that it holds.
    pub devices: u32,
    /// Devices that made room for others since the program was loaded.
    pub evicted: u64,
    /// By cohort number: devices that it holds.
    pub by_cohort: Vec<u32>,
}
