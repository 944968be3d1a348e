//! No service may be claimed by two policies: which budget it draws on would depend on their names. Globs that *can*
//! match one name are refused at load, before such a service exists.

use std::sync::Arc;

use super::LoadedPolicy;
use crate::document::Node;
use crate::document::problem::Problem;
use crate::keepalive::policy::Fleet;

/// Most service rules over all policies, because every pair of policies is compared.
const RULES_MAX: usize = 5000;
/// Most conflicts that are named.
const CONFLICTS_MAX: usize = 50;

/// A policy and the tree that it was read from.
pub(super) type Written = (LoadedPolicy, Node);

/// A fleet and the tree that it was read from.
pub(super) type WrittenFleet = (Arc<Fleet>, Node);

/// Names that are there twice and claims that meet, each at the later policy's place.
pub(super) fn conflicts(policies: &[Written]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let rules = policies.iter().filter(|(policy, _)| policy.sampling.claims_services);
    let rules: usize = rules.map(|(policy, _)| policy.sampling.services.len()).sum();
    if rules > RULES_MAX {
        let message = format!("{rules} service rules in all policies together; at most {RULES_MAX}");
        return vec![Problem::new(crate::document::Place::Nowhere, "services", message)];
    }
    for (i, later) in policies.iter().enumerate() {
        for earlier in &policies[..i] {
            same_name(earlier, later, &mut problems);
            shared_services(earlier, later, &mut problems);
            if problems.len() >= CONFLICTS_MAX {
                return problems;
            }
        }
    }
    problems
}

fn same_name((earlier, earlier_tree): &Written, (later, tree): &Written, problems: &mut Vec<Problem>) {
    let name = &later.sampling.name;
    if earlier.sampling.name == *name {
        let first = earlier_tree.place_of("policy");
        let message = format!("\"{name}\": another policy has this name ({first})");
        problems.push(Problem::new(tree.place_of("policy").clone(), "policy", message));
    }
}

fn shared_services((earlier, earlier_tree): &Written, (later, tree): &Written, problems: &mut Vec<Problem>) {
    if !earlier.sampling.claims_services || !later.sampling.claims_services {
        return;
    }
    for (j, rule) in later.sampling.services.iter().enumerate() {
        let meets = earlier.sampling.services.iter().position(|other| other.pattern.intersects(&rule.pattern));
        let Some(i) = meets else { continue };
        let (name, other) = (&earlier.sampling.name, &earlier.sampling.services[i].pattern);
        let first = earlier_tree.place_of(&format!("services[{i}].match"));
        let key = format!("services[{j}].match");
        let message = format!(
            "\"{}\": policy {name} claims \"{other}\" ({first}), and one service may match both; make the globs disjoint",
            rule.pattern
        );
        problems.push(Problem::new(tree.place_of(&key).clone(), key, message));
        if problems.len() >= CONFLICTS_MAX {
            return;
        }
    }
}

/// Fleets are sorted by name.
pub(super) fn fleets_named_alike(fleets: &[WrittenFleet]) -> Vec<Problem> {
    let pairs = fleets.windows(2).filter(|pair| pair[0].0.name == pair[1].0.name);
    let problem = |pair: &[WrittenFleet]| {
        let (first, place) = (pair[0].1.place_of("fleet"), pair[1].1.place_of("fleet").clone());
        Problem::new(place, "fleet", format!("\"{}\": another fleet has this name ({first})", pair[1].0.name))
    };
    pairs.map(problem).take(CONFLICTS_MAX).collect()
}

/// Fleets behind one that takes every device that they could take.
pub(super) fn fleets_never_reached(fleets: &[WrittenFleet]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (i, (later, tree)) in fleets.iter().enumerate() {
        let Some((first, _)) = fleets[..i].iter().find(|(earlier, _)| takes_all_of(earlier, later)) else { continue };
        let message = format!(
            "\"{}\": takes no device: fleet {} comes first by name and takes all of its devices",
            later.name, first.name
        );
        problems.push(Problem::new(tree.place_of("fleet").clone(), "fleet", message));
    }
    problems
}

/// Seen where each label that `earlier` asks for is asked for in the same words by `later`, or is a lone `*` of it.
fn takes_all_of(earlier: &Fleet, later: &Fleet) -> bool {
    earlier.matches.iter().all(|(label, glob)| {
        let same = later.matches.iter().find(|(other, _)| other == label);
        same.is_some_and(|(_, other)| other == glob || glob.to_string() == "*")
    })
}
