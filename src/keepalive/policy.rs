//! What an operator asks of a fleet: which devices, how they are put together, and within which bounds they may be
//! paced. Validated: made from a fleet file by the room `policy`.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::alarm::AlarmPolicy;
use super::cohort::{CohortKey, Labels, Transport};
use super::wave::ab::Plan;
use super::wave::gate::Gate;
use super::wave::metric::MetricSpec;
use super::wave::plan::WavePolicy;
use crate::sampling::pattern::Pattern;
use crate::time::WallTime;

/// All fleets in force, in the order of their names: the first whose labels match takes a device.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fleets {
    /// Sorted by name.
    pub fleets: Vec<Arc<Fleet>>,
}

/// One fleet file.
#[derive(Debug, Clone, PartialEq)]
pub struct Fleet {
    /// Its name.
    pub name: Arc<str>,
    /// Labels that a device must have, and what they must be like. Empty = all devices.
    pub matches: Vec<(Arc<str>, Pattern)>,
    /// Labels that make a cohort.
    pub cohort_by: Vec<Arc<str>>,
    /// Bounds of the pace.
    pub interval: IntervalBounds,
    /// What learning may cost.
    pub probes: ProbeBudget,
    /// Lifetimes that somebody knows better.
    pub pins: Vec<Pin>,
    /// Whether bindings are lifted out of the timeout for unreplied ones by a second ack.
    pub second_ack: SecondAck,
    /// When a cohort of it is an alarm; `None` = never.
    pub alarm: Option<AlarmPolicy>,
    /// Whether a longer interval goes out as soon as it is known, to all devices; else nothing longer goes out.
    pub is_longer_released: bool,
    /// How a longer interval is released in waves; `None` = each device has it as soon as it has shown that it bears it.
    pub waves: Option<Waves>,
    /// Plans that are compared over groups of cohorts.
    pub ab_tests: Vec<AbPlans>,
}

/// Two plans beside each other, as a fleet file asks for them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AbPlans {
    /// Unique in the file.
    pub name: Arc<str>,
    /// The label whose values are the groups: one of `cohort_by`.
    pub by: Arc<str>,
    /// A, and B.
    pub plans: [Plan; 2],
    /// Each wave is held for so many rounds at least.
    pub hold_intervals: u32,
    /// And so long at most.
    pub max_hold: Duration,
    /// What is asked of devices.
    pub gates: WaveGates,
    /// What the operator asks for: of B as the treated, of A as the control.
    #[serde(default)]
    pub queries: Vec<WaveQuery>,
}

/// How a longer interval goes out, and what it is judged by.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Waves {
    /// Who has it when.
    pub policy: WavePolicy,
    /// What is asked of devices.
    pub gates: WaveGates,
    /// What the operator asks for.
    pub queries: Vec<WaveQuery>,
}

/// Gates of devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaveGates(pub Vec<Gate>);

/// A query of the operator's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WaveQuery {
    /// What is judged.
    pub spec: MetricSpec,
    /// What is asked: one value.
    pub treated: Arc<str>,
    /// The same of the control, where it is compared.
    pub control: Option<Arc<str>>,
}

/// Within which bounds a device is paced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IntervalBounds {
    /// The floor: RFC 8085, section 3.5, asks for at least 15 s.
    pub min: Duration,
    /// The ceiling, jitter included.
    pub max: Duration,
    /// Part of the lifetime's lower bound that is the base of the interval.
    pub safety: f64,
    /// Part of the base that a device adds at random at most.
    pub jitter: f64,
}

/// What learning may cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProbeBudget {
    /// Part of a cohort's devices that test at the same time, while the cohort is learnt.
    pub devices_learning: f64,
    /// The same, while it is watched for a longer lifetime.
    pub devices_watching: f64,
    /// Side flows of one device at a time, 1 to 4. 0 = no probes at all.
    pub flows: u8,
    /// Packets that one device sends for probes, a day.
    pub packets_per_day: u32,
}

/// Whether, and from which silence on, a heartbeat is acked twice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SecondAck {
    /// After silences longer than this; where every device has shown that its unreplied bindings outlive longer ones, only
    /// after those.
    After(Duration),
    /// Never.
    Off,
}

/// A lifetime that the operator knows.
#[derive(Debug, Clone, PartialEq)]
pub struct Pin {
    /// Labels that a cohort must have.
    pub cohort: Labels,
    /// The NAT's timeout.
    pub nat_timeout: Duration,
    /// Until when it counts.
    pub until: Option<WallTime>,
    /// Why.
    pub reason: Arc<str>,
}

impl Default for IntervalBounds {
    fn default() -> Self {
        Self { min: Duration::from_secs(15), max: Duration::from_secs(30 * 60), safety: 0.75, jitter: 0.25 }
    }
}

impl Default for WaveGates {
    fn default() -> Self {
        Self(Gate::ALL.to_vec())
    }
}

impl Default for ProbeBudget {
    fn default() -> Self {
        Self { devices_learning: 1.0, devices_watching: 0.02, flows: 4, packets_per_day: 200 }
    }
}

impl Fleet {
    /// A fleet of all devices, by carrier and region, with every default.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            matches: Vec::new(),
            cohort_by: vec!["carrier".into(), "region".into()],
            interval: IntervalBounds::default(),
            probes: ProbeBudget::default(),
            pins: Vec::new(),
            second_ack: SecondAck::After(Duration::from_secs(15)),
            alarm: Some(AlarmPolicy::default()),
            is_longer_released: true,
            waves: None,
            ab_tests: Vec::new(),
        }
    }

    /// Whether a device with these labels is of this fleet.
    pub fn is_match(&self, labels: &Labels) -> bool {
        self.matches.iter().all(|(key, pattern)| labels.get(key).is_some_and(|value| pattern.matches(value)))
    }
}

impl Fleets {
    /// The fleet that a device with these labels is of, and its cohort's name there. A device that no fleet takes is of
    /// none, and of the cohort of unknown devices.
    pub fn cohort_of(&self, labels: &Labels, transport: Transport) -> (Option<&Arc<Fleet>>, CohortKey) {
        let fleet = self.fleets.iter().find(|fleet| fleet.is_match(labels));
        let by = fleet.map_or(&[][..], |fleet| &fleet.cohort_by);
        (fleet, CohortKey::of(labels, by, transport))
    }
}
