//! From decisions to the next snapshot. Answers that did not change are carried over, with their bytes and their
//! generation; when none changed, the generation stays too.

use std::collections::HashMap;
use std::sync::Arc;

use super::answer::{Answer, Strategy};
use super::snapshot::{Snapshot, Stranger};
use super::usage::Usage;
use crate::policy::PolicySet;
use crate::sampling::decision::{PolicyDecision, Reason, ServiceDecision};
use crate::sampling::traffic::Name;
use crate::time::WallTime;

/// The snapshot after `previous`.
pub fn assemble(
    previous: &Snapshot,
    now: WallTime,
    policies: &PolicySet,
    decisions: Vec<Arc<PolicyDecision>>,
    usage: HashMap<Name, Arc<Usage>>,
) -> Snapshot {
    let next = next_generation(previous.generation, now);
    let services = services(previous, &decisions, next);
    let strangers = strangers(previous, policies, &decisions, next);
    let is_same = services.len() == previous.services.len()
        && services.values().all(|a| a.generation != next)
        && is_same_strangers(&strangers, &previous.strangers);
    Snapshot {
        generation: if is_same { previous.generation } else { next },
        published_at: now,
        decisions,
        policies: policies.policies.iter().map(|p| Arc::clone(&p.sampling)).collect(),
        usage,
        services,
        strangers,
        unclaimed: Arc::clone(&previous.unclaimed),
    }
}

/// `max(last + 1, unix milliseconds)`: a process that lost its state is still obeyed.
pub fn next_generation(last: u64, now: WallTime) -> u64 {
    (last + 1).max(u64::try_from(now.unix_ms()).unwrap_or(0))
}

fn services(previous: &Snapshot, decisions: &[Arc<PolicyDecision>], next: u64) -> HashMap<Name, Arc<Answer>> {
    let mut services = HashMap::with_capacity(previous.services.len());
    let answered = decisions.iter().flat_map(|d| &d.services).filter(|s| s.rate.reason != Reason::Conflict);
    for decision in answered {
        let known = previous.services.get(&decision.service);
        let answer = match known.filter(|answer| is_same(&answer.strategy, decision)) {
            Some(answer) => Arc::clone(answer),
            None => Arc::new(strategy(decision).into_answer(next)),
        };
        services.entry(decision.service.clone()).or_insert(answer);
    }
    services
}

fn is_same(strategy: &Strategy, decision: &ServiceDecision) -> bool {
    let operations = decision.operations.iter().map(|o| (&o.operation, o.rate.served));
    strategy.probability == decision.rate.served
        && strategy.operations.iter().map(|(name, p)| (name, *p)).eq(operations)
}

fn strategy(decision: &ServiceDecision) -> Strategy {
    let operations = decision.operations.iter().map(|o| (o.operation.clone(), o.rate.served));
    Strategy { probability: decision.rate.served, operations: operations.collect() }
}

/// Every rule of every policy, in the order in which they are looked through; those told the same share one answer.
fn strangers(previous: &Snapshot, policies: &PolicySet, decisions: &[Arc<PolicyDecision>], next: u64) -> Vec<Stranger> {
    let key = |answer: &Arc<Answer>| (answer.strategy.probability.get().to_bits(), Arc::clone(answer));
    let mut answers: HashMap<u64, Arc<Answer>> = previous.strangers.iter().map(|s| key(&s.answer)).collect();
    let mut strangers = Vec::with_capacity(previous.strangers.len());
    for decision in decisions {
        let Some(policy) = policies.policies.iter().find(|p| p.sampling.name == decision.policy) else { continue };
        for rule in &policy.sampling.services {
            let told = decision.told_to_stranger(&policy.sampling, rule);
            let answer = answers.entry(told.get().to_bits());
            let answer = answer.or_insert_with(|| Arc::new(Strategy::uniform(told).into_answer(next)));
            strangers.push(Stranger { pattern: rule.pattern.clone(), answer: Arc::clone(answer) });
        }
    }
    strangers
}

fn is_same_strangers(a: &[Stranger], b: &[Stranger]) -> bool {
    let same = |(a, b): (&Stranger, &Stranger)| a.pattern == b.pattern && Arc::ptr_eq(&a.answer, &b.answer);
    a.len() == b.len() && a.iter().zip(b).all(same)
}
