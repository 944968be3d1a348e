//! How something changes over time, as it is written: a number, a shape, or a list of shapes.

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

use crate::document::values::DurationText;

/// A number = always that; a shape; or a list of at most 100 shapes that are added. Never below zero.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
pub enum RawLevel {
    /// Always the same.
    Number(f64),
    /// One shape.
    Shape(Box<RawShape>),
    /// Their sum.
    Shapes(Vec<RawShape>),
}

/// Exactly one of the kinds. Rates are requests/s of a service or spans/s of a backend, 0 to 1e9; times count from the
/// start of the run.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawShape {
    /// Always the same rate.
    pub constant: Option<f64>,
    /// Another rate from a moment on.
    pub step: Option<RawStep>,
    /// From one rate to another in a straight line.
    pub ramp: Option<RawRamp>,
    /// The day: a sine.
    pub diurnal: Option<RawDiurnal>,
    /// Crowds at moments drawn by the seed, on top of the rest.
    pub flash_crowds: Option<RawFlashCrowds>,
    /// On for a while, off for a while, drawn by the seed.
    pub on_off: Option<RawOnOff>,
    /// Bursts with a heavy tail, drawn by the seed.
    pub bursts: Option<RawBursts>,
    /// A CSV file with the columns `timestamp` and `value`, relative to the scenario file: rows are rates, each held
    /// until the next. Timestamps are seconds, dates such as `2014-02-14 14:30:00`, or RFC 3339; rows are put in their
    /// order, and of rows with one time the last stands.
    pub trace: Option<String>,
    /// With `trace`: values are multiplied by this, 0 to 1e9. Default 1.
    pub scale: Option<f64>,
    /// With `trace`: time from each row to the next, in seconds, 0.001 to 86400. Default: what the timestamps say.
    pub seconds_per_row: Option<f64>,
}

/// Another rate from a moment on.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawStep {
    /// Rate before. Required.
    pub from: Option<f64>,
    /// Rate after. Required.
    pub to: Option<f64>,
    /// When. Required.
    pub at: Option<DurationText>,
    /// Later by up to this, as the seed has it: no scenario should depend on the phase of its scrapes. Default 5s.
    pub within: Option<DurationText>,
}

/// From one rate to another in a straight line.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawRamp {
    /// Rate before. Required.
    pub from: Option<f64>,
    /// Rate after. Required.
    pub to: Option<f64>,
    /// When it begins. Required.
    pub at: Option<DurationText>,
    /// How long it takes. Required.
    pub over: Option<DurationText>,
}

/// `mean + amplitude * sin(2 pi (t / period + phase))`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawDiurnal {
    /// Rate on average. Required.
    pub mean: Option<f64>,
    /// From the mean to the peak, as a rate. Required.
    pub amplitude: Option<f64>,
    /// One turn, 1s to 31d. Default 24h.
    pub period: Option<DurationText>,
    /// Part of a turn that lies before the start, 0 to 1: 0.75 starts in the valley. Default 0.
    pub phase: Option<f64>,
}

/// Up to `peak` within `rise`, there for `hold`, then half of it each `half_life`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawFlashCrowds {
    /// How many in the whole run, 1 to 10000. Required.
    pub count: Option<u32>,
    /// No crowd before this. Default 0s.
    pub not_before: Option<DurationText>,
    /// Rate on top. Required.
    pub peak: Option<f64>,
    /// From nothing to the peak. Default 10s.
    pub rise: Option<DurationText>,
    /// Time at the peak. Default 2m.
    pub hold: Option<DurationText>,
    /// Time to half of the peak, from 1s. Default 2m.
    pub half_life: Option<DurationText>,
}

/// On for a while, off for a while; both times are exponential.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawOnOff {
    /// Rate while on. Required.
    pub rate: Option<f64>,
    /// Mean time on, from 1s. Required.
    pub on: Option<DurationText>,
    /// Mean time off, from 1s. Required.
    pub off: Option<DurationText>,
}

/// Bursts at exponential gaps; height and length are Pareto: the tail is heavy.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawBursts {
    /// Mean gap between the beginnings of two bursts, from 1s. Required.
    pub every: Option<DurationText>,
    /// Rate of the smallest burst. Required.
    pub height: Option<f64>,
    /// No burst is higher; at least `height`. Default 20 x height.
    pub height_max: Option<f64>,
    /// Length of the shortest burst, from 1s. Required.
    pub length: Option<DurationText>,
    /// No burst is longer; at least `length`. Default 20 x length.
    pub length_max: Option<DurationText>,
    /// Tail index, 0.1 to 10: the lower, the heavier. Default 1.5.
    pub alpha: Option<f64>,
}

impl<'de> Deserialize<'de> for RawLevel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LevelVisitor)
    }
}

struct LevelVisitor;

impl<'de> Visitor<'de> for LevelVisitor {
    type Value = RawLevel;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, a shape such as {constant: 100}, or a list of shapes")
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<RawLevel, E> {
        Ok(RawLevel::Number(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<RawLevel, E> {
        Ok(RawLevel::Number(number as f64))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<RawLevel, E> {
        Ok(RawLevel::Number(number as f64))
    }

    fn visit_map<A: MapAccess<'de>>(self, keys: A) -> Result<RawLevel, A::Error> {
        RawShape::deserialize(MapAccessDeserializer::new(keys)).map(|shape| RawLevel::Shape(Box::new(shape)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<RawLevel, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(items)).map(RawLevel::Shapes)
    }
}
