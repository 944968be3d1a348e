//! The services and operations that a policy governs, with their newest demand and the probability that each holds.
//! It grows only by what the demand query names, and forgets what has not been named for `max_age`.
//!
//! Rows come in nearly the same order at each tick: a row is first looked for where the row of that number was before,
//! and looked up by its names only where another one is there.

use std::collections::{BTreeSet, HashMap, HashSet};

use foldhash::fast::RandomState;

use super::decision::{Decided, OPERATIONS_MAX, Reason};
use super::forecast::{self, Forecast};
use super::local::LocalShare;
use super::memory::ServiceMemory;
use super::policy::{Policy, ServiceRule};
use super::probability::Probability;
use super::traffic::{Demand, Name};
use crate::time::MonoTime;

/// Demand beyond this is a broken counter; it is cut to this, so that no sum overflows.
const DEMAND_MAX: f64 = 1e12;
/// Services of other policies that are named as conflicts; more are left out of the report.
const CONFLICTS_MAX: usize = 1000;
/// Fresh ticks after a time without demand in which rises stay bounded. Counters that stood still and then jump give one
/// interval of far too much demand, and the next looks like a fall.
const RETURNING_TICKS: u8 = 3;

/// All services of one policy. Bounded by the rows that a source may return within `max_age`.
#[derive(Debug, Clone, Default)]
pub struct Roster {
    services: Vec<Service>,
    index: HashMap<Name, usize, RandomState>,
    /// Where each row of the newest input belonged: a hint for the next.
    places: Vec<Place>,
    conflicts: BTreeSet<Name>,
}

/// Indices of a service and of one of its operations.
#[derive(Debug, Clone, Copy)]
struct Place {
    service: usize,
    operation: Option<usize>,
}

/// One service.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name.
    pub name: Name,
    /// Index of its rule in the policy.
    pub rule: usize,
    /// Requests/s over all operations; `None` when the newest input does not name it.
    pub demand: Option<f64>,
    /// The part of it that names no operation; `None` where each row names one.
    unnamed: Option<f64>,
    /// What that part will be.
    unnamed_forecast: Forecast,
    /// Fresh ticks in which its rises are bounded still, because it had no demand lately.
    pub returning: u8,
    /// Some of its series are too young to be believed when they fall short.
    pub is_warming: bool,
    /// Some of its series stopped lately.
    pub is_stale: bool,
    /// When it was last named.
    pub named_at: MonoTime,
    /// What it holds, for operations that are not listed.
    pub rate: Decided,
    /// Its part of the budget, spans/s.
    pub share: Option<f64>,
    /// What a local limit may be made of.
    pub local: Option<LocalShare>,
    /// Unordered.
    pub operations: Vec<Operation>,
    operation_index: HashMap<Name, usize, RandomState>,
}

/// One operation.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Its name.
    pub name: Name,
    /// Requests/s; `None` when the newest input does not name it.
    pub demand: Option<f64>,
    /// The demand may be more than it seems: some of its series are too young, or stopped lately.
    is_partial: bool,
    /// What its demand will be.
    pub forecast: Forecast,
    /// When it was last named.
    pub named_at: MonoTime,
    /// What it holds.
    pub rate: Decided,
    /// Whether it is told to clients on its own.
    pub is_listed: bool,
}

impl Roster {
    /// All services, unordered.
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// All services, unordered.
    pub fn services_mut(&mut self) -> &mut [Service] {
        &mut self.services
    }

    /// Services that the newest input named and that an earlier policy has, though a rule of this one matches.
    pub fn conflicts(&self) -> &BTreeSet<Name> {
        &self.conflicts
    }

    /// Takes up a service that an earlier process governed, if the policy has a rule for it.
    pub fn restore(&mut self, now: MonoTime, policy: &Policy, memory: &ServiceMemory) {
        let bounds = policy.probability;
        let restored = |probability: f64| {
            let served = Probability::saturating(probability).clamp(bounds.min, bounds.max);
            Decided { probability: served, served, reason: Reason::Restored }
        };
        let Some(index) = self.entry(now, policy, &memory.name, restored(memory.probability)) else { return };
        let service = &mut self.services[index];
        for (name, probability) in memory.operations.iter().take(OPERATIONS_MAX) {
            let index = service.entry(now, name);
            let operation = &mut service.operations[index];
            operation.rate = restored(*probability);
            operation.is_listed = true;
        }
    }

    /// Takes the newest rows. What they do not name has no demand now; services in `taken` belong to another policy. Those
    /// that are new were told `stranger` until now.
    pub fn observe(
        &mut self,
        now: MonoTime,
        policy: &Policy,
        rows: &[Demand],
        taken: &HashSet<Name>,
        stranger: Probability,
    ) {
        for service in &mut self.services {
            service.forget_demand();
        }
        self.conflicts.clear();
        let before = std::mem::take(&mut self.places);
        self.places.reserve(rows.len());
        for (i, row) in rows.iter().enumerate() {
            let place = if taken.contains(&row.service) {
                self.note_conflict(policy, &row.service);
                None
            } else {
                before
                    .get(i)
                    .copied()
                    .filter(|place| self.has(row, *place))
                    .or_else(|| self.place(now, policy, row, stranger))
            };
            if let Some(Place { service, operation }) = place {
                self.services[service].add(now, row, operation);
            }
            self.places.push(place.unwrap_or(Place { service: usize::MAX, operation: None }));
        }
        let is_remembered = |named_at: MonoTime| now.since(named_at) <= policy.max_age;
        self.retain(|service| is_remembered(service.named_at) && !taken.contains(&service.name));
        for service in &mut self.services {
            service.retain_operations(|operation| is_remembered(operation.named_at));
        }
    }

    /// Whether the row belongs there.
    fn has(&self, row: &Demand, place: Place) -> bool {
        self.services.get(place.service).is_some_and(|service| {
            let operation = place.operation.and_then(|operation| service.operations.get(operation));
            service.name == row.service && operation.map(|o| &o.name) == row.operation_name()
        })
    }

    /// Where the row belongs; services and operations that are new are made. `None` where no rule matches.
    fn place(&mut self, now: MonoTime, policy: &Policy, row: &Demand, stranger: Probability) -> Option<Place> {
        let service = self.entry(now, policy, &row.service, Decided::initial(stranger))?;
        let operation = row.operation_name().map(|name| self.services[service].entry(now, name));
        Some(Place { service, operation })
    }

    fn note_conflict(&mut self, policy: &Policy, name: &Name) {
        if self.conflicts.len() < CONFLICTS_MAX && policy.rule_for(name).is_some() {
            self.conflicts.insert(name.clone());
        }
    }

    /// Tells no operation on its own until a law lists it again.
    pub fn unlist_operations(&mut self) {
        self.services.iter_mut().flat_map(|s| &mut s.operations).for_each(|o| o.is_listed = false);
    }

    /// Looks every rule up again after the policy changed; services without one leave.
    pub fn reassign(&mut self, policy: &Policy) {
        let rule_of = |name: &str| policy.services.iter().position(|rule| rule.pattern.matches(name));
        for service in &mut self.services {
            service.rule = rule_of(&service.name).unwrap_or(usize::MAX);
        }
        self.retain(|service| service.rule != usize::MAX);
    }

    fn entry(&mut self, now: MonoTime, policy: &Policy, name: &Name, rate: Decided) -> Option<usize> {
        if let Some(known) = self.index.get(name) {
            return Some(*known);
        }
        let rule = policy.services.iter().position(|rule| rule.pattern.matches(name))?;
        self.services.push(Service::new(name.clone(), rule, now, rate));
        self.index.insert(name.clone(), self.services.len() - 1);
        Some(self.services.len() - 1)
    }

    fn retain(&mut self, keep: impl Fn(&Service) -> bool) {
        if self.services.iter().all(&keep) {
            return;
        }
        self.services.retain(keep);
        self.index = self.services.iter().enumerate().map(|(i, service)| (service.name.clone(), i)).collect();
    }
}

impl Service {
    fn new(name: Name, rule: usize, now: MonoTime, rate: Decided) -> Self {
        Self {
            name,
            rule,
            demand: None,
            unnamed: None,
            unnamed_forecast: Forecast::default(),
            returning: 0,
            is_warming: false,
            is_stale: false,
            named_at: now,
            rate,
            share: None,
            local: None,
            operations: Vec::new(),
            operation_index: HashMap::default(),
        }
    }

    /// Its rule.
    pub fn rule<'a>(&self, policy: &'a Policy) -> &'a ServiceRule {
        &policy.services[self.rule]
    }

    /// What a later process needs to know of it.
    pub fn memory(&self) -> ServiceMemory {
        ServiceMemory {
            name: self.name.clone(),
            probability: self.rate.served.get(),
            operations: self.listed().map(|o| (o.name.clone(), o.rate.served.get())).collect(),
        }
    }

    /// The operation of this name.
    pub fn operation(&self, name: &str) -> Option<&Operation> {
        self.operation_index.get(name).map(|i| &self.operations[*i])
    }

    /// Traces/s that the served probabilities should sample at the newest demand.
    pub fn sampled_per_second(&self) -> f64 {
        let Some(demand) = self.demand else { return 0.0 };
        let listed: f64 = self.listed().map(|o| o.demand.unwrap_or(0.0)).sum();
        let by_operation: f64 = self.listed().map(|o| o.demand.unwrap_or(0.0) * o.rate.served.get()).sum();
        by_operation + (demand - listed).max(0.0) * self.rate.served.get()
    }

    /// Traces/s that the served probabilities will sample at the demand to reckon with.
    pub fn reckoned_per_second(&self) -> f64 {
        if self.demand.is_none() {
            return 0.0;
        }
        let p = |operation: &Operation| if operation.is_listed { operation.rate } else { self.rate }.served.get();
        let named: f64 = self.operations.iter().map(|o| o.forecast.get() * p(o)).sum();
        named + self.unnamed_forecast.get() * self.rate.served.get()
    }

    /// Requests/s to reckon with: the sum of what each operation is reckoned with. A forecast of its own would follow
    /// another course than theirs, and an operation that the service's seems to have no room for would be sampled the
    /// less for it.
    pub fn expected_per_second(&self) -> f64 {
        self.unnamed_forecast.get() + self.operations.iter().map(|o| o.forecast.get()).sum::<f64>()
    }

    /// Takes one interval of `seconds` into the forecasts, once all rows are in. A rise is led where the whole of the
    /// service rises: requests that only move from one operation to another are no surge.
    pub fn look_ahead(&mut self, seconds: f64, leads: bool) {
        let Some(demand) = self.demand.filter(|d| *d > 0.0) else {
            self.returning = RETURNING_TICKS;
            return;
        };
        let leads = leads && forecast::is_rise(self.expected_per_second(), demand, seconds);
        let is_whole = !self.is_warming && !self.is_stale;
        // What is known in part may be more than it seems, not less. What a whole answer does not name has no demand.
        let look_ahead = |forecast: &mut Forecast, demand: Option<f64>, is_partial: bool| {
            let may_fall = if demand.is_some() { !is_partial } else { is_whole };
            let demand = demand.unwrap_or(0.0);
            if may_fall || demand > forecast.get() {
                forecast.observe(demand, seconds, leads);
            }
        };
        look_ahead(&mut self.unnamed_forecast, self.unnamed, !is_whole);
        for operation in &mut self.operations {
            look_ahead(&mut operation.forecast, operation.demand, operation.is_partial);
        }
    }

    /// The local share of what is served, of a service that may cause `share` traces/s.
    pub fn local_share(&self, share: f64) -> LocalShare {
        let expected = self.sampled_per_second();
        LocalShare { expected_traces_per_second: expected, share_traces_per_second: share.max(expected) }
    }

    fn listed(&self) -> impl Iterator<Item = &Operation> {
        self.operations.iter().filter(|o| o.is_listed)
    }

    fn forget_demand(&mut self) {
        self.demand = None;
        self.unnamed = None;
        self.is_warming = false;
        self.is_stale = false;
        for operation in &mut self.operations {
            operation.demand = None;
            operation.is_partial = false;
        }
    }

    fn add(&mut self, now: MonoTime, row: &Demand, operation: Option<usize>) {
        let demand = row.per_second.min(DEMAND_MAX);
        self.demand = Some(self.demand.unwrap_or(0.0) + demand);
        self.is_warming |= row.is_warming;
        self.is_stale |= row.is_stale;
        self.named_at = now;
        let part = match operation.map(|operation| &mut self.operations[operation]) {
            Some(operation) => {
                operation.named_at = now;
                operation.is_partial |= row.is_warming || row.is_stale;
                &mut operation.demand
            }
            None => &mut self.unnamed,
        };
        *part = Some(part.unwrap_or(0.0) + demand);
    }

    fn entry(&mut self, now: MonoTime, name: &Name) -> usize {
        if let Some(known) = self.operation_index.get(name) {
            return *known;
        }
        let operation = Operation {
            name: name.clone(),
            demand: None,
            is_partial: false,
            forecast: Forecast::default(),
            named_at: now,
            rate: self.rate,
            is_listed: false,
        };
        self.operations.push(operation);
        self.operation_index.insert(name.clone(), self.operations.len() - 1);
        self.operations.len() - 1
    }

    fn retain_operations(&mut self, keep: impl Fn(&Operation) -> bool) {
        if self.operations.iter().all(&keep) {
            return;
        }
        self.operations.retain(keep);
        self.operation_index = self.operations.iter().enumerate().map(|(i, o)| (o.name.clone(), i)).collect();
    }
}

impl Demand {
    /// Clients refuse an operation without a name: its requests are the service's own.
    fn operation_name(&self) -> Option<&Name> {
        self.operation.as_ref().filter(|name| !name.is_empty())
    }
}

impl Decided {
    /// What was told before the first decision.
    pub fn initial(probability: Probability) -> Self {
        Self { probability, served: probability, reason: Reason::Initial }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::pattern::Pattern;

    /// A route that is new each minute makes a service's answer partial for ever: the others must come down all the same.
    #[test]
    fn a_young_operation_holds_no_other_up() {
        let (mut policy, mut roster) = (Policy::with_defaults("shop"), Roster::default());
        policy.services = vec![ServiceRule::for_pattern(Pattern::new("*").expect("a pattern"))];
        for (a, b) in [(900.0, 100.0), (100.0, 900.0), (900.0, 100.0), (100.0, 900.0), (100.0, 100.0), (100.0, 100.0)] {
            let young = Demand { is_warming: true, ..Demand::new("shop", Some("young"), 1.0) };
            let rows = [Demand::new("shop", Some("a"), a), Demand::new("shop", Some("b"), b), young];
            let initial = policy.probability.initial;
            roster.observe(MonoTime::from_start(std::time::Duration::ZERO), &policy, &rows, &HashSet::new(), initial);
            roster.services_mut()[0].look_ahead(5.0, false);
        }
        let expected = roster.services()[0].expected_per_second();
        assert!((expected - 201.0).abs() < 1.0, "{expected}");
    }
}
