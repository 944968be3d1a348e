//! What the controller can see: counters, sampled by a scraper that has a period, a phase and bad days.
//!
//! As the real source does, raw samples become the rise between the last two of a series, with their own times; a
//! counter that appears rose from zero since the scrape before; a series without news keeps its last rise. `rate()` is
//! computed as Prometheus does (`extrapolatedRate`): over the samples in its window, stretched towards the window's
//! ends, so that it lags by half of it and decays when samples stop.

use std::collections::VecDeque;
use std::time::Duration;

use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use super::scenario::{ReadingKind, Scrape};
use crate::sampling::traffic::{Demand, Interval, Name, Rate, Traffic};
use crate::time::WallTime;

/// Samples further apart than this many scrape intervals are not joined: more than one was missed.
const GAP_MAX_INTERVALS: f64 = 2.5;
/// Series without a sample for this long are forgotten, as Prometheus does.
const FORGOTTEN_AFTER: f64 = 300.0;
/// Series without a sample for this many intervals have stopped.
const STOPPED_AFTER_INTERVALS: f64 = 2.0;

/// What a scrape finds wrong today.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Trouble {
    /// Nobody scrapes, or nobody answers.
    pub is_dead: bool,
    /// The exporters show what they showed.
    pub is_frozen: bool,
}

/// The counters of one target.
#[derive(Debug, Clone)]
pub(super) struct Target {
    next_at: f64,
    /// When each was sampled, and the values; a counter that did not exist is `None`.
    samples: VecDeque<(f64, Vec<Option<f64>>)>,
}

/// Scrapes targets: one a service, and the backend's as the last.
#[derive(Debug, Clone)]
pub(super) struct Scraper {
    config: Scrape,
    targets: Vec<Target>,
    kept: usize,
}

/// One counter between two samples.
#[derive(Debug, Clone, Copy)]
struct Rise {
    from: f64,
    to: f64,
    per_second: f64,
    is_warming: bool,
}

/// How seconds of the run read on the controller's wall clock at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct WallClock {
    /// Its reading at second 0 of the run.
    pub zero: WallTime,
    /// What it is off by, in milliseconds.
    pub offset_ms: i64,
}

impl WallClock {
    /// The wall time of a second of the run.
    pub(super) fn at(self, seconds: f64) -> WallTime {
        WallTime::from_unix_ms(self.zero.unix_ms() + self.offset_ms + (seconds * 1000.0).round() as i64)
    }
}

impl Scraper {
    /// `counters`: how many each target has.
    pub(super) fn new(config: &Scrape, counters: &[usize], random: &mut Pcg64Mcg) -> Self {
        let interval = config.interval.as_secs_f64();
        let together = random.random::<f64>() * interval;
        let target = |_: &usize| {
            let phase = if config.is_spread { random.random::<f64>() * interval } else { together };
            Target { next_at: phase, samples: VecDeque::new() }
        };
        let targets = counters.iter().map(target).collect();
        let window = match config.reading {
            ReadingKind::Raw => Duration::ZERO,
            ReadingKind::Rate { window, .. } => window,
        };
        Self { config: config.clone(), targets, kept: (window.as_secs_f64() / interval).ceil() as usize + 4 }
    }

    /// Takes the samples that are due; `read` gives a target's counters now. Returns whether any was.
    pub(super) fn step<F>(&mut self, t: f64, trouble: Trouble, random: &mut Pcg64Mcg, mut read: F) -> bool
    where
        F: FnMut(usize, &mut Vec<Option<f64>>),
    {
        let mut is_new = false;
        for (i, target) in self.targets.iter_mut().enumerate() {
            if t < target.next_at {
                continue;
            }
            target.next_at += self.config.interval.as_secs_f64();
            let is_missed = self.config.missed > 0.0 && random.random::<f64>() < self.config.missed;
            if trouble.is_dead || is_missed {
                continue;
            }
            let mut values = target.recycled(self.kept);
            match target.samples.back().filter(|_| trouble.is_frozen) {
                Some((_, frozen)) => values.clone_from(frozen),
                None => read(i, &mut values),
            }
            target.samples.push_back((t, values));
            is_new = true;
        }
        is_new
    }

    /// What the source would answer at `t`. `names[i]` are the service and operation of each counter of target `i`; the
    /// last target's counters are `received` and `dropped`.
    pub(super) fn traffic(&self, t: f64, clock: WallClock, names: &[Vec<(Name, Option<Name>)>]) -> Traffic {
        // Times are sums of steps: a rounding error must not hide a sample.
        let seen = t - self.config.visible_after.as_secs_f64() + 1e-6;
        let Some((backend, services)) = self.targets.split_last() else { return Traffic::default() };
        let mut demand = Vec::with_capacity(names.iter().map(Vec::len).sum());
        let mut span = None;
        let mut newest: Option<f64> = None;
        for (target, names) in services.iter().zip(names) {
            let Some(last) = target.newest(seen).filter(|last| t - last <= FORGOTTEN_AFTER) else { continue };
            newest = Some(newest.map_or(last, |n| n.max(last)));
            let is_stale = t - last > STOPPED_AFTER_INTERVALS * self.config.interval.as_secs_f64();
            for (counter, (service, operation)) in names.iter().enumerate() {
                let Some(rise) = self.rise(target, counter, t, seen) else { continue };
                if !rise.is_warming {
                    widen(&mut span, rise);
                }
                demand.push(Demand {
                    service: service.clone(),
                    operation: operation.clone(),
                    per_second: rise.per_second,
                    is_warming: rise.is_warming,
                    is_stale: is_stale && matches!(self.config.reading, ReadingKind::Raw),
                });
            }
        }
        let rate = |counter| {
            let last = backend.newest(seen).filter(|last| t - last <= FORGOTTEN_AFTER)?;
            let rise = self.rise(backend, counter, t, seen).filter(|rise| !rise.is_warming && rise.from < last)?;
            Rate::new(rise.per_second, clock.interval(rise.from, rise.to))
        };
        let tells_age = !matches!(self.config.reading, ReadingKind::Rate { has_freshness: false, .. });
        Traffic {
            demand_over: span.filter(|_| !demand.is_empty()).map(|(from, to)| clock.interval(from, to)),
            received: rate(0),
            dropped: rate(1),
            age: newest.filter(|_| tells_age).map(|n| Duration::from_secs_f64((t - n).max(0.0))),
            scrape_interval: tells_age.then_some(self.config.interval),
            is_partial: false,
            demand,
        }
    }

    fn rise(&self, target: &Target, counter: usize, t: f64, seen: f64) -> Option<Rise> {
        match self.config.reading {
            ReadingKind::Raw => self.raw_rise(target, counter, seen),
            ReadingKind::Rate { window, has_freshness } => {
                let rise = self.windowed(target, counter, t, seen, window.as_secs_f64())?;
                let newest = target.newest(seen)?;
                // Without freshness nobody knows that the samples ended before now.
                let to = if has_freshness { newest } else { t };
                Some(Rise { from: to - window.as_secs_f64(), to, ..rise })
            }
        }
    }

    fn raw_rise(&self, target: &Target, counter: usize, seen: f64) -> Option<Rise> {
        let mut visible = target.samples.iter().rev().filter(|(at, _)| *at <= seen);
        let (to, values) = visible.next()?;
        let last = values[counter]?;
        let gap_max = GAP_MAX_INTERVALS * self.config.interval.as_secs_f64();
        let before = visible.next().filter(|(from, _)| to - from <= gap_max);
        Some(match before {
            Some((from, values)) => {
                let increase = last - values[counter].unwrap_or(0.0);
                Rise { from: *from, to: *to, per_second: increase.max(0.0) / (to - from), is_warming: false }
            }
            None => Rise { from: *to, to: *to, per_second: 0.0, is_warming: true },
        })
    }

    /// Prometheus' `extrapolatedRate`, for counters that do not restart.
    fn windowed(&self, target: &Target, counter: usize, t: f64, seen: f64, window: f64) -> Option<Rise> {
        let inside =
            |(at, values): &&(f64, Vec<Option<f64>>)| *at <= seen && *at > t - window && values[counter].is_some();
        let mut samples = target.samples.iter().filter(inside);
        let (first, values) = samples.next()?;
        let first_value = values[counter]?;
        let (mut last, mut last_value, mut count) = (*first, first_value, 1.0);
        for (at, values) in samples {
            (last, last_value, count) = (*at, values[counter]?, count + 1.0);
        }
        if count < 2.0 {
            return None;
        }
        let sampled = last - first;
        let spacing = sampled / (count - 1.0);
        let reach = |gap: f64| if gap < 1.1 * spacing { gap } else { spacing / 2.0 };
        let increase = last_value - first_value;
        // A counter is not stretched below zero.
        let to_zero = if increase > 0.0 { sampled * first_value / increase } else { f64::INFINITY };
        let stretched = sampled + reach(first - (t - window)).min(to_zero) + reach(t - last);
        let per_second = increase * (stretched / sampled) / window;
        Some(Rise { from: *first, to: last, per_second, is_warming: false })
    }
}

impl Target {
    fn newest(&self, seen: f64) -> Option<f64> {
        self.samples.iter().rev().map(|(at, _)| *at).find(|at| *at <= seen)
    }

    /// A buffer for the next values; the oldest sample's once there are `kept`.
    fn recycled(&mut self, kept: usize) -> Vec<Option<f64>> {
        let old = if self.samples.len() >= kept { self.samples.pop_front() } else { None };
        let mut values = old.map_or_else(Vec::new, |(_, values)| values);
        values.clear();
        values
    }
}

impl WallClock {
    fn interval(self, from: f64, to: f64) -> Interval {
        Interval { from: self.at(from), to: self.at(to) }
    }
}

fn widen(span: &mut Option<(f64, f64)>, rise: Rise) {
    *span = Some(span.map_or((rise.from, rise.to), |(from, to)| (from.min(rise.from), to.max(rise.to))));
}
