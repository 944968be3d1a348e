//! What a source says about one policy's services and its tracing backend: the only door into the sampling core.
//!
//! Everything here is already sane. NaN, infinities, negative values and duplicates end at the source; a row that
//! cannot be a rate cannot be built. Times are on *our* wall clock: a source corrects for the offset of a server's.

use std::sync::Arc;
use std::time::Duration;

use crate::time::WallTime;

/// A service's or an operation's name, shared rather than copied.
pub type Name = Arc<str>;

/// One poll of one policy's signals.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Traffic {
    /// Root demand by service and operation, at most one row a pair; empty means *absent*, which is not zero.
    pub demand: Vec<Demand>,
    /// The time that the demand was measured over. `None` when demand is absent.
    pub demand_over: Option<Interval>,
    /// Everything offered to the backend, dropped included, in the policy's unit. `None` when absent.
    pub received: Option<Rate>,
    /// What the backend dropped, in the same unit. `None` when absent: with `received` present that means zero.
    pub dropped: Option<Rate>,
    /// Age of the newest demand sample when it was read; `None` where a query cannot tell.
    pub age: Option<Duration>,
    /// Learnt time between two samples of a series; `None` until known, or where a query cannot tell.
    pub scrape_interval: Option<Duration>,
    /// The source warned that the answer covers only a part of the series (a Thanos store was away, say).
    pub is_partial: bool,
}

/// Requests/s of one operation of a service, *unsampled*.
#[derive(Debug, Clone, PartialEq)]
pub struct Demand {
    /// The service's name: 1 to 256 bytes.
    pub service: Name,
    /// The operation's name, where demand is measured by operation.
    pub operation: Option<Name>,
    /// Root requests/s: finite, not negative.
    pub per_second: f64,
    /// The series is younger than the window that it was measured over, so that the value is still rising to the truth
    /// (it may be 0 so far).
    pub is_warming: bool,
    /// A part of its series, or all of them, stopped lately (targets are down): the value holds their last rates.
    pub is_stale: bool,
}

impl Demand {
    /// A row that is not warming. `per_second` must be finite and not negative.
    pub fn new(service: &str, operation: Option<&str>, per_second: f64) -> Self {
        Self {
            service: service.into(),
            operation: operation.map(Into::into),
            per_second,
            is_warming: false,
            is_stale: false,
        }
    }
}

/// A mean rate over a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    per_second: f64,
    over: Interval,
}

impl Rate {
    /// `None` unless `per_second` is finite and not negative.
    pub fn new(per_second: f64, over: Interval) -> Option<Self> {
        (per_second.is_finite() && per_second >= 0.0).then_some(Self { per_second, over })
    }

    /// Spans/s or traces/s, finite, not negative.
    pub fn per_second(self) -> f64 {
        self.per_second
    }

    /// The time that the mean was taken over.
    pub fn over(self) -> Interval {
        self.over
    }
}

/// A stretch of wall time, `from` before or at `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Its first moment.
    pub from: WallTime,
    /// Its last moment.
    pub to: WallTime,
}

impl Interval {
    /// The `length` before `to`.
    pub fn before(to: WallTime, length: Duration) -> Self {
        Self { from: to.minus(length), to }
    }

    /// Its length.
    pub fn length(self) -> Duration {
        self.to.since(self.from)
    }
}

impl Traffic {
    /// `clamp(dropped / received, 0, 1)`. Absent loss beside a present pipeline is 0; without the pipeline, `None`.
    pub fn loss_ratio(&self) -> Option<f64> {
        let received = self.received?.per_second();
        let dropped = self.dropped.map_or(0.0, Rate::per_second);
        // Drops without anything received: the received counter lags or is wrong; either way all of it was lost.
        Some(if received > 0.0 { (dropped / received).clamp(0.0, 1.0) } else { f64::from(u8::from(dropped > 0.0)) })
    }

    /// `received - dropped`, not negative; `None` when `received` is absent.
    pub fn accepted_per_second(&self) -> Option<f64> {
        let received = self.received?.per_second();
        Some((received - self.dropped.map_or(0.0, Rate::per_second)).max(0.0))
    }
}
