//! What is known and decided of a cohort, for people and metrics: complete, and only read.

use std::sync::Arc;
use std::time::Duration;

use flyball_sdk::device::jitter::Pace;
use serde::{Deserialize, Serialize};

use super::cohort::{CohortKey, Transport};
use super::observation::BindingClass;
use super::wave::audit::GateReport;
use super::wave::gate;
use super::wave::spec::{Spec, State};
use crate::time::WallTime;

/// One cohort.
#[derive(Debug, Clone, PartialEq)]
pub struct CohortReport {
    /// Which.
    pub key: CohortKey,
    /// The fleet that its devices are of; `None` where none takes them.
    pub fleet: Option<Arc<str>>,
    /// Of stream bindings, and of unreplied ones.
    pub lifetimes: [LifetimeReport; 2],
    /// In force.
    pub pace: Pace,
    /// Devices here.
    pub devices: u32,
    /// Devices with a pace of their own.
    pub devices_own: u32,
    /// Part of the packets that the way loses, as the devices' own short gaps tell it.
    pub loss_ratio: f64,
    /// What was seen.
    pub evidence: Evidence,
    /// The lifetime that the operator's pin says, where one is in force.
    pub pinned: Option<Duration>,
    /// In one word.
    pub verdict: Verdict,
    /// Why the pace is what it is.
    pub reason: Reason,
    /// The rollout under way, or the last one where it was taken back.
    pub rollout: Option<RolloutBrief>,
    /// What it would cost to know the lifetime to 1 %: tests still to be made.
    pub tests_to_be_surer: u32,
    /// When the pace was changed last.
    pub decided_at: WallTime,
}

/// A rollout in a few words.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutBrief {
    /// Its id.
    pub id: Arc<str>,
    /// What it releases.
    pub to: Duration,
    /// The wave, counted from 1, and how many there are.
    pub wave: (usize, usize),
    /// Where it is.
    pub state: State,
    /// Where it was taken back: when the same is tried again, if nothing else changes before.
    pub again_at: Option<WallTime>,
}

/// The groups of an AB test: values of the label `by`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupsReport {
    /// Which label.
    pub by: Arc<str>,
    /// Of plan A.
    pub a: Vec<Arc<str>>,
    /// Of plan B.
    pub b: Vec<Arc<str>>,
}

/// A rollout at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutReport {
    /// What is released, and how.
    pub spec: Spec,
    /// Whose file asks for it.
    pub fleet: Option<Arc<str>>,
    /// Of an AB test.
    pub groups: Option<GroupsReport>,
    /// How its devices come; `None` = an AB test asks everybody.
    pub transport: Option<Transport>,
    /// Where it is.
    pub state: State,
    /// Of the wave as it stands.
    pub verdict: gate::Verdict,
    /// The wave, counted from 1, and how many there are.
    pub wave: (usize, usize),
    /// When the first wave began, and this one.
    pub began: [WallTime; 2],
    /// The longest wait under the new interval.
    pub round: Duration,
    /// Devices here, those of them that are to have the new interval, and those that confirmed it.
    pub devices: [u32; 3],
    /// What each gate shows.
    pub gates: Vec<GateReport>,
}

/// How long one class of bindings lives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LifetimeReport {
    /// Which.
    pub class: BindingClass,
    /// Quantiles of the lifetime of a device of this cohort: 1 %, 50 %, 99 %.
    pub quantiles: [Duration; 3],
    /// The lowest lifetime that a fifth of the cohort has lies above this, at `confidence`,
    pub lower_bound: Duration,
    /// and below this.
    pub upper_bound: Duration,
    /// 0 to 1.
    pub confidence: f64,
}

/// Tests and silences of a cohort, since the start or the last change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evidence {
    /// Bindings that outlived a silence.
    pub survived: u64,
    /// That did not.
    pub expired: u64,
    /// Tests that say nothing: the control was lost too.
    pub lost: u64,
}

/// A cohort's state in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Not known well enough to leave the prior's floor.
    Learning,
    /// Known.
    Learnt,
    /// The operator's word counts.
    Pinned,
    /// The NAT forgets sooner than the floor can serve.
    Hostile,
}

/// Why a pace is what it is: log field, metric label and the tests' assertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Nothing was seen yet: the prior's low quantile, or the floor.
    Prior,
    /// Tests narrow the bounds down: until then the floor.
    Searching,
    /// The bound is known: each device is raised by itself once it outlived it, the cohort's order follows when most have.
    Proving,
    /// The lifetime's lower bound.
    LowerBound,
    /// The floor: the bound asks for less.
    Floor,
    /// The ceiling: the bound would allow more.
    Ceiling,
    /// The operator's pin.
    Pin,
    /// The lifetime fell: the new bound at once.
    Shorter,
    /// The bound would allow a longer interval, by less than is worth a change.
    Hysteresis,
    /// The bound would allow a longer interval, which waits for its release.
    AwaitsRelease,
    /// An AB test of the fleet file has it.
    AbTest,
    /// A longer interval is being released in waves.
    Rollout,
    /// A longer interval was released and taken back.
    RolledBack,
    /// The floor cannot serve this NAT.
    Hostile,
    /// All cohorts show one value: suspect the load balancer in front of the server.
    OwnLoadBalancer,
}

impl Verdict {
    /// The name in the API and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Learning => "learning",
            Self::Learnt => "learnt",
            Self::Pinned => "pinned",
            Self::Hostile => "hostile",
        }
    }
}

impl Reason {
    /// The name in the API, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prior => "prior",
            Self::Searching => "searching",
            Self::Proving => "proving",
            Self::LowerBound => "lower_bound",
            Self::Floor => "floor",
            Self::Ceiling => "ceiling",
            Self::Pin => "pin",
            Self::Shorter => "shorter",
            Self::Hysteresis => "hysteresis",
            Self::AwaitsRelease => "awaits_release",
            Self::AbTest => "ab_test",
            Self::Rollout => "rollout",
            Self::RolledBack => "rolled_back",
            Self::Hostile => "hostile",
            Self::OwnLoadBalancer => "own_load_balancer",
        }
    }
}

impl CohortReport {
    /// The lifetime of stream bindings, which the pace is made for.
    pub const fn stream(&self) -> &LifetimeReport {
        &self.lifetimes[0]
    }
}
