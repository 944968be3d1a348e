//! One governor a policy, ticked in the order of the policies' names, so that the first policy keeps a service that
//! two of them name.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::memory::Memories;
use crate::policy::PolicySet;
use crate::sampling::decision::{PolicyDecision, Reason};
use crate::sampling::governor::Governor;
use crate::sampling::traffic::{Name, Traffic};
use crate::time::Tick;

/// All governors of the process.
#[derive(Debug)]
pub struct Governors {
    poll_interval: Duration,
    by_policy: BTreeMap<Name, Governor>,
}

impl Governors {
    /// One governor for each policy, with what an earlier process remembered.
    pub fn new(now: Tick, poll_interval: Duration, policies: &PolicySet, memories: &Memories) -> Self {
        let mut governors = Self { poll_interval, by_policy: BTreeMap::new() };
        governors.replace_policies(now, policies);
        for (name, memory) in &memories.policies {
            if let Some(governor) = governors.by_policy.get_mut(name) {
                governor.restore(now, memory);
            }
        }
        governors
    }

    /// Goes on under another set: policies that stay keep what they learnt, the others leave or start.
    pub fn replace_policies(&mut self, now: Tick, policies: &PolicySet) {
        let mut before = std::mem::take(&mut self.by_policy);
        for policy in policies.policies.iter().map(|p| Arc::clone(&p.sampling)) {
            let name = policy.name.clone();
            let governor = match before.remove(&name) {
                Some(mut governor) => {
                    governor.replace_policy(now, policy);
                    governor
                }
                None => Governor::new(now, policy, self.poll_interval),
            };
            self.by_policy.insert(name, governor);
        }
    }

    /// One tick of every policy; a policy without traffic was not answered by the source.
    pub fn tick(&mut self, now: Tick, traffic: &BTreeMap<Name, Traffic>) -> Vec<Arc<PolicyDecision>> {
        let mut taken: HashSet<Name> = HashSet::new();
        let mut decisions = Vec::with_capacity(self.by_policy.len());
        let is_only = self.by_policy.len() == 1;
        for (name, governor) in &mut self.by_policy {
            let decision = governor.tick(now, traffic.get(name), &taken);
            if !is_only {
                let own = decision.services.iter().filter(|s| s.rate.reason != Reason::Conflict);
                taken.extend(own.map(|s| s.service.clone()));
            }
            decisions.push(Arc::new(decision));
        }
        decisions
    }

    /// What a later process needs to know.
    pub fn memories(&self, generation: u64) -> Memories {
        let policies = self.by_policy.iter().map(|(name, governor)| (name.clone(), governor.memory()));
        Memories { generation, policies: policies.collect() }
    }
}
