//! The keys under `faults` of a fleet's scenario.

use std::time::Duration;

use crate::document::check::Check;
use crate::scenario::keys::{Keys, TIME_MAX, seconds};
use crate::scenario::raw::fleet::RawFleetFault;
use crate::simulate::fleet::scenario::{Carriers, FleetFault, FleetFaultKind};

const FAULTS_MAX: usize = 1000;
const KINDS: [&str; 4] = ["timeout_times", "nat_reboot", "server_restart", "loss"];

pub(super) fn faults(
    raw: Option<Vec<RawFleetFault>>,
    duration: Duration,
    carriers: &Carriers,
    check: &mut Check<'_>,
) -> Vec<FleetFault> {
    let raw = raw.unwrap_or_default();
    if raw.len() > FAULTS_MAX {
        check.fail("faults", format_args!("at most {FAULTS_MAX}"));
        return Vec::new();
    }
    let each = raw.iter().enumerate();
    each.filter_map(|(i, raw)| fault(raw, duration, carriers, &mut Keys::new(format!("faults[{i}]"), check))).collect()
}

fn fault(raw: &RawFleetFault, duration: Duration, carriers: &Carriers, keys: &mut Keys<'_, '_>) -> Option<FleetFault> {
    let at = keys.required_time("at", raw.at, Duration::ZERO..=TIME_MAX);
    if at >= duration {
        keys.fail("at", "not before the end of the run; see `duration`");
    }
    let is_known = |name: &str| carriers.named.iter().any(|carrier| *carrier.name == *name);
    if raw.carrier.as_deref().is_some_and(|name| !is_known(name)) {
        keys.fail("carrier", "no carrier under `fleet.carriers` has this name");
    }
    Some(FleetFault { at, carrier: raw.carrier.as_deref().map(Into::into), kind: kind(raw, keys)? })
}

fn kind(raw: &RawFleetFault, keys: &mut Keys<'_, '_>) -> Option<FleetFaultKind> {
    let kinds: Vec<&str> = KINDS.into_iter().filter(|kind| keys.is_written(kind)).collect();
    let [kind] = kinds[..] else {
        keys.fail("", format_args!("needs exactly one of {}", KINDS.join(", ")));
        return None;
    };
    if raw.carrier.is_some() && matches!(kind, "server_restart" | "loss") {
        keys.fail("carrier", format_args!("{kind} happens to all"));
    }
    if raw.nat_reboot == Some(false) {
        keys.fail(kind, "leave the fault out where it does not happen");
    }
    Some(match kind {
        "timeout_times" => FleetFaultKind::TimeoutTimes(keys.number(kind, raw.timeout_times, 1.0, 0.001..=1000.0)),
        "nat_reboot" => FleetFaultKind::NatReboot,
        "loss" => FleetFaultKind::Loss(keys.number(kind, raw.loss, 0.0, 0.0..=super::LOSS_MAX)),
        _ => {
            let range = Duration::ZERO..=seconds(86_400);
            FleetFaultKind::ServerRestart(keys.time(kind, raw.server_restart, Duration::ZERO, range))
        }
    })
}
