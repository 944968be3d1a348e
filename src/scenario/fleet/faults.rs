//! The keys under `faults` of a fleet's scenario.

use std::sync::Arc;
use std::time::Duration;

use super::netem::one_of;
use crate::document::check::Check;
use crate::keepalive::wave::spec::Command;
use crate::scenario::keys::{Keys, TIME_MAX, seconds};
use crate::scenario::raw::fleet::{RawCarrierChange, RawFleetFault, RawPowerOff};
use crate::simulate::fleet::scenario::{Carriers, FleetFault, FleetFaultKind, PolicyPlan};

const FAULTS_MAX: usize = 1000;
const KINDS: [&str; 12] = [
    "timeout_times",
    "nat_reboot",
    "server_restart",
    "server_kill",
    "loss",
    "policy",
    "carrier_change",
    "ports",
    "power_off",
    "clock_step_seconds",
    "pin",
    "rollout",
];
/// Kinds of which a carrier can be named.
const OF_CARRIERS: [&str; 6] = ["timeout_times", "nat_reboot", "ports", "power_off", "pin", "rollout"];
/// Of the kernel's ports, what is left without the ones that a NAT does not give away.
const PORTS_MAX: u32 = 60_000;
const SHARE: std::ops::RangeInclusive<f64> = 1e-6..=1.0;
const CLOCK_STEP: std::ops::RangeInclusive<f64> = -31_536_000.0..=31_536_000.0;

/// What the faults are checked against.
struct Scene<'a> {
    duration: Duration,
    carriers: &'a Carriers,
    policy: &'a PolicyPlan,
}

pub(super) fn faults(
    raw: Option<Vec<RawFleetFault>>,
    duration: Duration,
    carriers: &Carriers,
    policy: &PolicyPlan,
    check: &mut Check<'_>,
) -> Vec<FleetFault> {
    let raw = raw.unwrap_or_default();
    if raw.len() > FAULTS_MAX {
        check.fail("faults", format_args!("at most {FAULTS_MAX}"));
        return Vec::new();
    }
    let are_commanded: Vec<bool> = raw.iter().map(|fault| fault.rollout.is_some()).collect();
    let scene = Scene { duration, carriers, policy };
    let each = raw.into_iter().enumerate();
    let faults: Vec<FleetFault> =
        each.filter_map(|(i, raw)| scene.fault(raw, &mut Keys::new(format!("faults[{i}]"), check))).collect();
    if !has_waves(policy, &faults) {
        for (i, _) in are_commanded.iter().enumerate().filter(|(_, is_so)| **is_so) {
            let why = "no policy of this scenario has `waves`: there are no rollouts";
            Keys::new(format!("faults[{i}]"), check).fail("rollout", why);
        }
    }
    faults
}

fn has_waves(policy: &PolicyPlan, faults: &[FleetFault]) -> bool {
    let has_waves = |fault: &FleetFault| match &fault.kind {
        FleetFaultKind::Policy(policy) => policy.fleet.waves.is_some(),
        _ => false,
    };
    policy.fleet.waves.is_some() || faults.iter().any(has_waves)
}

impl Scene<'_> {
    fn fault(&self, raw: RawFleetFault, keys: &mut Keys<'_, '_>) -> Option<FleetFault> {
        let at = keys.required_time("at", raw.at, Duration::ZERO..=TIME_MAX);
        if at >= self.duration {
            keys.fail("at", "not before the end of the run; see `duration`");
        }
        if raw.carrier.as_deref().is_some_and(|name| !self.is_known(name)) {
            keys.fail("carrier", "no carrier under `fleet.carriers` has this name");
        }
        let carrier = raw.carrier.as_deref().map(Into::into);
        Some(FleetFault { at, carrier, kind: self.kind(raw, keys)? })
    }

    fn is_known(&self, name: &str) -> bool {
        self.carriers.named.iter().any(|carrier| *carrier.name == *name)
    }

    fn kind(&self, raw: RawFleetFault, keys: &mut Keys<'_, '_>) -> Option<FleetFaultKind> {
        let kinds: Vec<&str> = KINDS.into_iter().filter(|kind| keys.is_written(kind)).collect();
        let [kind] = kinds[..] else {
            keys.fail("", format_args!("needs exactly one of {}", KINDS.join(", ")));
            return None;
        };
        if raw.carrier.is_some() && !OF_CARRIERS.contains(&kind) {
            keys.fail("carrier", format_args!("{kind} happens to all"));
        }
        if raw.nat_reboot == Some(false) {
            keys.fail(kind, "leave the fault out where it does not happen");
        }
        let outage = Duration::ZERO..=seconds(86_400);
        Some(match kind {
            "timeout_times" => FleetFaultKind::TimeoutTimes(keys.number(kind, raw.timeout_times, 1.0, 0.001..=1000.0)),
            "nat_reboot" => FleetFaultKind::NatReboot,
            "loss" => FleetFaultKind::Loss(keys.number(kind, raw.loss, 0.0, 0.0..=super::LOSS_MAX)),
            "ports" => FleetFaultKind::Ports(keys.count(kind, raw.ports, 1, 1..=PORTS_MAX)),
            "pin" => {
                let written = raw.pin.as_ref().and_then(|pin| pin.nat_timeout);
                FleetFaultKind::Pin(keys.required_time("pin.nat_timeout", written, seconds(1)..=seconds(86_400)))
            }
            "rollout" => {
                let known = Command::ALL.map(|command| (command.as_str(), command));
                FleetFaultKind::Rollout(one_of(kind, raw.rollout.as_deref(), &known, Command::Promote, keys))
            }
            "policy" => self.policy(raw, keys)?,
            "carrier_change" => self.carrier_change(&raw.carrier_change?, &mut keys.under(kind)),
            "power_off" => power_off(&raw.power_off?, &mut keys.under(kind)),
            "clock_step_seconds" => {
                FleetFaultKind::ClockStep { seconds: keys.number(kind, raw.clock_step_seconds, 0.0, CLOCK_STEP) }
            }
            "server_kill" => {
                let lasts = keys.time(kind, raw.server_kill, Duration::ZERO, outage);
                FleetFaultKind::ServerRestart { lasts, is_killed: true }
            }
            _ => {
                let lasts = keys.time(kind, raw.server_restart, Duration::ZERO, outage);
                FleetFaultKind::ServerRestart { lasts, is_killed: false }
            }
        })
    }

    fn policy(&self, raw: RawFleetFault, keys: &mut Keys<'_, '_>) -> Option<FleetFaultKind> {
        let key = keys.key("policy");
        let name = &self.policy.fleet.name;
        let policy = super::the_policy(&key, name, raw.policy?, keys.check);
        if policy.fleet.cohort_by != self.policy.fleet.cohort_by {
            keys.fail("policy.cohort_by", "must be that of `policy`: cohorts keep their names over a run");
        }
        Some(FleetFaultKind::Policy(Arc::new(policy)))
    }

    fn carrier_change(&self, raw: &RawCarrierChange, keys: &mut Keys<'_, '_>) -> FleetFaultKind {
        for (key, name) in [("from", &raw.from), ("to", &raw.to)] {
            keys.require(key, "needs the name of one of `fleet.carriers`");
            if name.as_deref().is_some_and(|name| !self.is_known(name)) {
                keys.fail(key, "no carrier under `fleet.carriers` has this name");
            }
        }
        if raw.from.is_some() && raw.from == raw.to {
            keys.fail("to", "the carrier that they come from");
        }
        let name = |name: &Option<String>| name.as_deref().unwrap_or_default().into();
        let share = keys.number("share", raw.share, 1.0, SHARE);
        FleetFaultKind::CarrierChange { from: name(&raw.from), to: name(&raw.to), share }
    }
}

fn power_off(raw: &RawPowerOff, keys: &mut Keys<'_, '_>) -> FleetFaultKind {
    let lasts = keys.required_time("for", raw.lasts, Duration::from_millis(100)..=TIME_MAX);
    FleetFaultKind::PowerOff { lasts, share: keys.number("share", raw.share, 1.0, SHARE) }
}
