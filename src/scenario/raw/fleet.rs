//! A scenario of a fleet as it is written. Its comments are the reference of the keys.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::RawRange;
use super::netem::RawNetem;
use crate::document::values::DurationText;
use crate::policy::fleet_raw::RawFleetFile;

/// One fleet, one policy, one verdict. Required is `fleet`, which makes it a scenario of the second loop.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawFleetScenario {
    /// The scenario's name: 1 to 64 characters of `A-Z a-z 0-9 _ . -`. Default: the file's, without folder and ending.
    pub scenario: Option<String>,
    /// What it shows, in a sentence.
    pub about: Option<String>,
    /// Time in all, 10s to 31d. Default 24h.
    pub duration: Option<DurationText>,
    /// Time at the start that the metrics of a fleet that has learnt do not count. Less than `duration`. Default 1h, or a
    /// quarter of `duration` if that is less.
    pub warmup: Option<DurationText>,
    /// What `coverage_before` and `heartbeats_before` end at, and `*_after` begin at; before the end of the run. Default: the
    /// first fault, else `warmup`.
    pub event_at: Option<DurationText>,
    /// Time after `event_at` that `coverage_after` and `heartbeats_after` do not count: the law answers to what happened.
    /// What is left must be something. Default 0s.
    pub settle: Option<DurationText>,
    /// Runs, with the seeds 1, 2, ...; checks are judged on the medians. 1 to 1000. Default 3.
    pub seeds: Option<u32>,
    /// Which law decides unless `--law` asks for another: `adaptive`, `oracle`, or one interval for all, `fixed-180s`,
    /// and `fixed-180s-one-ack` without second acks. Default `adaptive`.
    pub law: Option<String>,
    /// Time between two decisions, 100ms to 1m. Default 1s.
    pub tick: Option<DurationText>,
    /// Devices, carriers, and what happens to them. Required.
    pub fleet: Option<RawFleetPlan>,
    /// What the law is given, in the words of a fleet file, so that one can be pasted; `fleet` and `match` mean nothing
    /// here. Default: every default.
    pub policy: Option<RawFleetFile>,
    /// What goes wrong, at most 1000.
    pub faults: Option<Vec<RawFleetFault>>,
    /// Metrics and the ranges that their medians must be in. `ratio.NAME` is the ratio to the oracle's.
    pub checks: Option<BTreeMap<String, RawRange>>,
}

/// Devices, carriers, and what happens to them. At least one of `drawn` and `carriers`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawFleetPlan {
    /// Carriers drawn by the seed. Default: none.
    pub drawn: Option<RawDrawn>,
    /// Carriers of which everything is told, at most 1000.
    pub carriers: Option<Vec<RawCarrier>>,
    /// Each device starts at a moment of its own within this, 0s to 24h. Default 1m.
    pub start_within: Option<DurationText>,
    /// Part of the packets that is lost between a device and its NAT, in each direction, each by itself, 0 to 0.9. Default
    /// 0.01.
    pub loss: Option<f64>,
    /// In place of `loss`: losses in bursts.
    pub bursts: Option<RawBursts>,
    /// What links do to packets, from when to when, at most 1000. Where several speak of one link the last one holds.
    /// Default: nothing but `loss` or `bursts`.
    pub netem: Option<Vec<RawNetem>>,
    /// Time without radio coverage. Default: none.
    pub holes: Option<RawAbsences>,
    /// A device notices that coverage is back, and beats at once. Default false.
    pub holes_noticed: Option<bool>,
    /// Time without power. Default: none.
    pub power_off: Option<RawAbsences>,
    /// Each carrier halves or doubles its timeouts once in this time, on average, 1h to 3650d. Default: never.
    pub changes_every: Option<DurationText>,
    /// Part of the devices that answer no probe orders, 0 to 1. Default 0.
    pub deaf: Option<f64>,
    /// Devices beat once more where a second ack on a new binding did not come, as `flyball-sdk` does. `false`: they leave
    /// all of that to the server, as devices that nobody changed. Default true.
    pub follow_up: Option<bool>,
}

/// Carriers drawn by the seed: one is one cohort.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawDrawn {
    /// Devices of all of them together, spread evenly, 1 to 100000. Required.
    pub devices: Option<u32>,
    /// How many carriers, 1 to 4000. Default: one for each 60 devices.
    pub carriers: Option<u32>,
    /// What their NATs are like, at most 1000 rows. Default: what is met in the field, in nine rows from 30 s to 30 min
    /// (median 95 s); a third of it is Linux, where half of the boxes keep unreplied bindings for 30 s only.
    pub mixture: Option<Vec<RawRow>>,
    /// Part of the carriers with two boxes, which share the devices 60:40, 0 to 1. Default 0.2.
    pub two_boxes: Option<f64>,
    /// Part with three, 50:30:20; together with `two_boxes` at most 1. Default 0.1.
    pub three_boxes: Option<f64>,
    /// Part of the boxes with a timer wheel, which forgets late, 0 to 1. Default 0.15.
    pub wheels: Option<f64>,
    /// Granularity of the wheels, as part of the box's timeout, 0 to 1. Default 0.1.
    pub wheel_part: Option<f64>,
}

/// One kind of NAT.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawRow {
    /// How many there are, in proportion to the other rows', above 0. Default 1.
    pub weight: Option<f64>,
    /// How long a binding is kept, 1s to 24h. Required.
    pub timeout: Option<DurationText>,
    /// A box's own timeout lies within this of it, less than `timeout`. Default 0s.
    pub half_width: Option<DurationText>,
    /// How long an unreplied binding is kept, where it is less, 1s to 24h. Default 30s.
    pub unreplied: Option<DurationText>,
    /// Part of the boxes that keep unreplied bindings for less, 0 to 1. Default 0.
    pub unreplied_share: Option<f64>,
    /// Part of the boxes that give a device the same public port again, 0 to 1. Default 0.6.
    pub ports_kept: Option<f64>,
}

/// A carrier of which everything is told: one box with `timeout`, or `boxes`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawCarrier {
    /// Its name, 1 to 64 bytes; the devices' label `carrier`. Required.
    pub name: Option<String>,
    /// The devices' label `region`. Default `north`.
    pub region: Option<String>,
    /// How many devices it has, 1 to 100000. Required.
    pub devices: Option<u32>,
    /// Its devices start this long after the others, 0s to 31d. Default 0s.
    pub joins_at: Option<DurationText>,
    /// How long its only box keeps a binding, 1s to 24h.
    pub timeout: Option<DurationText>,
    /// How long that box keeps an unreplied one. Default: as long.
    pub unreplied: Option<DurationText>,
    /// Granularity of that box's timer wheel, 0s to 24h. Default 0s: exact.
    pub granularity: Option<DurationText>,
    /// Whether that box gives a device the same public port again. Default true.
    pub ports_kept: Option<bool>,
    /// Several boxes, at most 100.
    pub boxes: Option<Vec<RawBox>>,
}

/// One box of a carrier.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawBox {
    /// How many of the carrier's devices are behind it, in proportion to the other boxes', above 0. Default 1.
    pub share: Option<f64>,
    /// See the carrier's. Required.
    pub timeout: Option<DurationText>,
    /// See the carrier's.
    pub unreplied: Option<DurationText>,
    /// See the carrier's.
    pub granularity: Option<DurationText>,
    /// See the carrier's.
    pub ports_kept: Option<bool>,
}

/// Losses in bursts (Gilbert and Elliott): a good state and a bad one, which change from packet to packet.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawBursts {
    /// Probability that good turns bad, 0 to 1. Default 0.005.
    pub to_bad: Option<f64>,
    /// Probability that bad turns good, 0 to 1. Default 0.3.
    pub to_good: Option<f64>,
    /// Part lost while bad, 0 to 1. Default 0.6.
    pub lost_bad: Option<f64>,
    /// Part lost while good, 0 to 1. Default 0.002.
    pub lost_good: Option<f64>,
}

/// How often a device is away, and for how long.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawAbsences {
    /// Mean time from the end of one to the next, 10s to 365d; exponential. Required.
    pub every: Option<DurationText>,
    /// The shortest, 0s to 31d; they are spread evenly up to `max`. Required.
    pub min: Option<DurationText>,
    /// The longest, from `min` to 31d. Required.
    pub max: Option<DurationText>,
}

/// Something that happens: when, to whom, and exactly one of the kinds.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawFleetFault {
    /// When; before the end of the run. Required.
    pub at: Option<DurationText>,
    /// To which of `fleet.carriers`. Default: to all carriers, drawn ones included.
    pub carrier: Option<String>,
    /// The NATs' timeouts are multiplied, 0.001 to 1000. Unreplied timeouts that are others stay.
    pub timeout_times: Option<f64>,
    /// `true`: the NATs forget every binding.
    pub nat_reboot: Option<bool>,
    /// The server is stopped (SIGTERM), gone for this long, 0s to 24h, and begins again with what it had stored.
    pub server_restart: Option<DurationText>,
    /// The same, killed in the middle of what it does (SIGKILL).
    pub server_kill: Option<DurationText>,
    /// The way loses this part of the packets in each direction from now on, 0 to 0.9.
    pub loss: Option<f64>,
    /// Another policy from now on, as a whole, in the words of a fleet file. `cohort_by` must stay.
    pub policy: Option<RawFleetFile>,
    /// Devices move to another carrier, with the sockets that they have.
    pub carrier_change: Option<RawCarrierChange>,
    /// The NATs have so many public ports from now on, 1 to 60000: bindings that are more than these are not made.
    pub ports: Option<u32>,
    /// Devices lose power.
    pub power_off: Option<RawPowerOff>,
    /// The server's wall clock is set forward by so many seconds, -31536000 to 31536000; back where negative.
    pub clock_step_seconds: Option<f64>,
    /// The operator pins the timeout of the carrier's NATs, whatever it is: see `pins` of a fleet file. It takes the
    /// place of the pin before.
    pub pin: Option<RawPinFault>,
    /// The operator says this of the carrier's rollout: `promote` (on to the next wave, whatever the gates say), `abort`,
    /// `pause` or `resume`. Without `carrier`, of all that are under way. Needs a policy with `waves`.
    pub rollout: Option<String>,
}

/// What an operator says of a carrier's NATs.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawPinFault {
    /// The NAT's timeout, 1s to 24h: the base of the interval is `safety` times this. Required.
    pub nat_timeout: Option<DurationText>,
}

/// Devices move to another carrier.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawCarrierChange {
    /// From this one of `fleet.carriers`. Required.
    pub from: Option<String>,
    /// To this one. Required.
    pub to: Option<String>,
    /// Part of its devices, above 0 to 1, spread evenly over them. Default 1.
    pub share: Option<f64>,
}

/// Devices lose power.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawPowerOff {
    /// For this long, 100ms to 31d. Required.
    #[serde(rename = "for")]
    pub lasts: Option<DurationText>,
    /// Part of the devices, above 0 to 1, spread evenly over them. Default 1.
    pub share: Option<f64>,
}
