//! A rollout as `/api/v1/rollouts` writes it and `flyball report` reads it: one shape for both ends, so that neither can
//! drift from the other. Times are RFC 3339 with milliseconds, in UTC; durations are seconds; ratios are 0 to 1.

use serde::{Deserialize, Serialize};

use crate::keepalive::wave::gate::Verdict;
use crate::keepalive::wave::spec::State;

/// A rollout. In the list of all, `history` and `series` are left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutJson {
    /// Unique; what commands and the report name.
    pub id: String,
    /// How devices were put into the two arms.
    pub kind: KindJson,
    /// Whose file asks for it.
    pub fleet: Option<String>,
    /// The cohort's name; of an AB test, the label and its values.
    pub cohort: String,
    /// `udp` or `tcp`; of an AB test over both, `any`.
    pub transport: String,
    /// Where it is.
    pub state: State,
    /// Of the wave as it stands.
    pub verdict: Verdict,
    /// Counted from 1.
    pub wave: usize,
    /// How many there are: fewer than in the fleet file where the cohort is small.
    pub waves: usize,
    /// Of the cohort's devices, by wave.
    pub percent: Vec<u8>,
    /// The interval of the control, without jitter.
    pub from_s: f64,
    /// The interval of the treated, without jitter.
    pub to_s: f64,
    /// When its first wave began.
    pub started_at: String,
    /// When this wave did.
    pub wave_began_at: String,
    /// When it was released or rolled back.
    pub ended_at: Option<String>,
    /// The longest wait under the new interval: a device tells once in each.
    pub round_s: f64,
    /// Of the cohort, here now.
    pub devices: u64,
    /// Of these, those that are to have the new interval now.
    pub devices_new: u64,
    /// Of these, those that confirmed it.
    pub devices_adopted: u64,
    /// Part of the beats that was missed before it began.
    pub usual_failures: f64,
    /// What each gate shows of this wave.
    pub gates: Vec<GateJson>,
    /// The groups of an AB test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<GroupsJson>,
    /// Everything that happened, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<StepJson>,
    /// How the evidence grew, oldest first, thinned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub series: Vec<PointJson>,
}

/// How devices were put into the two arms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KindJson {
    /// By a hash of the device: waves of one cohort.
    Waves,
    /// By a label of theirs: two plans beside each other.
    Ab,
}

/// The groups of an AB test: values of the label `by`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupsJson {
    /// Which label.
    pub by: String,
    /// Of the control.
    pub a: Vec<String>,
    /// Of the treated.
    pub b: Vec<String>,
}

/// What a gate shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateJson {
    /// `online_status_consistency_rate`, `p99_heartbeat_gap_ms`, `coverage`, or a query's own.
    pub name: String,
    /// By itself.
    pub verdict: Verdict,
    /// With the new interval, new in this wave.
    pub treated: ArmJson,
    /// With the old one.
    pub control: ArmJson,
    /// That it is worse: all gates' together stop the rollout at 1,000.
    pub evidence: f64,
    /// For gaps: the 99th of 100, as a ratio to the interval that was intended.
    #[serde(default)]
    pub gap_ratio_p99: Option<PairJson>,
    /// For queries: what was asked, and the latest values.
    #[serde(default)]
    pub query: Option<QueryJson>,
}

/// What one arm showed.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct ArmJson {
    /// Outcomes, at most one a device and round.
    pub outcomes: u64,
    /// Of these, failures.
    pub failures: u64,
    /// Devices that failed at least once.
    pub devices_failed: u64,
    /// Part of the outcomes that were no failures; `null` without one.
    pub ratio: Option<f64>,
}

/// A value for each arm.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct PairJson {
    /// Of the treated.
    pub treated: Option<f64>,
    /// Of the control.
    pub control: Option<f64>,
}

/// A query of the operator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueryJson {
    /// What is bad: `above_control`, `below_control`, `above` or `below`,
    pub bad: String,
    /// and by how much: a multiple of the control's value, or a limit.
    pub than: f64,
    /// Samples that had a value.
    pub samples: u32,
    /// Of these, bad ones.
    pub bad_samples: u32,
    /// The latest.
    pub last: Option<PairJson>,
}

/// One step: who did what, why, and on which evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepJson {
    /// When.
    pub at: String,
    /// `law`, or the name of a person's token.
    pub who: String,
    /// `wave_began`, `held`, `paused`, `resumed`, `released`, `rolled_back`.
    pub what: String,
    /// In words.
    pub why: String,
    /// Counted from 1.
    pub wave: usize,
    /// What was known then.
    pub gates: Vec<GateJson>,
}

/// The evidence at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PointJson {
    /// When.
    pub at: String,
    /// Counted from 1.
    pub wave: usize,
    /// Of each gate.
    pub gates: Vec<GatePointJson>,
}

/// A gate at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GatePointJson {
    /// Which.
    pub name: String,
    /// With the new interval, of this wave.
    pub treated: ArmJson,
    /// With the old one.
    pub control: ArmJson,
    /// That it is worse.
    pub evidence: f64,
}
