//! What a run of a fleet leaves behind.

use super::metrics::FleetScore;

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetRun {
    /// What it was worth.
    pub score: FleetScore,
    /// Stretches of equal length, from the start of the run.
    pub stretches: Vec<Stretch>,
}

/// One stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Stretch {
    /// It ends so many seconds after the start.
    pub until: f64,
    /// Share of the devices' time that was covered.
    pub coverage: f64,
    /// Packets a device and day, probes included.
    pub heartbeats: f64,
    /// Packets for probes a device and day.
    pub probe_packets: f64,
    /// Second acks a device and day.
    pub second_acks: f64,
    /// Mean interval of the devices that are there, over what their own NATs would bear.
    pub pace_ratio: f64,
    /// Devices that have reached the pace that their cohort's NATs bear, as a share.
    pub fitting: f64,
}
