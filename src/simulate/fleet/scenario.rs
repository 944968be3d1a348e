//! A scenario of a fleet as the simulator uses it: carriers and their NATs, what the way loses, what happens to devices,
//! the policy under test, and what must hold. Complete and valid.

use std::sync::Arc;
use std::time::Duration;

use crate::keepalive::cohort::{CohortKey, Labels, Transport};
use crate::keepalive::policy::Fleet;
use crate::keepalive::wave::spec::Command;
use crate::simulate::netem::schedule::{self, Impairment, Link, Place};
use crate::simulate::netem::{Chance, Loss, Netem};
use crate::simulate::scenario::Check;

/// One fleet, one policy, one verdict.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetScenario {
    /// Its name: the file's, without folder and ending.
    pub name: Arc<str>,
    /// What it shows, in a sentence; empty where nobody said.
    pub about: Arc<str>,
    /// Which law decides unless the caller asks for another.
    pub law: FleetLaw,
    /// What the law is given.
    pub policy: Fleet,
    /// The same as it was written, in JSON, without a name: what a real server is given.
    pub policy_written: Arc<str>,
    /// Time in all.
    pub duration: Duration,
    /// Time at the start that the metrics of a fleet that has learnt do not count.
    pub warmup: Duration,
    /// What metrics of before end at, and those of after begin at.
    pub event_at: Duration,
    /// Time after it that the metrics of what is after do not count.
    pub settle: Duration,
    /// Seeds of which the medians are judged.
    pub seeds: u32,
    /// Time between two decisions.
    pub tick: Duration,
    /// Devices start within this, each at a moment of its own.
    pub start_within: Duration,
    /// Who is there.
    pub carriers: Carriers,
    /// What the way loses, in each direction.
    pub loss: LossModel,
    /// What links do to packets beyond that, from when to when.
    pub netem: Vec<Impairment>,
    /// Time without radio coverage.
    pub holes: Option<Absences>,
    /// Whether a device notices that coverage is back, and beats at once.
    pub are_holes_noticed: bool,
    /// Time without power.
    pub power_off: Option<Absences>,
    /// Each carrier halves or doubles its timeouts once in this time, on average.
    pub changes_every: Option<Duration>,
    /// Part of the devices that answer no probe orders.
    pub deaf: f64,
    /// Whether devices beat once more where a second ack on a new binding did not come.
    pub are_following_up: bool,
    /// What goes wrong.
    pub faults: Vec<FleetFault>,
    /// What must hold.
    pub checks: Vec<Check>,
}

/// A policy that comes into force, as the laws here take it and as a server reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyPlan {
    /// Validated.
    pub fleet: Fleet,
    /// As it was written, in JSON, without a name.
    pub written: Arc<str>,
}

/// The laws that can be run on a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FleetLaw {
    /// Flyball's own.
    Adaptive,
    /// One interval for all, without jitter.
    Fixed {
        /// Seconds between two beats.
        seconds: u32,
        /// Whether heartbeats are acked twice.
        has_second_acks: bool,
    },
    /// Knows the NAT of each device at each moment.
    Oracle,
}

/// Carriers that are written, and carriers that are drawn. One carrier is one cohort.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Carriers {
    /// Written ones.
    pub named: Vec<CarrierPlan>,
    /// Drawn ones; `None` = none.
    pub drawn: Option<DrawnCarriers>,
}

/// A carrier of which everything is told.
#[derive(Debug, Clone, PartialEq)]
pub struct CarrierPlan {
    /// Its name: the label `carrier`.
    pub name: Arc<str>,
    /// The label `region`.
    pub region: Arc<str>,
    /// Its devices.
    pub devices: u32,
    /// Its devices start this long after the others.
    pub joins_at: Duration,
    /// Its NATs; shares sum to 1.
    pub boxes: Vec<BoxPlan>,
}

/// A NAT of which everything is told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoxPlan {
    /// Part of the carrier's devices.
    pub share: f64,
    /// What it does.
    pub nat: Nat,
}

/// Carriers drawn from a mixture.
#[derive(Debug, Clone, PartialEq)]
pub struct DrawnCarriers {
    /// Devices of all of them together, spread evenly.
    pub devices: u32,
    /// How many carriers.
    pub count: u32,
    /// What their NATs are like.
    pub mixture: Vec<MixtureRow>,
    /// Part of the carriers with two boxes (60:40), and with three (50:30:20).
    pub two_boxes: f64,
    /// See `two_boxes`.
    pub three_boxes: f64,
    /// Part of the boxes with a timer wheel.
    pub wheels: f64,
    /// The granularity of those wheels, as part of the timeout.
    pub wheel_part: f64,
}

/// One kind of NAT.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MixtureRow {
    /// How many there are, in proportion to the others'.
    pub weight: f64,
    /// Timeout of stream bindings.
    pub timeout: Duration,
    /// A box's timeout is within this of it.
    pub half_width: Duration,
    /// Timeout of unreplied bindings, where it is another.
    pub unreplied: Duration,
    /// Part of the boxes that have another one.
    pub unreplied_share: f64,
    /// Part of the boxes that give the same public port again.
    pub ports_kept: f64,
}

/// What a NAT does with a binding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nat {
    /// Timeout of stream bindings.
    pub stream: Duration,
    /// Timeout of unreplied ones; the same where the NAT knows one timeout.
    pub unreplied: Duration,
    /// Granularity of its timer wheel; zero = exact.
    pub granularity: Duration,
    /// Whether a binding made anew has the same public port.
    pub is_port_kept: bool,
    /// Whether packets to the device keep a binding too (RFC 4787, REQ-6, leaves it open).
    pub is_inbound_refreshing: bool,
    /// Most bindings at a time; `None` = any number.
    pub ports_max: Option<u32>,
}

/// What a direction of the way loses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LossModel {
    /// Each packet by itself.
    Plain(f64),
    /// A good state and a bad one, which change from packet to packet.
    GilbertElliott {
        /// From good to bad.
        to_bad: f64,
        /// From bad to good.
        to_good: f64,
        /// Lost while bad.
        lost_bad: f64,
        /// Lost while good.
        lost_good: f64,
    },
}

/// How often a device is away, and for how long: exponential gaps, uniform lengths.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Absences {
    /// Mean time between the beginnings of two.
    pub every: Duration,
    /// The shortest.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
}

/// Something that happens.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetFault {
    /// When.
    pub at: Duration,
    /// To which carrier; `None` = to all.
    pub carrier: Option<Arc<str>>,
    /// What.
    pub kind: FleetFaultKind,
}

/// What happens.
#[derive(Debug, Clone, PartialEq)]
pub enum FleetFaultKind {
    /// Timeouts are multiplied.
    TimeoutTimes(f64),
    /// NATs forget every binding.
    NatReboot,
    /// The server answers nothing for `lasts`, and begins again with what it had stored.
    ServerRestart {
        /// For how long.
        lasts: Duration,
        /// Whether it is killed, and cannot store anything at its end.
        is_killed: bool,
    },
    /// The way loses this part of the packets in each direction from now on.
    Loss(f64),
    /// The operator pins the NATs' timeout to this, whatever it is.
    Pin(Duration),
    /// The operator says this of the rollouts that are under way.
    Rollout(Command),
    /// Another policy.
    Policy(Arc<PolicyPlan>),
    /// Devices move to another carrier, with the sockets that they have.
    CarrierChange {
        /// From here.
        from: Arc<str>,
        /// To here.
        to: Arc<str>,
        /// Part of the devices.
        share: f64,
    },
    /// The NATs have so many public ports.
    Ports(u32),
    /// Devices lose power.
    PowerOff {
        /// For how long.
        lasts: Duration,
        /// Part of the devices.
        share: f64,
    },
    /// The server's wall clock is set.
    ClockStep {
        /// Forward by so much.
        seconds: f64,
    },
}

/// The labels of a carrier's devices.
pub fn labels(carrier: &Arc<str>, region: &Arc<str>) -> Labels {
    [("carrier", carrier), ("region", region)].map(|(key, value)| (key.into(), Arc::clone(value))).into()
}

/// Whether a thing of many is of those that something happens to: a share of them, spread evenly.
pub fn is_chosen(index: usize, share: f64) -> bool {
    let until = |index: usize| (index as f64 * share + 1e-9).floor();
    until(index + 1) > until(index)
}

impl FleetFault {
    /// What happens and to whom, in some words.
    pub fn words(&self) -> String {
        let who = self.carrier.as_deref().unwrap_or("all");
        match &self.kind {
            FleetFaultKind::TimeoutTimes(factor) => format!("{who}: timeouts x {factor}"),
            FleetFaultKind::NatReboot => format!("{who}: NAT reboot"),
            FleetFaultKind::ServerRestart { lasts, is_killed } => {
                format!("server {} for {} s", if *is_killed { "killed" } else { "gone" }, lasts.as_secs_f64())
            }
            FleetFaultKind::Loss(ratio) => format!("{} % lost", ratio * 100.0),
            FleetFaultKind::Pin(timeout) => format!("{who}: pinned to {} s", timeout.as_secs_f64()),
            FleetFaultKind::Rollout(command) => format!("{who}: {} of the rollout", command.as_str()),
            FleetFaultKind::Policy(_) => "another policy".to_owned(),
            FleetFaultKind::CarrierChange { from, to, share } => {
                format!("{} % move from {from} to {to}", share * 100.0)
            }
            FleetFaultKind::Ports(max) => format!("{who}: {max} ports"),
            FleetFaultKind::PowerOff { lasts, share } => {
                format!("{who}: {} % without power for {} s", share * 100.0, lasts.as_secs_f64())
            }
            FleetFaultKind::ClockStep { seconds } => format!("clock {seconds:+} s"),
        }
    }
}

impl FleetScenario {
    /// The cohort of a carrier's devices.
    pub fn cohort(&self, carrier: &CarrierPlan) -> CohortKey {
        CohortKey::of(&labels(&carrier.name, &carrier.region), &self.policy.cohort_by, Transport::Udp)
    }

    /// The shortest and the longest time between two beats that any of its policies asks for.
    pub fn bounds(&self) -> (Duration, Duration) {
        let own = &self.policy.interval;
        let all = self.policies().map(|policy| &policy.interval);
        all.fold((own.min, own.max), |(min, max), bounds| (min.min(bounds.min), max.max(bounds.max)))
    }

    /// Every policy that is in force at some time.
    pub fn policies(&self) -> impl Iterator<Item = &Fleet> {
        let later = self.faults.iter().filter_map(|fault| match &fault.kind {
            FleetFaultKind::Policy(policy) => Some(&policy.fleet),
            _ => None,
        });
        std::iter::once(&self.policy).chain(later)
    }
}

impl LossModel {
    /// The same, as netem has it.
    pub fn as_netem(self) -> Loss {
        match self {
            Self::Plain(ratio) => Loss::Random(Chance::of(ratio)),
            Self::GilbertElliott { to_bad, to_good, lost_bad, lost_good } => {
                Loss::GilbertElliott { to_bad, to_good, lost_bad, lost_good }
            }
        }
    }
}

/// A device's netem, which loses what the way loses unless it says itself what is lost.
pub fn with_base(netem: &Netem, base: LossModel) -> Netem {
    let loss = if netem.loss.is_none() { base.as_netem() } else { netem.loss };
    Netem { loss, ..netem.clone() }
}

impl FleetScenario {
    /// What a link shall do `at` this time, `loss` and `bursts` of the fleet included: what a kernel is told. `None`: it
    /// is a cable.
    pub fn netem_at(&self, at: Duration, link: Link<'_>) -> Option<Netem> {
        let netem = schedule::at(&self.netem, at, link);
        if link.place != Place::Devices {
            return netem.cloned();
        }
        let netem = with_base(netem.unwrap_or(&Netem::default()), self.loss_at(at));
        (netem != Netem::default()).then_some(netem)
    }

    /// All times at which [`FleetScenario::netem_at`] may have another answer than before, in order, the start included.
    pub fn netem_changes(&self) -> Vec<Duration> {
        let is_loss = |fault: &&FleetFault| matches!(fault.kind, FleetFaultKind::Loss(_));
        let losses = self.faults.iter().filter(is_loss).map(|fault| fault.at);
        let mut times = schedule::changes(&self.netem);
        times.extend(losses.chain([Duration::ZERO]));
        times.retain(|at| *at < self.duration);
        times.sort_unstable();
        times.dedup();
        times
    }

    /// What the way loses by then.
    fn loss_at(&self, at: Duration) -> LossModel {
        let losses = self.faults.iter().filter_map(|fault| match fault.kind {
            FleetFaultKind::Loss(ratio) if fault.at <= at => Some((fault.at, ratio)),
            _ => None,
        });
        losses.max_by_key(|(at, _)| *at).map_or(self.loss, |(_, ratio)| LossModel::Plain(ratio))
    }
}

impl Nat {
    /// The same with timeouts multiplied; an unreplied one that is another stays.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        let stream = self.stream.mul_f64(factor);
        let unreplied = if self.unreplied < self.stream { self.unreplied.min(stream) } else { stream };
        Self { stream, unreplied, granularity: self.granularity.mul_f64(factor), ..self }
    }

    /// One timeout, exact, with ports kept.
    pub const fn exact(timeout: Duration) -> Self {
        Self {
            stream: timeout,
            unreplied: timeout,
            granularity: Duration::ZERO,
            is_port_kept: true,
            is_inbound_refreshing: true,
            ports_max: None,
        }
    }
}

impl FleetLaw {
    /// What laws there are, for who named another.
    pub const KNOWN: &str = "known are adaptive, oracle, fixed-180s and fixed-180s-one-ack (any number of seconds)";

    /// The law of this name: `adaptive`, `oracle`, `fixed-180s`, `fixed-180s-one-ack`.
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "adaptive" => return Some(Self::Adaptive),
            "oracle" => return Some(Self::Oracle),
            _ => {}
        }
        let rest = name.strip_prefix("fixed-")?;
        let (rest, has_second_acks) = rest.strip_suffix("-one-ack").map_or((rest, true), |rest| (rest, false));
        let seconds = rest.strip_suffix('s')?.parse().ok().filter(|seconds| (1..=86_400).contains(seconds))?;
        Some(Self::Fixed { seconds, has_second_acks })
    }

    /// The name in files and on the command line.
    pub fn name(self) -> String {
        match self {
            Self::Adaptive => "adaptive".to_owned(),
            Self::Oracle => "oracle".to_owned(),
            Self::Fixed { seconds, has_second_acks: true } => format!("fixed-{seconds}s"),
            Self::Fixed { seconds, has_second_acks: false } => format!("fixed-{seconds}s-one-ack"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_law_is_known_by_its_name() {
        let fixed = |seconds, has_second_acks| FleetLaw::Fixed { seconds, has_second_acks };
        for law in [FleetLaw::Adaptive, FleetLaw::Oracle, fixed(180, true), fixed(25, false)] {
            assert_eq!(FleetLaw::of(&law.name()), Some(law));
        }
        for name in ["", "fixed", "fixed-s", "fixed-0s", "fixed-180", "fixed-99999s", "jaeger"] {
            assert_eq!(FleetLaw::of(name), None, "{name}");
        }
    }
}
