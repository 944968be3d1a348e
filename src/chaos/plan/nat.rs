//! NATs that are said, as NATs that the kernel makes.

use std::time::Duration;

use crate::lab;
use crate::simulate::fleet::scenario::Nat;

/// First port that a NAT gives away where it has few.
const PORTS_FROM: u16 = 40_000;

/// A NAT as the lab makes it.
///
/// # Errors
/// Its timeouts are no whole seconds.
pub fn lab_nat(nat: &Nat) -> Result<lab::Nat, lab::LabError> {
    let made =
        if nat.is_port_kept { lab::Nat::preserved_ports(nat.stream) } else { lab::Nat::random_ports(nat.stream) };
    let made = made.udp_unreplied(nat.unreplied).udp_stream(nat.stream);
    let range = |max: u32| PORTS_FROM..=PORTS_FROM.saturating_add(u16::try_from(max - 1).unwrap_or(u16::MAX));
    Ok(nat.ports_max.map_or(made.clone(), |max| made.port_range(range(max.max(1)))))
}

/// What of it no kernel can do is added to `unfit`, once.
pub(super) fn fits(nat: &Nat, key: &str, unfit: &mut Vec<String>) {
    let is_whole = |timeout: Duration| timeout.subsec_nanos() == 0 && !timeout.is_zero();
    let mut refuse = |is_so: bool, why: &str| {
        let text = format!("{key}: {why}");
        if is_so && !unfit.contains(&text) {
            unfit.push(text);
        }
    };
    let why = "on a kernel, timeouts are whole seconds from 1s: conntrack counts so";
    refuse(!is_whole(nat.stream) || !is_whole(nat.unreplied), why);
    refuse(!nat.granularity.is_zero(), "the kernel's NAT has no timer wheel: leave `granularity` out");
}

#[cfg(test)]
mod tests {
    use super::super::LabPlan;
    use super::super::fixtures::scenario;

    #[test]
    fn what_conntrack_cannot_count_is_said_once_for_all_boxes_and_for_each_fault() {
        let carriers = "{name: a, devices: 9, timeout: 2500ms}, {name: b, devices: 9, timeout: 1500ms}";
        let rest = "faults: [{at: 10s, timeout_times: 0.5}]";
        let unfit = LabPlan::of(&scenario(&format!("duration: 1m\nfleet: {{carriers: [{carriers}]}}\n{rest}\n")));
        let unfit = unfit.expect_err("does not fit");
        let keys: Vec<&str> = unfit.iter().filter_map(|text| text.split(": ").next()).collect();
        assert_eq!(keys, ["fleet.carriers", "faults[0]"], "{unfit:?}");
    }
}
