//! A fleet file as it is written: every key optional, nothing checked but its type. `flyball schema fleet` prints this
//! shape, and its comments are the reference of the keys. All of them are reloadable.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use crate::document::values::{DurationText, parse_duration};

/// The devices of one owner, and how they may be paced. Required is `fleet`. A device is of the first fleet, by name,
/// whose `match` fits its labels; with no fleet file in the folder there is one fleet of all devices, `default`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawFleetFile {
    /// The fleet's name, unique in its folder: 1 to 64 characters of `A-Z a-z 0-9 _ . -`. Required.
    pub fleet: Option<String>,
    /// Labels that a device must have, each with a glob (`*` is any run of characters, `?` is one): `{carrier: "*"}`.
    /// Labels come from the device's hello and from `fleet.prefixes`. At most 16. Default: all devices.
    #[serde(rename = "match")]
    pub matches: Option<BTreeMap<String, String>>,
    /// Labels that make a cohort, at most 8: devices that are alike in them are learnt as one. Too many, and each cohort
    /// has too few devices to learn from; too few, and a cohort is paced by the worst NAT among several. The transport
    /// is always part of it. Default `[carrier, region]`, which are the columns of `fleet.prefixes`.
    pub cohort_by: Option<Vec<String>>,
    /// Bounds of the pace.
    pub interval: Option<RawInterval>,
    /// What learning may cost.
    pub probes: Option<RawProbes>,
    /// From which silence on a heartbeat is acked a second time, 2.1 s later, 100ms to 1h, or `off`. Linux, and carriers'
    /// NATs built on it, keep a binding for 30 s instead of 120 s unless a packet passes more than 2 s after its first;
    /// the second ack is that packet, and costs one datagram a heartbeat. Default 15s.
    pub second_ack: Option<DurationOrOff>,
    /// What becomes of an interval that is longer than the one in force: `at_once` = told to all devices as soon as it is
    /// known; `hold` = not told, and the cohort's reason is `awaits_release`. A shorter one is a repair and never
    /// waits. Default `at_once`.
    pub release: Option<RawRelease>,
    /// Lifetimes that somebody knows better, at most 1000.
    pub pins: Option<Vec<RawFleetPin>>,
}

/// `interval = max(min, base + jitter)`, where `base = safety x lower bound of the NAT's lifetime` and the device draws
/// the jitter uniformly from `[0, jitter x base]` for each heartbeat. `min <= max`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawInterval {
    /// No interval is shorter, 100ms to 12h. Below 15s is valid, with a warning: RFC 8085, section 3.5, asks senders not to
    /// keep bindings alive more often. A cohort whose NATs forget sooner than this can serve is `hostile`. A heartbeat that
    /// nothing answered is sent again after a fifth of this, at most 5.1s, 20 times, then after five times as long. The
    /// lifetimes that are looked for begin at two thirds of it. Default 15s.
    pub min: Option<DurationText>,
    /// No heartbeat is later, jitter included, 100ms to 12h: how long the loss of a device may go unnoticed. Default 30m.
    pub max: Option<DurationText>,
    /// Part of the lifetime's lower bound that the base is, 0.1 to 0.95. 0.75 leaves a quarter, all of which the jitter
    /// may take. Higher saves heartbeats and leaves less room for retries. Default 0.75.
    pub safety: Option<f64>,
    /// Largest jitter as part of the base, 0 to 0.9; 0.25 spreads a base of 80s over 80s to 100s. 0 lets a fleet that lost
    /// power beat in step. `safety x (1 + jitter)` above 1 is refused: beats would come after the binding's end. Default
    /// 0.25.
    pub jitter: Option<f64>,
}

/// Tests on side flows: the binding that carries messages is never risked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawProbes {
    /// Part of a cohort's devices that test at the same time while the cohort is learnt, 0 to 1; at least one device, unless
    /// it is 0. Default 1.
    pub devices_learning: Option<f64>,
    /// The same while it is known and watched for a longer lifetime, which nothing else would show, 0 to 1. Default 0.02.
    pub devices_watching: Option<f64>,
    /// Side flows of one device at a time, 0 to 4; 0 = no tests: only what ends by itself is learnt from. Default 4.
    pub flows: Option<u8>,
    /// Packets that one device sends for tests a day, 0 to 100000. A test takes six; a device that is paced to 100 s sends
    /// 900 heartbeats. Default 200.
    pub packets_per_day: Option<u32>,
}

/// What becomes of a longer interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawRelease {
    /// Told as soon as it is known.
    AtOnce,
    /// Not told.
    Hold,
}

/// A lifetime that somebody knows.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawFleetPin {
    /// Labels that a cohort must have, `{carrier: a}`: keys of `cohort_by`, at least one. The first pin that fits counts.
    pub cohort: Option<BTreeMap<String, String>>,
    /// The NAT's timeout, 1s to 24h: the base of the interval is `safety` times this. Required.
    pub nat_timeout: Option<DurationText>,
    /// When the pin ends: a date of RFC 3339, `2026-12-01T00:00:00Z`. Default: when it is removed.
    pub until: Option<String>,
    /// Why, at most 256 characters. Required, because whoever finds the pin will ask.
    pub reason: Option<String>,
}

/// A duration, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DurationOrOff {
    /// `off`
    Off,
    /// The duration.
    Duration(Duration),
}

impl<'de> Deserialize<'de> for DurationOrOff {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OrOffVisitor;
        impl Visitor<'_> for OrOffVisitor {
            type Value = DurationOrOff;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with its unit, such as 15s, or off")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<DurationOrOff, E> {
                if text == "off" {
                    return Ok(DurationOrOff::Off);
                }
                let duration = parse_duration(text).map(DurationOrOff::Duration);
                duration.ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }

            /// `off` is a boolean to YAML 1.1, and to editors that write it.
            fn visit_bool<E: serde::de::Error>(self, is_on: bool) -> Result<DurationOrOff, E> {
                let unexpected = || E::invalid_value(serde::de::Unexpected::Bool(is_on), &self);
                if is_on { Err(unexpected()) } else { Ok(DurationOrOff::Off) }
            }
        }
        deserializer.deserialize_any(OrOffVisitor)
    }
}

impl JsonSchema for DurationOrOff {
    fn schema_name() -> Cow<'static, str> {
        "DurationOrOff".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A duration such as 15s, or off.",
            "oneOf": [{"const": "off"}, {"type": "string", "pattern": "^([0-9]+(\\.[0-9]+)?(ns|us|ms|s|m|h|d))+$"}],
        })
    }
}
