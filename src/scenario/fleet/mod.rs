//! The raw shape of a fleet's scenario to the one that the simulator runs.

mod carriers;
mod faults;
mod netem;

use std::sync::Arc;
use std::time::Duration;

use super::keys::{Keys, TIME_MAX, seconds};
use super::raw::fleet::{RawAbsences, RawBursts, RawFleetPlan, RawFleetScenario};
use super::{checks, validate};
use crate::document::Node;
use crate::document::check::Check;
use crate::keepalive::policy::Fleet;
use crate::policy::fleet as policy;
use crate::policy::fleet_raw::RawFleetFile;
use crate::simulate::fleet::metrics::FLEET_METRICS;
use crate::simulate::fleet::scenario::{Absences, FleetLaw, FleetScenario, LossModel, PolicyPlan};
use crate::time::WallTime;

const DURATION_MIN: Duration = seconds(10);
const DURATION_DEFAULT: Duration = seconds(86_400);
const WARMUP_DEFAULT: Duration = seconds(3_600);
const SEEDS_DEFAULT: u32 = 3;
/// More than this is no way.
const LOSS_MAX: f64 = 0.9;

/// The validated scenario, `law` in place of the file's own; of no use where `check` holds an error.
pub(super) fn validate(
    raw: RawFleetScenario,
    file_name: &str,
    law: Option<FleetLaw>,
    check: &mut Check<'_>,
) -> FleetScenario {
    let name = validate::name(raw.scenario, file_name, check);
    let plan = raw.fleet.unwrap_or_default();
    let keys = &mut Keys::new("", check);
    let duration = keys.time("duration", raw.duration, DURATION_DEFAULT, DURATION_MIN..=TIME_MAX);
    let warmup = keys.time("warmup", raw.warmup, WARMUP_DEFAULT.min(duration / 4), Duration::ZERO..=duration);
    if warmup == duration {
        keys.fail("warmup", "as long as `duration`: nothing is left to judge");
    }
    let seeds = keys.count("seeds", raw.seeds, SEEDS_DEFAULT, 1..=1000);
    let tick = keys.time("tick", raw.tick, seconds(1), Duration::from_millis(100)..=seconds(60));
    let own = raw.law.as_deref().map(|name| the_law(name, keys));
    let settle = keys.time("settle", raw.settle, Duration::ZERO, Duration::ZERO..=TIME_MAX);
    let carriers = carriers::carriers(&plan, &mut Keys::new("fleet", check));
    let netem = netem::netem(&plan, duration, &carriers, &mut Keys::new("fleet", check));
    let policy = the_policy("policy", &name, raw.policy.unwrap_or_default(), check);
    let faults = faults::faults(raw.faults, duration, &carriers, &policy, check);
    let first = faults.iter().map(|fault| fault.at).min().unwrap_or(warmup);
    let event_at = Keys::new("", check).time("event_at", raw.event_at, first.min(duration), Duration::ZERO..=duration);
    if event_at + settle >= duration {
        check.fail("settle", "nothing is left of `duration` so long after `event_at`");
    }
    FleetScenario {
        about: raw.about.unwrap_or_default().trim().into(),
        law: law.or(own).unwrap_or(FleetLaw::Adaptive),
        policy: policy.fleet,
        policy_written: policy.written,
        duration,
        warmup,
        event_at,
        settle,
        seeds,
        tick,
        netem,
        faults,
        checks: checks::checks(raw.checks, &FLEET_METRICS, check),
        name,
        ..around(&plan, carriers, &mut Keys::new("fleet", check))
    }
}

/// What surrounds the devices; the rest of the scenario is the caller's.
fn around(
    plan: &RawFleetPlan,
    carriers: crate::simulate::fleet::scenario::Carriers,
    keys: &mut Keys<'_, '_>,
) -> FleetScenario {
    FleetScenario {
        name: "".into(),
        about: "".into(),
        law: FleetLaw::Adaptive,
        policy: Fleet::named(""),
        policy_written: "{}".into(),
        duration: Duration::ZERO,
        warmup: Duration::ZERO,
        event_at: Duration::ZERO,
        settle: Duration::ZERO,
        seeds: 1,
        tick: Duration::ZERO,
        start_within: keys.time("start_within", plan.start_within, seconds(60), Duration::ZERO..=seconds(86_400)),
        carriers,
        loss: loss(plan, keys),
        netem: Vec::new(),
        holes: plan.holes.as_ref().map(|raw| absences(raw, &mut keys.under("holes"))),
        are_holes_noticed: plan.holes_noticed.unwrap_or(false),
        power_off: plan.power_off.as_ref().map(|raw| absences(raw, &mut keys.under("power_off"))),
        changes_every: plan.changes_every.map(|written| {
            let range = seconds(3_600)..=seconds(3_650 * 86_400);
            keys.time("changes_every", Some(written), seconds(30 * 86_400), range)
        }),
        deaf: keys.number("deaf", plan.deaf, 0.0, 0.0..=1.0),
        are_following_up: plan.follow_up.unwrap_or(true),
        faults: Vec::new(),
        checks: Vec::new(),
    }
}

fn the_law(name: &str, keys: &mut Keys<'_, '_>) -> FleetLaw {
    FleetLaw::of(name).unwrap_or_else(|| {
        keys.fail("law", FleetLaw::KNOWN);
        FleetLaw::Adaptive
    })
}

fn loss(plan: &RawFleetPlan, keys: &mut Keys<'_, '_>) -> LossModel {
    let Some(raw) = &plan.bursts else {
        return LossModel::Plain(keys.number("loss", plan.loss, 0.01, 0.0..=LOSS_MAX));
    };
    if plan.loss.is_some() {
        keys.fail("loss", "beside `bursts`: the way loses one way or the other");
    }
    bursts(raw, &mut keys.under("bursts"))
}

fn bursts(raw: &RawBursts, keys: &mut Keys<'_, '_>) -> LossModel {
    let RawBursts { to_bad, to_good, lost_bad, lost_good } = *raw;
    let mut part = |name, value, default| keys.number(name, value, default, 0.0..=1.0);
    LossModel::GilbertElliott {
        to_bad: part("to_bad", to_bad, 0.005),
        to_good: part("to_good", to_good, 0.3),
        lost_bad: part("lost_bad", lost_bad, 0.6),
        lost_good: part("lost_good", lost_good, 0.002),
    }
}

fn absences(raw: &RawAbsences, keys: &mut Keys<'_, '_>) -> Absences {
    let every = keys.required_time("every", raw.every, seconds(10)..=seconds(365 * 86_400));
    let min = keys.required_time("min", raw.min, Duration::ZERO..=TIME_MAX);
    let max = keys.required_time("max", raw.max, Duration::ZERO..=TIME_MAX);
    if min > max && raw.max.is_some() {
        keys.fail("min", "above `max`");
    }
    Absences { every, min, max: max.max(min) }
}

/// The policy under `key`, as in a file of its own.
fn the_policy(key: &str, name: &Arc<str>, mut raw: RawFleetFile, check: &mut Check<'_>) -> PolicyPlan {
    for key in [format!("{key}.fleet"), format!("{key}.match")] {
        if check.is_written(&key) {
            check.fail(&key, "means nothing here: all devices of the scenario are of one fleet");
        }
    }
    raw.matches = None;
    let root = check.root();
    let empty = Node::empty_map(root.place.clone());
    let node = root.at(key).unwrap_or(&empty);
    let mut inner = Check::new(node);
    // A pin that has expired today is no mistake here: simulated time is another.
    let fleet = policy::named(Arc::clone(name), raw, WallTime::from_unix_ms(0), &mut inner);
    let found = inner.errors.into_iter().map(|mut problem| {
        problem.key = format!("{key}.{}", problem.key);
        problem
    });
    check.errors.extend(found);
    PolicyPlan { fleet, written: node.to_json().to_string().into() }
}
