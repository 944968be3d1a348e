//! Faults as steps on the kernel, and what is true after each: metrics are judged by that.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::nat::fits;
use super::{BoxOf, HouseholdPlan, Step, TimedStep, Truth};
use crate::keepalive::policy::{IntervalBounds, SecondAck};
use crate::simulate::fleet::scenario::{
    FleetFault, FleetFaultKind, FleetScenario, LossModel, Nat, PolicyPlan, is_chosen,
};

/// A boot counts in seconds, and must have risen.
const POWER_OFF_MIN: Duration = Duration::from_secs(1);

/// What a scenario comes to.
pub(super) struct Made {
    pub(super) households: Vec<HouseholdPlan>,
    pub(super) steps: Vec<TimedStep>,
    pub(super) truths: Vec<Truth>,
    pub(super) needs_netem: bool,
}

/// Goes through the faults in their order, and keeps what is true.
pub(super) struct Maker<'a> {
    boxes: &'a [BoxOf],
    households: Vec<HouseholdPlan>,
    at_box: Vec<usize>,
    nats: Vec<Nat>,
    bounds: IntervalBounds,
    has_second_acks: bool,
    needs_netem: bool,
    /// The fleet file in force.
    written: Value,
    steps: Vec<TimedStep>,
    truths: Vec<Truth>,
}

impl<'a> Maker<'a> {
    fn new(scenario: &FleetScenario, boxes: &'a [BoxOf], households: Vec<HouseholdPlan>) -> Self {
        Self {
            at_box: households.iter().map(|household| household.at_box).collect(),
            nats: boxes.iter().map(|at| at.nat).collect(),
            bounds: scenario.policy.interval,
            has_second_acks: scenario.policy.second_ack != SecondAck::Off,
            needs_netem: !scenario.netem.is_empty() || matches!(scenario.loss, LossModel::GilbertElliott { .. }),
            written: serde_json::from_str(&scenario.policy_written).unwrap_or_default(),
            steps: Vec::new(),
            truths: Vec::new(),
            boxes,
            households,
        }
    }

    /// Goes through it; what no kernel can do is added to `unfit`.
    pub(super) fn make(
        scenario: &FleetScenario,
        boxes: &'a [BoxOf],
        households: Vec<HouseholdPlan>,
        unfit: &mut Vec<String>,
    ) -> Made {
        let mut maker = Self::new(scenario, boxes, households);
        maker.run(scenario, unfit);
        let Self { households, steps, truths, needs_netem, .. } = maker;
        Made { households, steps, truths, needs_netem }
    }

    fn run(&mut self, scenario: &FleetScenario, unfit: &mut Vec<String>) {
        self.now_true(Duration::ZERO, Vec::new(), Vec::new(), false);
        self.nats.clone().iter().for_each(|nat| fits(nat, "fleet.carriers", unfit));
        let mut faults: Vec<(usize, &FleetFault)> = scenario.faults.iter().enumerate().collect();
        faults.sort_by_key(|(_, fault)| fault.at);
        for (i, fault) in faults {
            self.fault(fault, &format!("faults[{i}]"), scenario, unfit);
        }
        let changes = if self.needs_netem { scenario.netem_changes() } else { Vec::new() };
        for at in changes {
            self.add(at, Step::Netem(at), if at.is_zero() { "" } else { "netem on other terms" });
        }
        self.steps.sort_by_key(|step| step.at);
    }

    fn now_true(&mut self, since: Duration, changed: Vec<usize>, moved: Vec<usize>, is_policy_new: bool) {
        let (nats, at_box) = (self.nats.clone(), self.at_box.clone());
        let (bounds, has_second_acks) = (self.bounds, self.has_second_acks);
        self.truths.push(Truth { since, bounds, has_second_acks, nats, changed, moved, is_policy_new, at_box });
    }

    fn add(&mut self, at: Duration, step: Step, words: &str) {
        self.steps.push(TimedStep { at, step, words: words.to_owned() });
    }

    fn fault(&mut self, fault: &FleetFault, key: &str, scenario: &FleetScenario, unfit: &mut Vec<String>) {
        let (at, words) = (fault.at, fault.words());
        let carriers = &scenario.carriers.named;
        let is_hit = |carrier: usize| fault.carrier.as_ref().is_none_or(|name| carriers[carrier].name == *name);
        let hit: Vec<usize> = (0..self.boxes.len()).filter(|i| is_hit(self.boxes[*i].carrier)).collect();
        match &fault.kind {
            FleetFaultKind::TimeoutTimes(factor) => {
                self.change(fault, &hit, &|nat| nat.times(*factor), true);
                hit.iter().for_each(|i| fits(&self.nats[*i], key, unfit));
            }
            FleetFaultKind::Ports(max) => {
                self.change(fault, &hit, &|nat| Nat { ports_max: Some(*max), ..nat }, false);
            }
            FleetFaultKind::NatReboot => self.add(at, Step::Reboot(hit), &words),
            FleetFaultKind::ServerRestart { lasts, is_killed } => {
                self.add(at, Step::ServerDown { is_killed: *is_killed }, &words);
                self.add(at + *lasts, Step::ServerUp, "");
            }
            // Where there is netem, its schedule has this.
            FleetFaultKind::Loss(_) if self.needs_netem => {}
            FleetFaultKind::Loss(part) => self.add(at, Step::Loss(*part), &words),
            FleetFaultKind::ClockStep { seconds } => self.add(at, Step::ClockStep(*seconds), &words),
            FleetFaultKind::Pin(nat_timeout) => {
                let theirs = carriers.iter().enumerate().filter(|(carrier, _)| is_hit(*carrier));
                theirs.for_each(|(_, carrier)| pin(&mut self.written, &carrier.name, *nat_timeout));
                self.add(at, Step::Policy(self.written.to_string().into()), &words);
            }
            FleetFaultKind::Rollout(command) => {
                let theirs = carriers.iter().enumerate().filter(|(carrier, _)| is_hit(*carrier));
                let cohorts = theirs.map(|(_, carrier)| scenario.cohort(carrier).name).collect();
                self.add(at, Step::Rollout(cohorts, *command), &words);
            }
            FleetFaultKind::Policy(policy) => self.change_policy(at, policy, &words),
            FleetFaultKind::CarrierChange { from, to, share } => {
                let place = |name: &Arc<str>| carriers.iter().position(|carrier| carrier.name == *name);
                if let (Some(from), Some(to)) = (place(from), place(to)) {
                    self.change_carrier(at, (from, to), *share, &words);
                }
            }
            FleetFaultKind::PowerOff { lasts, share } => {
                if *lasts < POWER_OFF_MIN {
                    let why = "on a kernel, at least 1s: a start is known by its second";
                    unfit.push(format!("{key}.power_off.for: {why}"));
                }
                let chosen = self.chosen(&is_hit, *share);
                self.add(at, Step::PowerOff(chosen.clone()), &words);
                self.add(at + *lasts, Step::PowerOn(chosen), "");
            }
        }
    }

    fn change(&mut self, fault: &FleetFault, hit: &[usize], change: &dyn Fn(Nat) -> Nat, is_timeout: bool) {
        for (n, i) in hit.iter().enumerate() {
            self.nats[*i] = change(self.nats[*i]);
            let words = if n == 0 { fault.words() } else { String::new() };
            self.add(fault.at, Step::Change(*i, self.nats[*i]), &words);
        }
        let changed = hit.iter().filter(|_| is_timeout).map(|i| self.boxes[*i].carrier).collect();
        self.now_true(fault.at, changed, Vec::new(), false);
    }

    fn change_policy(&mut self, at: Duration, policy: &PolicyPlan, words: &str) {
        self.written = serde_json::from_str(&policy.written).unwrap_or_default();
        self.bounds = policy.fleet.interval;
        self.has_second_acks = policy.fleet.second_ack != SecondAck::Off;
        self.now_true(at, Vec::new(), Vec::new(), true);
        self.add(at, Step::Policy(Arc::clone(&policy.written)), words);
    }

    /// Households of the carriers that are hit, a share of each carrier's.
    fn chosen(&self, is_hit: &dyn Fn(usize) -> bool, share: f64) -> Vec<usize> {
        let mut seen = vec![0; self.boxes.len() + 1];
        let mut chosen = Vec::new();
        for (i, at_box) in self.at_box.iter().enumerate() {
            let carrier = self.boxes[*at_box].carrier;
            let place = seen[carrier];
            seen[carrier] += 1;
            if is_hit(carrier) && is_chosen(place, share) {
                chosen.push(i);
            }
        }
        chosen
    }

    fn change_carrier(&mut self, at: Duration, (from, to): (usize, usize), share: f64, words: &str) {
        let theirs = self.chosen(&|carrier| carrier == from, share);
        let boxes: Vec<usize> = (0..self.boxes.len()).filter(|i| self.boxes[*i].carrier == to).collect();
        for (n, at_box) in boxes.iter().enumerate() {
            let those: Vec<usize> = theirs.iter().copied().skip(n).step_by(boxes.len()).collect();
            those.iter().for_each(|i| self.at_box[*i] = *at_box);
            self.add(at, Step::Move(those, *at_box), if n == 0 { words } else { "" });
        }
        if self.needs_netem {
            // A link that is made anew does nothing to its packets.
            self.add(at, Step::Netem(at), "");
        }
        self.now_true(at, Vec::new(), theirs, false);
    }
}

/// In place of the pin before, as the simulator does.
fn pin(written: &mut Value, carrier: &str, nat_timeout: Duration) {
    let cohort = json!({"carrier": carrier});
    let mut pins = written["pins"].as_array().cloned().unwrap_or_default();
    pins.retain(|pin| pin["cohort"] != cohort);
    let timeout = format!("{}us", nat_timeout.as_micros());
    pins.insert(0, json!({"cohort": cohort, "nat_timeout": timeout, "reason": "scenario"}));
    if !written.is_object() {
        *written = json!({});
    }
    written["pins"] = pins.into();
}

#[cfg(test)]
mod tests {
    use super::super::LabPlan;
    use super::super::fixtures::{TWO, scenario};
    use super::*;
    use crate::keepalive::wave::spec::Command;

    #[test]
    fn a_command_is_for_the_cohorts_of_its_carriers() {
        let text = "policy: {waves: {}, cohort_by: [carrier]}\nfaults: [{at: 10s, carrier: b, rollout: promote}, {at: 20s, rollout: abort}]\n";
        let plan = LabPlan::of(&scenario(&format!("{TWO}{text}"))).expect("fits");
        let (a, b): (Arc<str>, Arc<str>) = ("carrier=a".into(), "carrier=b".into());
        assert_eq!(plan.steps[0].step, Step::Rollout(vec![Arc::clone(&b)], Command::Promote));
        assert_eq!(plan.steps[1].step, Step::Rollout(vec![a, b], Command::Abort));
    }

    #[test]
    fn faults_become_steps_and_what_is_true_follows_them() {
        let faults = "faults: [{at: 10s, timeout_times: 0.5, carrier: a}, {at: 20s, carrier_change: {from: a, to: b, share: 0.5}}, {at: 30s, server_kill: 2s}, {at: 40s, power_off: {for: 5s, share: 0.25}, carrier: b}]\n";
        let plan = LabPlan::of(&scenario(&format!("{TWO}{faults}"))).expect("fits");
        let times: Vec<u64> = plan.steps.iter().map(|step| step.at.as_secs()).collect();
        assert_eq!(times, [10, 20, 30, 32, 40, 45]);
        assert_eq!(plan.truth(Duration::from_secs(9)).nats[0].stream, Duration::from_secs(4));
        let later = plan.truth(Duration::from_secs(25));
        assert_eq!((later.nats[0].stream, later.nats[1].stream), (Duration::from_secs(2), Duration::from_secs(3)));
        let of_a = plan.households.iter().filter(|household| household.carrier == 0).count();
        assert_eq!(later.moved.len(), of_a / 2);
        assert_eq!(plan.steps[2].step, Step::ServerDown { is_killed: true });
    }
}
