//! What the edges saw, each with its time: the only way in.

use std::time::Duration;

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::probe::ProbeOutcome;

use super::cohort::CohortIndex;
use crate::time::MonoTime;

/// Which timeout of a NAT a binding is under (RFC 4787 knows one; Linux, and what is built on it, two).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BindingClass {
    /// Nothing has passed later than two seconds after its first packet.
    Unreplied,
    /// A packet passed later than that, after a reply.
    Stream,
}

/// One thing that was seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// When it ended.
    pub at: MonoTime,
    /// Whose.
    pub cohort: CohortIndex,
    /// What.
    pub kind: ObservationKind,
}

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ObservationKind {
    /// A device is here: it registered, came back after an absence, or changed its cohort. Told once each.
    Present {
        /// Who.
        device: DeviceId,
        /// Whether it answers probe orders. Devices of other makers may not.
        can_probe: bool,
        /// Its edge tells it a pace of its own, which an earlier process may have ordered.
        has_own: bool,
    },
    /// A device was not heard of for longer than its pace and all retries: off, out of coverage, or gone.
    Absent {
        /// Who.
        device: DeviceId,
    },
    /// A silence on the binding that carries messages ended with a packet from the device.
    Silence(Silence),
    /// A test on a side flow ended.
    Probe(Probe),
    /// Datagrams of the cohort in short gaps, where no NAT forgets: what the way loses, in both directions together.
    Loss {
        /// Heartbeats that were sent for the first time, or again.
        sent: u32,
        /// Those that had to be sent again, because nothing answered.
        unanswered: u32,
    },
    /// A beat of a device whose cohort has a rollout, or one that did not come.
    Beat(Beat),
    /// The server sent to a device unasked, and the device confirmed or did not.
    Push {
        /// To whom.
        device: DeviceId,
        /// Since the last packet either way.
        silence: Duration,
        /// Whether the device confirmed.
        is_confirmed: bool,
    },
}

/// What a device's beat shows of the interval that it has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Beat {
    /// Who.
    pub device: DeviceId,
    /// It came in time, from where the device was thought to be, and what it was answered came back.
    pub is_confirmed: bool,
    /// The gap before it, over the longest wait that was intended; `None` where it has not come.
    pub gap_ratio: Option<f32>,
    /// Whether what was sent to the device just before had passed, where something was.
    pub is_reached: Option<bool>,
    /// The device says that it has the pace which it was told last.
    pub has_adopted: bool,
}

/// A silence of the message-bearing binding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Silence {
    /// Who.
    pub device: DeviceId,
    /// Of the binding.
    pub class: BindingClass,
    /// Since the last packet either way.
    pub silence: Duration,
    /// Since the last packet from the device: what was sent to it in between may not have passed, so that a lost
    /// binding may have lived anywhere up to this.
    pub gap: Duration,
    /// The packet came from another public port or address. Without it the binding lived, *or* the NAT gave the same
    /// port again (it preserves ports): only a NAT known to draw new ports makes it a survival.
    pub has_moved: bool,
    /// Only the port is another; where the address is too, the device may have changed networks.
    pub is_same_address: bool,
    /// The device restarted in it, or packets of it are missing: the silence may have been shorter.
    pub is_doubtful: bool,
}

/// A test on a side flow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Probe {
    /// Who made it.
    pub device: DeviceId,
    /// Of the side flow's binding.
    pub class: BindingClass,
    /// The silence tested.
    pub silence: Duration,
    /// How it ended.
    pub outcome: ProbeOutcome,
    /// Tries whose control came back. With `n` controls and nothing passed, a living binding looks expired only where
    /// `n` packets were lost on one flow and none on the other.
    pub controls: u8,
    /// Whether the side flow came from the same public port after the silence; `None` where it did not speak again.
    pub is_port_kept: Option<bool>,
}
