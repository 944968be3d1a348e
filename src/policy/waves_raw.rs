//! The key `waves` of a fleet file as it is written.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::document::values::DurationText;

/// How a longer interval goes out: to a part of the cohort's devices, then to more, each part judged against devices
/// that still have the old one. `waves: {}` is every default.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawWaves {
    /// Share of the cohort's devices that have the new interval in each wave, in percent, rising, the last 100; 1 to 10
    /// of them. A small first wave harms few and takes longer to be sure. Default `[5, 20, 100]`.
    pub percent: Option<Vec<u32>>,
    /// Each wave is judged for so many of the longest waits under the new interval at least, 1 to 1000; two more pass
    /// before. Default 3.
    pub hold_intervals: Option<u32>,
    /// And so long at most, 1s to 365d; then a person is asked. Also how long the law's own wish, once it was rolled back,
    /// is not tried again: that long, then twice, four times. Default 24h.
    pub max_hold: Option<DurationText>,
    /// What devices are judged by. Default all three.
    pub gates: Option<Vec<RawGate>>,
    /// What the policies' Prometheus is asked in each round, at most 16. A query that has no value three times in a row,
    /// or no such source to be asked of, lets no wave pass.
    pub queries: Option<Vec<RawWaveQuery>>,
}

/// What devices are judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawGate {
    /// Beats came in time, from where the device was thought to be, and were confirmed.
    OnlineStatusConsistencyRate,
    /// Gaps between beats, over the longest that was intended.
    P99HeartbeatGapMs,
    /// What is sent just before a beat is due passes. Of cohorts over TCP it is left out.
    Coverage,
}

/// A query with one value, or one with a value for each arm. `$cohort` and `$rollout` in it are the rollout's. In an AB
/// test those of plan B are the treated, those of plan A the control, and it is asked both ways round.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawWaveQuery {
    /// What reports and the audit call it: 1 to 64 characters of `A-Z a-z 0-9 _ . -`. Required.
    pub name: Option<String>,
    /// PromQL with one value, for `max` or `min`.
    pub query: Option<String>,
    /// PromQL with one value, of the treated (with the new interval), for `max_ratio` or `min_ratio`.
    pub treated: Option<String>,
    /// The same of the control (with the old one).
    pub control: Option<String>,
    /// Above this three times in a row, the release is taken back.
    pub max: Option<f64>,
    /// Below this three times in a row, the release is taken back.
    pub min: Option<f64>,
    /// A sample is bad where `treated` is more than so many times `control`, 0.001 to 1000.
    pub max_ratio: Option<f64>,
    /// A sample is bad where `treated` is less than so many times `control`, 0.001 to 1000.
    pub min_ratio: Option<f64>,
}

/// Waves, or `off`.
#[derive(Debug, Clone)]
pub enum WavesOrOff {
    /// `off`
    Off,
    /// The keys.
    Waves(Box<RawWaves>),
}

impl<'de> Deserialize<'de> for WavesOrOff {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OrOffVisitor;
        impl<'de> Visitor<'de> for OrOffVisitor {
            type Value = WavesOrOff;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map such as {percent: [5, 20, 100]}, {} for every default, or off")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<WavesOrOff, E> {
                let unexpected = || E::invalid_value(serde::de::Unexpected::Str(text), &self);
                if text == "off" { Ok(WavesOrOff::Off) } else { Err(unexpected()) }
            }

            /// `off` is a boolean to YAML 1.1, and to editors that write it.
            fn visit_bool<E: serde::de::Error>(self, is_on: bool) -> Result<WavesOrOff, E> {
                let unexpected = || E::invalid_value(serde::de::Unexpected::Bool(is_on), &self);
                if is_on { Err(unexpected()) } else { Ok(WavesOrOff::Off) }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<WavesOrOff, A::Error> {
                let waves = RawWaves::deserialize(MapAccessDeserializer::new(map))?;
                Ok(WavesOrOff::Waves(Box::new(waves)))
            }
        }
        deserializer.deserialize_any(OrOffVisitor)
    }
}

impl JsonSchema for WavesOrOff {
    fn schema_name() -> Cow<'static, str> {
        "WavesOrOff".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let waves = generator.subschema_for::<RawWaves>();
        schemars::json_schema!({ "description": "Waves, or off.", "oneOf": [{"const": "off"}, waves] })
    }
}
