//! The keys under `clients`, `scrape`, `backend` and `faults`: what surrounds the law.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::keys::{Keys, TIME_MAX, seconds};
use super::raw::{RawBackend, RawClients, RawDropCounter, RawFault, RawScrape};
use super::shapes;
use crate::document::check::Check;
use crate::simulate::scenario::{
    Adoption, Backend, Clients, Fault, FaultKind, ReadingKind, Scrape, ServicePlan, Shape,
};

/// Most faults of a scenario.
const FAULTS_MAX: usize = 1000;
const PART: RangeInclusive<f64> = 0.0..=1.0;
/// From one scrape or tick to the next.
pub(super) const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=seconds(600);
const DELAY: RangeInclusive<Duration> = Duration::ZERO..=seconds(600);

pub(super) fn clients(raw: Option<RawClients>, check: &mut Check<'_>) -> Clients {
    let raw = raw.unwrap_or_default();
    let keys = &mut Keys::new("clients", check);
    let adoption = adoption(&raw, keys);
    let has_local_limit = raw.local_limit.unwrap_or(false);
    if has_local_limit && raw.poll.is_some() {
        keys.fail("local_limit", "the share travels on the stream, not in a polled answer; leave `poll` out");
    }
    Clients {
        instances: keys.count("instances", raw.instances, 40, 1..=10_000),
        adoption,
        has_local_limit,
        ignoring: keys.number("ignoring", raw.ignoring, 0.0, PART),
        ignoring_probability: keys.number("ignoring_probability", raw.ignoring_probability, 1.0, PART),
        restart_every: raw.restart_every.map(|written| {
            keys.time("restart_every", Some(written), seconds(3600), seconds(10)..=seconds(365 * 86_400))
        }),
        skew: keys.number("skew", raw.skew, 0.0, 0.0..=5.0),
    }
}

fn adoption(raw: &RawClients, keys: &mut Keys<'_, '_>) -> Adoption {
    if raw.stream.is_some() && raw.poll.is_some() {
        keys.fail("poll", "beside `stream`: a scenario's clients do one or the other");
    }
    if raw.poll.is_none() && keys.is_written("synchronised") {
        keys.fail("synchronised", "belongs to `poll`");
    }
    match raw.poll {
        Some(_) => Adoption::Poll {
            every: keys.time("poll", raw.poll, seconds(60), seconds(1)..=seconds(3600)),
            is_synchronised: raw.synchronised.unwrap_or(false),
        },
        None => Adoption::Stream { delay: keys.time("stream", raw.stream, Duration::from_millis(600), DELAY) },
    }
}

pub(super) fn scrape(raw: Option<RawScrape>, check: &mut Check<'_>) -> Scrape {
    let raw = raw.unwrap_or_default();
    let keys = &mut Keys::new("scrape", check);
    let interval = keys.time("interval", raw.interval, seconds(5), INTERVAL);
    if raw.rate_window.is_none() && keys.is_written("freshness") {
        keys.fail("freshness", "belongs to `rate_window`: raw samples have timestamps of their own");
    }
    let reading = match raw.rate_window {
        None => ReadingKind::Raw,
        Some(_) => ReadingKind::Rate {
            window: keys.time("rate_window", raw.rate_window, seconds(60), seconds(1)..=seconds(3600)),
            has_freshness: raw.freshness.unwrap_or(true),
        },
    };
    if let ReadingKind::Rate { window, .. } = reading
        && window < interval * 2
    {
        keys.fail("rate_window", "a rate needs two samples: at least two scrape intervals");
    }
    Scrape {
        interval,
        missed: keys.number("missed", raw.missed, 0.0, 0.0..=0.95),
        is_spread: raw.spread.unwrap_or(false),
        visible_after: keys.time("visible_after", raw.visible_after, Duration::ZERO, DELAY),
        reading,
        is_locked: raw.locked.unwrap_or(true),
    }
}

pub(super) fn backend(raw: Option<RawBackend>, check: &mut Check<'_>) -> Backend {
    check.require("backend", "needs who receives, such as {capacity: 8000}");
    let is_written = raw.is_some();
    let raw = raw.unwrap_or_default();
    let keys = &mut Keys::new("backend", check);
    let capacity = if is_written { shapes::level("capacity", raw.capacity, keys) } else { Vec::new() };
    if let [Shape::Constant(0.0)] = capacity[..] {
        keys.fail("capacity", "must be above 0");
    }
    Backend {
        capacity,
        queue: keys.time("queue", raw.queue, seconds(1), DELAY),
        has_drop_counter: raw.drop_counter != Some(RawDropCounter::AtFirstLoss),
    }
}

pub(super) fn faults(
    raw: Option<Vec<RawFault>>,
    duration: Duration,
    services: &[ServicePlan],
    check: &mut Check<'_>,
) -> Vec<Fault> {
    let raw = raw.unwrap_or_default();
    if raw.len() > FAULTS_MAX {
        check.fail("faults", format_args!("at most {FAULTS_MAX}"));
        return Vec::new();
    }
    let each = raw.into_iter().enumerate();
    each.filter_map(|(i, raw)| fault(raw, duration, services, &mut Keys::new(format!("faults[{i}]"), check))).collect()
}

fn fault(raw: RawFault, duration: Duration, services: &[ServicePlan], keys: &mut Keys<'_, '_>) -> Option<Fault> {
    let at = keys.required_time("at", raw.at, Duration::ZERO..=TIME_MAX);
    if at >= duration {
        keys.fail("at", "not before the end of the run; see `duration`");
    }
    let lasts = raw.lasts.map(|_| keys.time("for", raw.lasts, seconds(1), Duration::from_millis(1)..=TIME_MAX));
    Some(Fault { at, lasts, kind: kind(raw, services, keys)? })
}

fn kind(raw: RawFault, services: &[ServicePlan], keys: &mut Keys<'_, '_>) -> Option<FaultKind> {
    const KINDS: [&str; 7] = [
        "prometheus_outage",
        "dead_exporters",
        "frozen_metrics",
        "capacity_times",
        "demand_times",
        "constant_loss",
        "clock_jump_seconds",
    ];
    let kinds: Vec<&str> = KINDS.into_iter().filter(|kind| keys.is_written(kind)).collect();
    let [kind] = kinds[..] else {
        keys.fail("", format_args!("needs exactly one of {}", KINDS.join(", ")));
        return None;
    };
    for (name, value) in [
        ("prometheus_outage", raw.prometheus_outage),
        ("dead_exporters", raw.dead_exporters),
        ("frozen_metrics", raw.frozen_metrics),
    ] {
        if value == Some(false) {
            keys.fail(name, "leave the fault out where it does not happen");
        }
    }
    Some(match kind {
        "prometheus_outage" => FaultKind::PrometheusOutage,
        "dead_exporters" => FaultKind::DeadExporters,
        "frozen_metrics" => FaultKind::FrozenMetrics,
        "capacity_times" => FaultKind::CapacityTimes(keys.number(kind, raw.capacity_times, 1.0, 0.0..=1000.0)),
        "constant_loss" => FaultKind::ConstantLoss(keys.number(kind, raw.constant_loss, 0.0, PART)),
        "clock_jump_seconds" => FaultKind::ClockJump(keys.number(kind, raw.clock_jump_seconds, 0.0, -1e9..=1e9)),
        _ => {
            let raw = raw.demand_times?;
            let keys = &mut keys.under(kind);
            keys.require("service", "needs the service's name");
            let name = raw.service.unwrap_or_default();
            let plan = services.iter().find(|plan| *plan.name == *name);
            if plan.is_none() && keys.is_written("service") {
                keys.fail("service", "no service of this scenario has this name");
            }
            let factor = keys.required_number("factor", raw.factor, 0.0..=100_000.0);
            FaultKind::DemandTimes { service: plan?.name.clone(), factor }
        }
    })
}
