//! Devices as processes: as few as start soon, and as many for each carrier as what befalls a share of its devices needs.

use super::{BoxOf, HouseholdPlan};
use crate::simulate::fleet::scenario::FleetScenario;

/// A household is a process and a namespace; there are about so many.
const HOUSEHOLDS: u32 = 24;
/// Devices of a household at most: its thread waits for all their sockets at once, which costs their number each time.
const HOUSEHOLD_MAX: u32 = 64;
/// What happens to a share of a carrier happens to a share of its households: a carrier has as many, where it has devices.
const HOUSEHOLDS_MIN: u32 = 4;

/// As the simulator spreads devices over boxes; a box of nobody has no household.
pub(super) fn of(scenario: &FleetScenario, boxes: &[BoxOf]) -> Vec<HouseholdPlan> {
    let total: u32 = scenario.carriers.named.iter().map(|carrier| carrier.devices).sum();
    let usual = total.div_ceil(HOUSEHOLDS).clamp(1, HOUSEHOLD_MAX);
    let mut households = Vec::new();
    for (carrier, plan) in scenario.carriers.named.iter().enumerate() {
        let first = boxes.iter().position(|at| at.carrier == carrier).unwrap_or_default();
        let shares: f64 = plan.boxes.iter().map(|of| of.share).sum();
        let (mut until, mut given) = (0.0, 0);
        for (i, of) in plan.boxes.iter().enumerate() {
            until += of.share / shares * f64::from(plan.devices);
            let devices = (until.round() as u32).saturating_sub(given);
            given += devices;
            let count = devices.div_ceil(usual).max(HOUSEHOLDS_MIN.min(devices));
            for n in 0..count {
                let share = |n: u32| devices * n / count;
                households.push(HouseholdPlan {
                    carrier,
                    at_box: first + i,
                    id: format!("{}-{i}-{n}", plan.name),
                    devices: share(n + 1) - share(n),
                    joins_at: plan.joins_at,
                });
            }
        }
    }
    households
}

#[cfg(test)]
mod tests {
    use super::super::LabPlan;
    use super::super::fixtures::{TWO, scenario};
    use super::*;

    #[test]
    fn every_device_is_in_one_household_and_every_carrier_has_some() {
        let plan = LabPlan::of(&scenario(TWO)).expect("fits");
        assert_eq!(plan.devices(), 110);
        let of = |carrier| plan.households.iter().filter(|household| household.carrier == carrier).count();
        assert!(of(0) >= 20 && of(1) >= HOUSEHOLDS_MIN as usize, "{} {}", of(0), of(1));
        assert!(plan.households.iter().all(|household| household.devices > 0));
    }
}
