//! A fleet file as it is written: every key optional, nothing checked but its type. `flyball schema fleet` prints this
//! shape, and its comments are the reference of the keys. All of them are reloadable.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use super::ab::RawAbTest;
use super::waves_raw::WavesOrOff;
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
    /// How a longer interval goes out, whoever asks for it, the law or a pin: in waves, each judged against devices that
    /// still have the old one, or `off`. Without waves each device has a longer interval when a test of its own has shown
    /// that it bears it, and a pin counts at once. A cohort of some dozen devices cannot give the gates enough to judge
    /// within a day, and asks a person each time. Default `off`.
    pub waves: Option<WavesOrOff>,
    /// Plans that are compared over groups of cohorts, at most 8. A cohort is in the first that names its group.
    pub ab_tests: Option<Vec<RawAbTest>>,
    /// When the devices of a cohort beat so much later than they are told that somebody must hear of it, or `off`. What
    /// happens then is in `docs/alerts.md`. Default: with every default below.
    pub alarm: Option<RawAlarmOrOff>,
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

/// A cohort's alarm: it opens when the p99 of its devices' gaps, as a ratio to the longest wait that each was told, is at
/// `p99_gap` for `for` on end, and is over when it is at `recover` for as long. A device that has stopped beating counts
/// with the gap that is open, for a day. In a cohort of fewer than 200 devices two must be late.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawAlarm {
    /// The ratio at which it opens, 1.05 to 20, to 5 %. Lost heartbeats that are sent again are a fifth of the floor
    /// late, a heartbeat that is missing altogether is at 2. Lower hears sooner and more often of nothing. Default 1.5.
    pub p99_gap: Option<f64>,
    /// The ratio at which it is over, 1 to `p99_gap`. Default 1.2.
    pub recover: Option<f64>,
    /// How long either must last without a break, 1s to 1d. Default 5m.
    #[serde(rename = "for")]
    pub lasting: Option<DurationText>,
}

/// An alarm, or `off`.
#[derive(Debug)]
pub enum RawAlarmOrOff {
    /// None.
    Off,
    /// With these keys.
    On(RawAlarm),
}

impl<'de> Deserialize<'de> for RawAlarmOrOff {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AlarmVisitor;
        impl<'de> Visitor<'de> for AlarmVisitor {
            type Value = RawAlarmOrOff;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("keys such as {p99_gap: 1.5, for: 5m}, or off")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<RawAlarmOrOff, E> {
                let unexpected = || E::invalid_value(serde::de::Unexpected::Str(text), &self);
                if text == "off" { Ok(RawAlarmOrOff::Off) } else { Err(unexpected()) }
            }

            /// `off` is a boolean to YAML 1.1, and to editors that write it.
            fn visit_bool<E: serde::de::Error>(self, is_on: bool) -> Result<RawAlarmOrOff, E> {
                Ok(if is_on { RawAlarmOrOff::On(RawAlarm::default()) } else { RawAlarmOrOff::Off })
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<RawAlarmOrOff, A::Error> {
                RawAlarm::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(RawAlarmOrOff::On)
            }
        }
        deserializer.deserialize_any(AlarmVisitor)
    }
}

impl JsonSchema for RawAlarmOrOff {
    fn schema_name() -> Cow<'static, str> {
        "AlarmOrOff".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let alarm = generator.subschema_for::<RawAlarm>();
        json_schema!({ "description": "An alarm's keys, or off.", "oneOf": [{"const": "off"}, alarm] })
    }
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
