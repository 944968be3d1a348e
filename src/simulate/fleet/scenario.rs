//! A scenario of a fleet as the simulator uses it: carriers and their NATs, what the way loses, what happens to devices,
//! the policy under test, and what must hold. Complete and valid.

use std::sync::Arc;
use std::time::Duration;

use crate::keepalive::policy::Fleet;
use crate::simulate::scenario::Check;

/// One fleet, one policy, one verdict.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetScenario {
    /// Its name: the file's, without folder and ending.
    pub name: Arc<str>,
    /// Which law decides unless the caller asks for another.
    pub law: FleetLaw,
    /// What the law is given.
    pub policy: Fleet,
    /// Simulated time in all.
    pub duration: Duration,
    /// Time at the start that the metrics of a fleet that has learnt do not count.
    pub warmup: Duration,
    /// What `adapt_seconds` is counted from: the first fault.
    pub event_at: Duration,
    /// Seeds of which the medians are judged.
    pub seeds: u32,
    /// Time between two decisions.
    pub tick: Duration,
    /// Devices start within this, each at a moment of its own.
    pub start_within: Duration,
    /// Who is there.
    pub carriers: Carriers,
    /// What the way loses, in each direction.
    pub loss: LossModel,
    /// Time without radio coverage.
    pub holes: Option<Absences>,
    /// Whether a device notices that coverage is back, and beats at once.
    pub are_holes_noticed: bool,
    /// Time without power.
    pub power_off: Option<Absences>,
    /// Each carrier halves or doubles its timeouts once in this time, on average.
    pub changes_every: Option<Duration>,
    /// Part of the devices that answer no probe orders.
    pub deaf: f64,
    /// What goes wrong.
    pub faults: Vec<FleetFault>,
    /// What must hold.
    pub checks: Vec<Check>,
}

/// The laws that can be run on a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FleetLaw {
    /// Flyball's own.
    Adaptive,
    /// One interval for all, without jitter.
    Fixed {
        /// Seconds between two beats.
        seconds: u32,
        /// Whether heartbeats are acked twice.
        has_second_acks: bool,
    },
    /// Knows the NAT of each device at each moment.
    Oracle,
}

/// Carriers that are written, and carriers that are drawn. One carrier is one cohort.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Carriers {
    /// Written ones.
    pub named: Vec<CarrierPlan>,
    /// Drawn ones; `None` = none.
    pub drawn: Option<DrawnCarriers>,
}

/// A carrier of which everything is told.
#[derive(Debug, Clone, PartialEq)]
pub struct CarrierPlan {
    /// Its name: the label `carrier`.
    pub name: Arc<str>,
    /// The label `region`.
    pub region: Arc<str>,
    /// Its devices.
    pub devices: u32,
    /// Its devices start this long after the others.
    pub joins_at: Duration,
    /// Its NATs; shares sum to 1.
    pub boxes: Vec<BoxPlan>,
}

/// A NAT of which everything is told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoxPlan {
    /// Part of the carrier's devices.
    pub share: f64,
    /// What it does.
    pub nat: Nat,
}

/// Carriers drawn from a mixture.
#[derive(Debug, Clone, PartialEq)]
pub struct DrawnCarriers {
    /// Devices of all of them together, spread evenly.
    pub devices: u32,
    /// How many carriers.
    pub count: u32,
    /// What their NATs are like.
    pub mixture: Vec<MixtureRow>,
    /// Part of the carriers with two boxes (60:40), and with three (50:30:20).
    pub two_boxes: f64,
    /// See `two_boxes`.
    pub three_boxes: f64,
    /// Part of the boxes with a timer wheel.
    pub wheels: f64,
    /// The granularity of those wheels, as part of the timeout.
    pub wheel_part: f64,
}

/// One kind of NAT.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MixtureRow {
    /// How many there are, in proportion to the others'.
    pub weight: f64,
    /// Timeout of stream bindings.
    pub timeout: Duration,
    /// A box's timeout is within this of it.
    pub half_width: Duration,
    /// Timeout of unreplied bindings, where it is another.
    pub unreplied: Duration,
    /// Part of the boxes that have another one.
    pub unreplied_share: f64,
    /// Part of the boxes that give the same public port again.
    pub ports_kept: f64,
}

/// What a NAT does with a binding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nat {
    /// Timeout of stream bindings.
    pub stream: Duration,
    /// Timeout of unreplied ones; the same where the NAT knows one timeout.
    pub unreplied: Duration,
    /// Granularity of its timer wheel; zero = exact.
    pub granularity: Duration,
    /// Whether a binding made anew has the same public port.
    pub is_port_kept: bool,
    /// Whether packets to the device keep a binding too (RFC 4787, REQ-6, leaves it open).
    pub is_inbound_refreshing: bool,
}

/// What a direction of the way loses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LossModel {
    /// Each packet by itself.
    Plain(f64),
    /// A good state and a bad one, which change from packet to packet.
    GilbertElliott {
        /// From good to bad.
        to_bad: f64,
        /// From bad to good.
        to_good: f64,
        /// Lost while bad.
        lost_bad: f64,
        /// Lost while good.
        lost_good: f64,
    },
}

/// How often a device is away, and for how long: exponential gaps, uniform lengths.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Absences {
    /// Mean time between the beginnings of two.
    pub every: Duration,
    /// The shortest.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
}

/// Something that happens.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetFault {
    /// When.
    pub at: Duration,
    /// To which carrier; `None` = to all.
    pub carrier: Option<Arc<str>>,
    /// What.
    pub kind: FleetFaultKind,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FleetFaultKind {
    /// Timeouts are multiplied.
    TimeoutTimes(f64),
    /// NATs forget every binding.
    NatReboot,
    /// The server answers nothing for this long, and begins again with what it had stored.
    ServerRestart(Duration),
    /// The way loses this part of the packets in each direction from now on.
    Loss(f64),
}

impl Nat {
    /// One timeout, exact, with ports kept.
    pub const fn exact(timeout: Duration) -> Self {
        Self {
            stream: timeout,
            unreplied: timeout,
            granularity: Duration::ZERO,
            is_port_kept: true,
            is_inbound_refreshing: true,
        }
    }
}

impl FleetLaw {
    /// What laws there are, for who named another.
    pub const KNOWN: &str = "known are adaptive, oracle, fixed-180s and fixed-180s-one-ack (any number of seconds)";

    /// The law of this name: `adaptive`, `oracle`, `fixed-180s`, `fixed-180s-one-ack`.
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "adaptive" => return Some(Self::Adaptive),
            "oracle" => return Some(Self::Oracle),
            _ => {}
        }
        let rest = name.strip_prefix("fixed-")?;
        let (rest, has_second_acks) = rest.strip_suffix("-one-ack").map_or((rest, true), |rest| (rest, false));
        let seconds = rest.strip_suffix('s')?.parse().ok().filter(|seconds| (1..=86_400).contains(seconds))?;
        Some(Self::Fixed { seconds, has_second_acks })
    }

    /// The name in files and on the command line.
    pub fn name(self) -> String {
        match self {
            Self::Adaptive => "adaptive".to_owned(),
            Self::Oracle => "oracle".to_owned(),
            Self::Fixed { seconds, has_second_acks: true } => format!("fixed-{seconds}s"),
            Self::Fixed { seconds, has_second_acks: false } => format!("fixed-{seconds}s-one-ack"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_law_is_known_by_its_name() {
        let fixed = |seconds, has_second_acks| FleetLaw::Fixed { seconds, has_second_acks };
        for law in [FleetLaw::Adaptive, FleetLaw::Oracle, fixed(180, true), fixed(25, false)] {
            assert_eq!(FleetLaw::of(&law.name()), Some(law));
        }
        for name in ["", "fixed", "fixed-s", "fixed-0s", "fixed-180", "fixed-99999s", "jaeger"] {
            assert_eq!(FleetLaw::of(name), None, "{name}");
        }
    }
}
