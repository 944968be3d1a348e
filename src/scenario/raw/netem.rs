//! Netem of a fleet's links as it is written. Its comments are the reference of the keys.

use schemars::JsonSchema;
use serde::Deserialize;

use super::fleet::RawBursts;
use crate::document::values::DurationText;

/// What one kind of links does to packets from one time to another, as Linux's `netem` does it. At least one of `delay`,
/// `jitter`, `loss`, `bursts`, `states`, `duplicate`, `corrupt`, `rate`, `limit`. Parts are of the packets, 0 to 1.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawNetem {
    /// From when; before the end of the run. Default 0s.
    pub at: Option<DurationText>,
    /// For how long. Default: to the end.
    #[serde(rename = "for")]
    pub lasts: Option<DurationText>,
    /// Of which links: `devices`, between each device and its NAT; `carriers`, between each NAT and the internet;
    /// `server`, between the internet and the server. Default `devices`.
    pub on: Option<String>,
    /// Only of this one of `fleet.carriers`, or of its devices. Default: of all.
    pub carrier: Option<String>,
    /// `up`, towards the server, `down`, or `both`. Default `both`.
    pub direction: Option<String>,
    /// Each packet takes this long more, 0s to 1h. Default 0s.
    pub delay: Option<DurationText>,
    /// How far from `delay`: the half width of `uniform`, else the standard deviation, 0s to 1h. Packets overtake each
    /// other by it. Default 0s.
    pub jitter: Option<DurationText>,
    /// Of the jitter: `uniform`, `normal`, `pareto`, `paretonormal`. Default `uniform`.
    pub distribution: Option<String>,
    /// Correlation of a packet's delay with the one before, 0 to 1. Default 0.
    pub delay_correlation: Option<f64>,
    /// Part that is lost, each packet by itself. On `devices` in place of what `fleet` says. Default 0; on `devices`
    /// what `fleet` says.
    pub loss: Option<f64>,
    /// Correlation of a loss with the one before, 0 to 1. It makes bursts, and fewer losses than `loss` says. Default 0.
    pub loss_correlation: Option<f64>,
    /// In place of `loss`: losses in bursts.
    pub bursts: Option<RawBursts>,
    /// In place of `loss`: a chain of four states.
    pub states: Option<RawStates>,
    /// Part that comes twice. Default 0.
    pub duplicate: Option<f64>,
    /// Correlation of a duplicate with the one before, 0 to 1. Default 0.
    pub duplicate_correlation: Option<f64>,
    /// Part of which one bit is flipped: a checksum drops nearly all of them. Default 0.
    pub corrupt: Option<f64>,
    /// Correlation of a corruption with the one before, 0 to 1. Default 0.
    pub corrupt_correlation: Option<f64>,
    /// Part that is sent at once, before those that are delayed; needs `delay`. Default 0.
    pub reorder: Option<f64>,
    /// Correlation of a reordering with the one before, 0 to 1. Default 0.
    pub reorder_correlation: Option<f64>,
    /// Only each packet of this number may be sent at once, 1 to 1000000. Default 1.
    pub gap: Option<u32>,
    /// Bits a second, 1000 to 1000000000000. Default: no limit.
    pub rate: Option<f64>,
    /// Bytes that each packet counts more for at that rate, -64 to 1000. Default 0.
    pub overhead: Option<f64>,
    /// Packets that a link holds, those delayed included; what comes then is lost. 1 to 10000000. Default: what the delay
    /// and the rate need (see the lab's README), and never so few that a delay loses.
    pub limit: Option<u32>,
}

/// Losses by four states: received in a gap (1), received in a burst (2), lost in a burst (3), lost alone (4).
#[derive(Debug, Default, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawStates {
    /// Probability that a burst begins, 0 to 1. Required.
    pub p13: Option<f64>,
    /// That it ends, 0 to 1. Default 1 - `p13`.
    pub p31: Option<f64>,
    /// That a packet is received within it, 0 to 1; with `p31` at most 1. Default 0.
    pub p32: Option<f64>,
    /// That a packet is lost alone, 0 to 1; with `p13` at most 1. Default 0.
    pub p14: Option<f64>,
    /// That the burst goes on after a packet received within it, 0 to 1. Default 1.
    pub p23: Option<f64>,
}
