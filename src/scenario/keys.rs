//! The keys under one path, each read with its range: what keeps the validation of forty keys short.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::document::check::Check;
use crate::document::values::DurationText;

/// Longest time that a scenario can speak of.
pub(super) const TIME_MAX: Duration = Duration::from_secs(31 * 86_400);

/// The keys under `path`.
pub(super) struct Keys<'c, 't> {
    path: String,
    pub(super) check: &'c mut Check<'t>,
}

impl<'c, 't> Keys<'c, 't> {
    pub(super) fn new(path: impl Into<String>, check: &'c mut Check<'t>) -> Self {
        Self { path: path.into(), check }
    }

    /// The keys of `name` under this path.
    pub(super) fn under(&mut self, name: &str) -> Keys<'_, 't> {
        Keys { path: self.key(name), check: self.check }
    }

    /// The path of `name`; of the mapping itself where `name` is empty.
    pub(super) fn key(&self, name: &str) -> String {
        match name {
            "" => self.path.clone(),
            _ if self.path.is_empty() => name.to_owned(),
            _ => format!("{}.{name}", self.path),
        }
    }

    pub(super) fn fail(&mut self, name: &str, message: impl fmt::Display) {
        let key = self.key(name);
        self.check.fail(&key, message);
    }

    pub(super) fn is_written(&self, name: &str) -> bool {
        self.check.is_written(&self.key(name))
    }

    /// A key that must be there.
    pub(super) fn require(&mut self, name: &str, needs: &str) {
        let key = self.key(name);
        self.check.require(&key, needs);
    }

    /// A number with a default.
    pub(super) fn number(&mut self, name: &str, value: Option<f64>, default: f64, range: RangeInclusive<f64>) -> f64 {
        let key = self.key(name);
        self.check.number(&key, value, default, range)
    }

    /// A number that must be there.
    pub(super) fn required_number(&mut self, name: &str, value: Option<f64>, range: RangeInclusive<f64>) -> f64 {
        self.require(name, "needs a number");
        let nearest = *range.start();
        self.number(name, value, nearest, range)
    }

    /// A whole number with a default.
    pub(super) fn count(&mut self, name: &str, value: Option<u32>, default: u32, range: RangeInclusive<u32>) -> u32 {
        let key = self.key(name);
        self.check.count(&key, value, default, range)
    }

    /// A duration with a default.
    pub(super) fn time(
        &mut self,
        name: &str,
        value: Option<DurationText>,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let key = self.key(name);
        self.check.duration(&key, value, default, range)
    }

    /// A duration that must be there.
    pub(super) fn required_time(
        &mut self,
        name: &str,
        value: Option<DurationText>,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        self.require(name, "needs a duration such as 5s");
        let nearest = *range.start();
        self.time(name, value, nearest, range)
    }
}

/// Seconds as a [`Duration`].
pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
