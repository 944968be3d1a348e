//! The keys under `services`: groups become single services, whose demands are parts of the group's.

use std::collections::HashSet;

use super::keys::Keys;
use super::raw::{RawOperations, RawPlan};
use super::shapes;
use crate::document::check::Check;
use crate::simulate::scenario::ServicePlan;

/// Most services of a scenario, groups counted out.
const SERVICES_MAX: usize = 10_000;
/// Most operations of all services together: what a run holds in memory.
const OPERATIONS_MAX: usize = 100_000;
const NAME_MAX: usize = 128;
/// Stands for a service's number in its group.
const NUMBER: &str = "{i}";

/// All services, groups counted out.
pub(super) fn services(raw: Option<Vec<RawPlan>>, check: &mut Check<'_>) -> Vec<ServicePlan> {
    check.require("services", "needs who sends, such as [{name: shop, demand: 100}]");
    let Some(raw) = raw else { return Vec::new() };
    let mut plans: Vec<ServicePlan> = Vec::new();
    for (i, raw) in raw.into_iter().enumerate() {
        let keys = &mut Keys::new(format!("services[{i}]"), check);
        let group = group(raw, keys);
        let operations: usize = plans.iter().chain(&group).map(|plan| plan.operations.len()).sum();
        if plans.len() + group.len() > SERVICES_MAX || operations > OPERATIONS_MAX {
            keys.fail("", format_args!("more than {SERVICES_MAX} services or {OPERATIONS_MAX} operations in all"));
            return plans;
        }
        plans.extend(group);
    }
    refuse_twins(&plans, check);
    if !check.has_errors_under("services") && !plans.iter().any(|plan| plan.is_root) {
        check.fail("services", "no service is a root: no trace would begin");
    }
    plans
}

fn group(raw: RawPlan, keys: &mut Keys<'_, '_>) -> Vec<ServicePlan> {
    let count = keys.count("count", raw.count, 1, 1..=SERVICES_MAX as u32);
    let name = name(raw.name, keys.is_written("count"), keys);
    let zipf = keys.number("zipf", raw.zipf, 0.0, 0.0..=5.0);
    let demand = shapes::level("demand", raw.demand, keys);
    let operations = operations(raw.operations, keys);
    let spans_per_trace = keys.number("spans_per_trace", raw.spans_per_trace, 8.0, 1.0..=100_000.0);
    let is_root = raw.root.unwrap_or(true);
    let plan = |(i, part): (usize, f64)| ServicePlan {
        name: name.replace(NUMBER, &(i + 1).to_string()).into(),
        demand: demand.iter().map(|shape| shapes::scaled(shape, part)).collect(),
        operations: operations.clone(),
        spans_per_trace,
        is_root,
    };
    parts(count, zipf).into_iter().enumerate().map(plan).collect()
}

fn name(written: Option<String>, is_group: bool, keys: &mut Keys<'_, '_>) -> String {
    keys.require("name", "needs the service's name");
    let name = written.unwrap_or_default();
    if !keys.is_written("name") {
        return name;
    }
    if name.is_empty() || name.len() > NAME_MAX {
        keys.fail("name", format_args!("allowed are 1 to {NAME_MAX} bytes"));
    } else if is_group && !name.contains(NUMBER) {
        keys.fail("name", "the name of a group must contain {i}, such as \"svc-{i}\"");
    } else if !is_group && name.contains(NUMBER) {
        keys.fail("name", "has {i}, the number in a group; say how many it is with `count`");
    }
    name
}

fn operations(raw: Option<RawOperations>, keys: &mut Keys<'_, '_>) -> Vec<f64> {
    let Some(raw) = raw else { return vec![1.0] };
    let keys = &mut keys.under("operations");
    keys.require("count", "needs how many operations there are");
    let count = keys.count("count", raw.count, 1, 1..=1000);
    parts(count, keys.number("zipf", raw.zipf, 1.0, 0.0..=5.0))
}

/// Parts in proportion to 1 / i^exponent; they sum to 1.
fn parts(count: u32, exponent: f64) -> Vec<f64> {
    let sizes: Vec<f64> = (1..=count).map(|i| f64::from(i).powf(-exponent)).collect();
    let total: f64 = sizes.iter().sum();
    sizes.iter().map(|size| size / total).collect()
}

fn refuse_twins(plans: &[ServicePlan], check: &mut Check<'_>) {
    let mut seen = HashSet::new();
    if let Some(twin) = plans.iter().find(|plan| !plan.name.is_empty() && !seen.insert(&plan.name)) {
        check.fail("services", format_args!("two services have the name {:?}", twin.name));
    }
}
