//! What a kernel cannot do: timeouts of parts of a second, timer wheels, carriers that are drawn, chance that only a simulator
//! has (holes, power that goes by itself), laws other than the server's own.

use std::time::Duration;

use crate::simulate::fleet::metrics::FLEET_METRICS;
use crate::simulate::fleet::scenario::{FleetLaw, FleetScenario};
use crate::simulate::metrics::RATIO;

/// Devices of one scenario: each is a socket, a key, and some beats a second.
const DEVICES_MAX: u32 = 2_000;
/// Boxes of one scenario: each is a namespace.
const BOXES_MAX: usize = 64;
/// The longest run.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Metrics that cannot be measured on a kernel: they are of what only the simulator knows.
const NOT_MEASURED: [&str; 3] = ["second_acks", "lost_by_probing", "false_shortenings"];

/// What of a scenario cannot be done, or not measured: a key and why. What becomes of its NATs is judged where they change.
pub(super) fn of(scenario: &FleetScenario) -> Vec<String> {
    let mut unfit = Vec::new();
    let mut refuse = |is_there: bool, key: &str, why: &str| {
        if is_there {
            unfit.push(format!("{key}: {why}"));
        }
    };
    let of_simulator = "chance of this kind is the simulator's; on a kernel, say what happens under `faults`";
    refuse(scenario.law != FleetLaw::Adaptive, "law", "a real server has its own law, `adaptive`");
    refuse(scenario.carriers.drawn.is_some(), "fleet.drawn", "on a kernel, name the carriers");
    refuse(scenario.holes.is_some(), "fleet.holes", of_simulator);
    refuse(scenario.power_off.is_some(), "fleet.power_off", of_simulator);
    refuse(scenario.changes_every.is_some(), "fleet.changes_every", of_simulator);
    refuse(scenario.deaf > 0.0, "fleet.deaf", "a real device answers its test orders");
    refuse(scenario.duration > DURATION_MAX, "duration", "on a kernel, at most a day: it takes as long as it says");
    let boxes: usize = scenario.carriers.named.iter().map(|carrier| carrier.boxes.len()).sum();
    refuse(boxes > BOXES_MAX, "fleet.carriers", &format!("on a kernel, at most {BOXES_MAX} boxes"));
    let devices: u32 = scenario.carriers.named.iter().map(|carrier| carrier.devices).sum();
    let why = format!("on a kernel, at most {DEVICES_MAX} devices");
    refuse(devices > DEVICES_MAX, "fleet.carriers", &why);
    for carrier in &scenario.carriers.named {
        let is_plain = |text: &str| !text.contains([',', '"', '\n', '\r', '#', '=']);
        let why = "on a kernel, names have no comma, quote, `#` or `=`: they stand in the file of prefixes";
        refuse(!is_plain(&carrier.name) || !is_plain(&carrier.region), "fleet.carriers", why);
    }
    for check in &scenario.checks {
        let name = check.metric.as_str();
        let why = if name.starts_with(RATIO) {
            "there is no oracle on a kernel to compare with"
        } else {
            "only the simulator can measure this"
        };
        refuse(!is_measured(name), &format!("checks.{name}"), why);
    }
    unfit
}

/// Whether a fleet's metric can be measured on a kernel.
fn is_measured(metric: &str) -> bool {
    FLEET_METRICS.contains(&metric) && !NOT_MEASURED.contains(&metric)
}

#[cfg(test)]
mod tests {
    use super::super::LabPlan;
    use super::super::fixtures::scenario;

    #[test]
    fn what_a_kernel_cannot_do_is_named_at_once() {
        let text = "law: oracle\nduration: 1m\nfleet: {drawn: {devices: 60}, deaf: 0.5, bursts: {}, carriers: [{name: a, devices: 9, timeout: 2500ms}]}\nchecks: {false_shortenings: {max: 0}, ratio.heartbeats: {max: 2}}\n";
        let unfit = LabPlan::of(&scenario(text)).expect_err("does not fit");
        let keys: Vec<&str> = unfit.iter().filter_map(|text| text.split(": ").next()).collect();
        let expected = [
            "law",
            "fleet.drawn",
            "fleet.deaf",
            "checks.false_shortenings",
            "checks.ratio.heartbeats",
            "fleet.carriers",
        ];
        assert_eq!(keys, expected, "{unfit:?}");
    }
}
