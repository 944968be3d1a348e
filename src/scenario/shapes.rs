//! Shapes as written to shapes as simulated.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::keys::{Keys, TIME_MAX, seconds};
use super::raw::shape::{RawLevel, RawShape};
use super::recorded;
use crate::document::{SourceFile, read_text};
use crate::simulate::scenario::Shape;

/// Most shapes in one sum.
const SHAPES_MAX: usize = 100;
/// Largest recorded trace: a year of minutes is half of it.
const TRACE_MAX_BYTES: u64 = 32 << 20;
const RATE: RangeInclusive<f64> = 0.0..=1e9;
const ANY_TIME: RangeInclusive<Duration> = Duration::ZERO..=TIME_MAX;
const SOME_TIME: RangeInclusive<Duration> = seconds(1)..=TIME_MAX;

/// The shapes of the key `name`, which must be there.
pub(super) fn level(name: &str, raw: Option<RawLevel>, keys: &mut Keys<'_, '_>) -> Vec<Shape> {
    keys.require(name, "needs a number, a shape such as {constant: 100}, or a list of shapes");
    match raw {
        None => Vec::new(),
        Some(RawLevel::Number(number)) => vec![Shape::Constant(keys.number(name, Some(number), 0.0, RATE))],
        Some(RawLevel::Shape(raw)) => shape(*raw, &mut keys.under(name)).into_iter().collect(),
        Some(RawLevel::Shapes(raw)) if raw.is_empty() || raw.len() > SHAPES_MAX => {
            keys.fail(name, format_args!("allowed are lists of 1 to {SHAPES_MAX} shapes"));
            Vec::new()
        }
        Some(RawLevel::Shapes(raw)) => {
            let each = raw.into_iter().enumerate();
            each.filter_map(|(i, raw)| shape(raw, &mut keys.under(&format!("{name}[{i}]")))).collect()
        }
    }
}

/// The same shape with every rate times `factor`.
pub(super) fn scaled(shape: &Shape, factor: f64) -> Shape {
    let mut shape = shape.clone();
    match &mut shape {
        Shape::Constant(rate) | Shape::OnOff { rate, .. } | Shape::FlashCrowds { peak: rate, .. } => *rate *= factor,
        Shape::Step { from: a, to: b, .. }
        | Shape::Ramp { from: a, to: b, .. }
        | Shape::Diurnal { mean: a, amplitude: b, .. }
        | Shape::Bursts { height: a, height_max: b, .. } => {
            *a *= factor;
            *b *= factor;
        }
        Shape::Recorded { rows } => rows.iter_mut().for_each(|(_, rate)| *rate *= factor),
    }
    shape
}

fn shape(raw: RawShape, keys: &mut Keys<'_, '_>) -> Option<Shape> {
    const KINDS: [&str; 8] = ["constant", "step", "ramp", "diurnal", "flash_crowds", "on_off", "bursts", "trace"];
    let kinds: Vec<&str> = KINDS.into_iter().filter(|kind| keys.is_written(kind)).collect();
    let [kind] = kinds[..] else {
        keys.fail("", format_args!("needs exactly one of {}", KINDS.join(", ")));
        return None;
    };
    for only_of_trace in ["scale", "seconds_per_row"].into_iter().filter(|_| kind != "trace") {
        if keys.is_written(only_of_trace) {
            keys.fail(only_of_trace, "belongs to `trace`");
        }
    }
    if let Some(rate) = raw.constant {
        return Some(Shape::Constant(keys.number("constant", Some(rate), 0.0, RATE)));
    }
    if raw.trace.is_some() {
        return trace(&raw, keys);
    }
    moving(raw, &mut keys.under(kind))
}

/// The shapes that have keys of their own. `None` where what was written did not fit, which has its error.
fn moving(raw: RawShape, keys: &mut Keys<'_, '_>) -> Option<Shape> {
    if let Some(raw) = raw.step {
        return Some(Shape::Step {
            from: keys.required_number("from", raw.from, RATE),
            to: keys.required_number("to", raw.to, RATE),
            at: keys.required_time("at", raw.at, ANY_TIME),
            within: keys.time("within", raw.within, seconds(5), ANY_TIME),
        });
    }
    if let Some(raw) = raw.ramp {
        return Some(Shape::Ramp {
            from: keys.required_number("from", raw.from, RATE),
            to: keys.required_number("to", raw.to, RATE),
            at: keys.required_time("at", raw.at, ANY_TIME),
            over: keys.required_time("over", raw.over, ANY_TIME),
        });
    }
    if let Some(raw) = raw.diurnal {
        return Some(Shape::Diurnal {
            mean: keys.required_number("mean", raw.mean, RATE),
            amplitude: keys.required_number("amplitude", raw.amplitude, RATE),
            period: keys.time("period", raw.period, seconds(86_400), SOME_TIME),
            phase: keys.number("phase", raw.phase, 0.0, 0.0..=1.0),
        });
    }
    drawn(raw, keys)
}

/// The shapes whose moments the seed draws.
fn drawn(raw: RawShape, keys: &mut Keys<'_, '_>) -> Option<Shape> {
    if let Some(raw) = raw.flash_crowds {
        keys.require("count", "needs a whole number");
        return Some(Shape::FlashCrowds {
            count: keys.count("count", raw.count, 1, 1..=10_000),
            not_before: keys.time("not_before", raw.not_before, Duration::ZERO, ANY_TIME),
            peak: keys.required_number("peak", raw.peak, RATE),
            rise: keys.time("rise", raw.rise, seconds(10), ANY_TIME),
            hold: keys.time("hold", raw.hold, seconds(120), ANY_TIME),
            half_life: keys.time("half_life", raw.half_life, seconds(120), SOME_TIME),
        });
    }
    if let Some(raw) = raw.on_off {
        return Some(Shape::OnOff {
            rate: keys.required_number("rate", raw.rate, RATE),
            on: keys.required_time("on", raw.on, SOME_TIME),
            off: keys.required_time("off", raw.off, SOME_TIME),
        });
    }
    let raw = raw.bursts?;
    let height = keys.required_number("height", raw.height, RATE);
    let length = keys.required_time("length", raw.length, SOME_TIME);
    let longest = (length * 20).min(TIME_MAX);
    Some(Shape::Bursts {
        every: keys.required_time("every", raw.every, SOME_TIME),
        height,
        height_max: keys.number("height_max", raw.height_max, height * 20.0, height..=*RATE.end()),
        length,
        length_max: keys.time("length_max", raw.length_max, longest, length..=TIME_MAX),
        alpha: keys.number("alpha", raw.alpha, 1.5, 0.1..=10.0),
    })
}

fn trace(raw: &RawShape, keys: &mut Keys<'_, '_>) -> Option<Shape> {
    let scale = keys.number("scale", raw.scale, 1.0, 0.0..=*RATE.end());
    let spacing =
        raw.seconds_per_row.map(|_| keys.number("seconds_per_row", raw.seconds_per_row, 1.0, 0.001..=86_400.0));
    let (key, written) = (keys.key("trace"), raw.trace.as_deref()?);
    let path = keys.check.path(&key, written);
    let text = match read_text(&path, TRACE_MAX_BYTES) {
        Ok(text) => text,
        Err(_) if written.is_empty() => return None,
        Err(message) => {
            keys.fail("trace", format_args!("{} {message}", path.display()));
            return None;
        }
    };
    match recorded::rows(&Arc::new(SourceFile { path, text }), spacing) {
        Ok(rows) => Some(scaled(&Shape::Recorded { rows }, scale)),
        Err(problems) => {
            keys.check.errors.extend(problems);
            None
        }
    }
}
