//! What the loop says about itself: counters at each tick, a log line where a decision changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::sampling::decision::{PolicyDecision, ServiceDecision};
use crate::sampling::traffic::Name;
use crate::source::QueryError;
use crate::telemetry::metrics::{DecisionLabels, Metrics};

/// Services named in the log at one tick; a change of policy over 100,000 services is not 100,000 lines.
const SERVICES_LOGGED_MAX: usize = 20;

/// Remembers what was said, so that it is said once.
#[derive(Debug)]
pub(super) struct Journal {
    metrics: Metrics,
    /// The last error of each policy's poll, by its text.
    failing: BTreeMap<Name, String>,
}

impl Journal {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { metrics, failing: BTreeMap::new() }
    }

    /// Notes how a policy's poll ended.
    pub(super) fn polled(&mut self, policy: &Name, error: Option<&QueryError>) {
        let Some(error) = error else {
            if self.failing.remove(policy).is_some() {
                tracing::info!(%policy, "the source answers again");
            }
            return;
        };
        let text = error.to_string();
        if self.failing.get(policy) != Some(&text) {
            let error = error as &(dyn std::error::Error + 'static);
            tracing::warn!(%policy, error, "the source did not answer: probabilities hold");
            self.failing.insert(policy.clone(), text);
        }
    }

    /// Notes how long the tick took.
    pub(super) fn ticked(&self, took: Duration) {
        self.metrics.tick_seconds.set(took.as_secs_f64());
    }

    /// Notes every decision in the counters and every change in the log. Both slices are sorted by policy.
    pub(super) fn decided(&self, before: &[Arc<PolicyDecision>], now: &[Arc<PolicyDecision>]) {
        for decision in now {
            self.count(decision);
            let earlier = before.iter().find(|d| d.policy == decision.policy);
            log_policy(earlier.map(|d| &**d), decision);
            log_services(earlier.map_or(&[], |d| &d.services), decision);
        }
    }

    fn count(&self, decision: &PolicyDecision) {
        let mut by_reason: BTreeMap<&'static str, u64> = BTreeMap::new();
        for service in &decision.services {
            *by_reason.entry(service.rate.reason.as_str()).or_default() += 1;
        }
        for (reason, count) in by_reason {
            let labels = DecisionLabels { policy: decision.policy.to_string(), reason };
            self.metrics.decisions.get_or_create(&labels).inc_by(count);
        }
    }
}

fn log_policy(before: Option<&PolicyDecision>, now: &PolicyDecision) {
    let (policy, inputs) = (&now.policy, &now.inputs);
    let was_degraded = before.and_then(|d| d.degraded);
    match now.degraded {
        Some(reason) if was_degraded != now.degraded => {
            tracing::warn!(%policy, reason = reason.as_str(), "degraded");
        }
        None if was_degraded.is_some() => tracing::info!(%policy, "no longer degraded"),
        _ => {}
    }
    if before.is_none_or(|d| d.inputs.budget_reason != inputs.budget_reason) {
        tracing::info!(
            %policy,
            reason = inputs.budget_reason.as_str(),
            budget_spans_per_second = inputs.budget_spans_per_second,
            loss_ratio = inputs.loss_ratio,
            "budget"
        );
    }
}

fn log_services(before: &[ServiceDecision], now: &PolicyDecision) {
    let mut changed = 0;
    for service in &now.services {
        let earlier = before.binary_search_by(|s| s.service.cmp(&service.service)).ok().map(|i| &before[i].rate);
        if earlier.is_some_and(|rate| rate.reason == service.rate.reason) {
            continue;
        }
        changed += 1;
        if changed <= SERVICES_LOGGED_MAX {
            tracing::info!(
                policy = %now.policy,
                service = %service.service,
                probability = service.rate.probability.get(),
                reason = service.rate.reason.as_str(),
                demand_per_second = service.demand_per_second,
                "decision"
            );
        }
    }
    if changed > SERVICES_LOGGED_MAX {
        tracing::info!(policy = %now.policy, more = changed - SERVICES_LOGGED_MAX, "more decisions changed");
    }
}
