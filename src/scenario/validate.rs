//! The raw shape of a scenario to the one that the simulator runs: every default filled in, every relation checked.

use std::sync::Arc;
use std::time::Duration;

use super::keys::{Keys, TIME_MAX, seconds};
use super::raw::{RawScenario, RawWindow};
use super::{checks, services, world};
use crate::document::Node;
use crate::document::check::Check;
use crate::policy::raw::{RawLaw, RawPolicy};
use crate::policy::validate as policy;
use crate::sampling::policy::Policy;
use crate::sampling::traffic::Name;
use crate::simulate::metrics::METRICS;
use crate::simulate::scenario::{Fault, LawKind, Scenario, ServicePlan, Shape};
use crate::time::WallTime;

const DURATION_MIN: Duration = seconds(10);
const DURATION_DEFAULT: Duration = seconds(900);
const WARMUP_DEFAULT: Duration = seconds(120);
const NAME_MAX: usize = 64;

/// The validated scenario, `law` in place of the file's own; of no use where `check` holds an error.
pub(super) fn validate(raw: RawScenario, file_name: &str, law: Option<LawKind>, check: &mut Check<'_>) -> Scenario {
    let name = name(raw.scenario, file_name, check);
    let services = services::services(raw.services, check);
    let keys = &mut Keys::new("", check);
    let duration = keys.time("duration", raw.duration, duration_of(&services), DURATION_MIN..=TIME_MAX);
    let warmup = keys.time("warmup", raw.warmup, WARMUP_DEFAULT.min(duration / 4), Duration::ZERO..=duration);
    if warmup == duration {
        keys.fail("warmup", "as long as `duration`: nothing is left to judge");
    }
    let faults = world::faults(raw.faults, duration, &services, check);
    let backend = world::backend(raw.backend, check);
    let keys = &mut Keys::new("", check);
    let first = first_event(&services, &backend.capacity, &faults, warmup);
    let event_at = keys.time("event_at", raw.event_at, first, warmup..=duration);
    let seeds = keys.count("seeds", raw.seeds, 20, 1..=1000);
    let tick = keys.time("tick", raw.tick, seconds(5), world::INTERVAL);
    let policy_law = raw.policy.as_ref().and_then(|policy| policy.law).map(of_policy);
    let law = law.or(raw.law.map(LawKind::from)).or(policy_law).unwrap_or(LawKind::Adaptive);
    Scenario {
        about: raw.about.unwrap_or_default().trim().into(),
        policy: the_policy(Arc::clone(&name), raw.policy.unwrap_or_default(), law, check),
        policy_written: written(check),
        name,
        law,
        duration,
        warmup,
        event_at,
        fairness_window: raw.fairness_window.map(|raw| window(&raw, duration - event_at.min(duration), check)),
        seeds,
        services,
        clients: world::clients(raw.clients, check),
        scrape: world::scrape(raw.scrape, check),
        tick,
        backend,
        faults,
        checks: checks::checks(raw.checks, &METRICS, check),
    }
}

pub(super) fn name(written: Option<String>, file_name: &str, check: &mut Check<'_>) -> Name {
    let name = written.as_deref().unwrap_or(file_name);
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(is_allowed) {
        let message = format!("allowed are 1 to {NAME_MAX} characters of A-Z a-z 0-9 _ . -");
        let from_file = if written.is_none() { "; the file's name is not, so give one" } else { "" };
        check.fail("scenario", format_args!("{message}{from_file}"));
    }
    name.into()
}

fn of_policy(law: RawLaw) -> LawKind {
    match law {
        RawLaw::Adaptive => LawKind::Adaptive,
        RawLaw::Threshold => LawKind::Threshold,
        RawLaw::Fixed => LawKind::Fixed,
    }
}

/// The policy as in a file of its own, with the constants of the law that will run.
fn the_policy(name: Name, mut raw: RawPolicy, law: LawKind, check: &mut Check<'_>) -> Policy {
    raw.law = Some(match law {
        LawKind::Threshold => RawLaw::Threshold,
        LawKind::Fixed => RawLaw::Fixed,
        _ => RawLaw::Adaptive,
    });
    let root = check.root();
    let empty = Node::empty_map(root.place.clone());
    let mut inner = Check::new(root.at("policy").unwrap_or(&empty));
    // A pin that has expired today is no mistake here: simulated time is another.
    let policy = policy::sampling(name, raw, None, WallTime::from_unix_ms(0), &mut inner);
    let found = inner.errors.into_iter().map(|mut problem| {
        problem.key = format!("policy.{}", problem.key);
        problem
    });
    check.errors.extend(found);
    policy
}

fn written(check: &Check<'_>) -> Arc<str> {
    check.root().at("policy").map_or_else(|| "{}".into(), |node| node.to_json().to_string().into())
}

fn window(raw: &RawWindow, after_event: Duration, check: &mut Check<'_>) -> (Duration, Duration) {
    if ["duration", "warmup", "event_at"].iter().any(|key| check.has_errors_under(key)) {
        return (Duration::ZERO, after_event); // What it relates to is wrong itself.
    }
    let keys = &mut Keys::new("fairness_window", check);
    let from = keys.time("from", raw.from, Duration::ZERO, Duration::ZERO..=after_event);
    let to = keys.required_time("to", raw.to, Duration::ZERO..=after_event);
    if from >= to && !keys.check.has_errors_under("fairness_window") {
        keys.fail("to", "not after `from`");
    }
    (from, to)
}

/// To the end of the last row of the longest trace; its last row stands as long as the one before.
fn duration_of(services: &[ServicePlan]) -> Duration {
    let ends = services.iter().flat_map(|plan| &plan.demand).filter_map(|shape| match shape {
        Shape::Recorded { rows } => match rows[..] {
            [.., (before, _), (last, _)] => Some(last + (last - before)),
            _ => None,
        },
        _ => None,
    });
    let longest = ends.fold(0.0, f64::max);
    if longest > 0.0 {
        Duration::try_from_secs_f64(longest).unwrap_or(TIME_MAX).clamp(DURATION_MIN, TIME_MAX)
    } else {
        DURATION_DEFAULT
    }
}

/// The first moment that something is written to happen at, from `warmup` on.
fn first_event(services: &[ServicePlan], capacity: &[Shape], faults: &[Fault], warmup: Duration) -> Duration {
    let shapes = services.iter().flat_map(|plan| &plan.demand).chain(capacity);
    let moments = shapes.filter_map(|shape| match shape {
        Shape::Step { at, .. } | Shape::Ramp { at, .. } => Some(*at),
        _ => None,
    });
    let moments = moments.chain(faults.iter().map(|fault| fault.at));
    moments.filter(|at| *at >= warmup).min().unwrap_or(warmup)
}
