//! Values that YAML has no type for: durations, and `auto` in place of a number.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Visitor};

/// Longest text that is read as a duration.
const DURATION_TEXT_MAX: usize = 40;

/// A duration as it is written: `500ms`, `5s`, `1m`, `24h`, `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DurationText(pub Duration);

/// A number, or `auto`: let Flyball measure it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AutoOr {
    /// `auto`
    Auto,
    /// The number.
    Number(f64),
}

impl AutoOr {
    /// The number; `None` for `auto`.
    pub fn number(self) -> Option<f64> {
        match self {
            Self::Auto => None,
            Self::Number(number) => Some(number),
        }
    }
}

/// Reads `1h30m`; units are d, h, m, s, ms, us and ns, and a number may have a fraction.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest.is_empty() || rest.len() > DURATION_TEXT_MAX {
        return None;
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        total = total.checked_add(part(number, unit)?)?;
        rest = after;
    }
    Some(total)
}

fn part(number: &str, unit: &str) -> Option<Duration> {
    let nanoseconds: u64 = match unit {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return None,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(nanoseconds).map(Duration::from_nanos);
    }
    let seconds = number.parse::<f64>().ok()? * (nanoseconds as f64 / 1e9);
    Duration::try_from_secs_f64(seconds).ok()
}

/// `1m30s`, the shortest way to write it; zero is `0s`.
pub fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [
        (seconds / 86_400, "d"),
        (seconds % 86_400 / 3_600, "h"),
        (seconds % 3_600 / 60, "m"),
        (seconds % 60, "s"),
        (u64::from(duration.subsec_millis()), "ms"),
        (u64::from(duration.subsec_nanos() % 1_000_000), "ns"),
    ];
    let text: String = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}

impl<'de> Deserialize<'de> for DurationText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DurationVisitor;
        impl Visitor<'_> for DurationVisitor {
            type Value = DurationText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with its unit, such as 500ms, 5s, 1m or 1h30m")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<DurationText, E> {
                let duration = parse_duration(text).map(DurationText);
                duration.ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(DurationVisitor)
    }
}

impl JsonSchema for DurationText {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A duration: 500ms, 5s, 1m, 24h, 1h30m.",
            "pattern": "^([0-9]+(\\.[0-9]+)?(ns|us|ms|s|m|h|d))+$",
        })
    }
}

impl<'de> Deserialize<'de> for AutoOr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AutoVisitor;
        impl Visitor<'_> for AutoVisitor {
            type Value = AutoOr;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or auto")
            }

            fn visit_f64<E>(self, number: f64) -> Result<AutoOr, E> {
                Ok(AutoOr::Number(number))
            }

            fn visit_u64<E>(self, number: u64) -> Result<AutoOr, E> {
                Ok(AutoOr::Number(number as f64))
            }

            fn visit_i64<E>(self, number: i64) -> Result<AutoOr, E> {
                Ok(AutoOr::Number(number as f64))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<AutoOr, E> {
                let unexpected = || E::invalid_value(serde::de::Unexpected::Str(text), &self);
                if text == "auto" { Ok(AutoOr::Auto) } else { Err(unexpected()) }
            }
        }
        deserializer.deserialize_any(AutoVisitor)
    }
}

impl JsonSchema for AutoOr {
    fn schema_name() -> Cow<'static, str> {
        "AutoOrNumber".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number, or auto: measured.",
            "oneOf": [{"const": "auto"}, {"type": "number", "exclusiveMinimum": 0}],
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_with_their_units() {
        let table = [
            ("5s", 5_000),
            ("500ms", 500),
            ("1m", 60_000),
            ("24h", 86_400_000),
            ("1h30m", 5_400_000),
            ("2d", 172_800_000),
            ("112.347s", 112_347),
            ("0s", 0),
        ];
        for (text, ms) in table {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "5", "s", "5 s", "-5s", "5s!", "1e3s", "5S", "..s", "99999999999999999999d", "1h30"] {
            assert_eq!(parse_duration(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_formatted_reads_back_the_same(ns in 0u64..=u64::MAX / 2) {
            let duration = Duration::from_nanos(ns);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,50}") {
            let _ = parse_duration(&text);
        }
    }
}
