//! Which metrics a scenario has anything to say of: a table for people leaves out what cannot be but 0, because it never
//! was. JSON lines carry every metric, whatever the scenario.

use super::scenario::{FleetFaultKind, FleetScenario};

impl FleetScenario {
    /// Whether there is anything in it that the metric measures.
    pub fn has(&self, metric: &str) -> bool {
        match metric {
            "adapt_seconds" => self.has_changes(),
            "rollbacks" | "released" | "wave_at_stop" | "rollback_seconds" => self.has_waves(),
            "refused_commands" => self.has_fault(|kind| matches!(kind, FleetFaultKind::Rollout(_))),
            "wave_after_restart" | "wave_devices" | "wave_devices_moved" => {
                self.has_waves() && self.has_fault(|kind| matches!(kind, FleetFaultKind::ServerRestart { .. }))
            }
            _ => true,
        }
    }

    /// What a binding bears changes for some device.
    fn has_changes(&self) -> bool {
        let is_change =
            |kind: &_| matches!(kind, FleetFaultKind::TimeoutTimes(_) | FleetFaultKind::CarrierChange { .. });
        self.changes_every.is_some() || self.has_fault(is_change)
    }

    fn has_waves(&self) -> bool {
        self.policies().any(|policy| policy.waves.is_some())
    }

    fn has_fault(&self, is_so: impl Fn(&FleetFaultKind) -> bool) -> bool {
        self.faults.iter().any(|fault| is_so(&fault.kind))
    }
}

#[cfg(test)]
mod tests {
    use crate::document::SourceFile;
    use crate::scenario::load;
    use crate::simulate::fleet::metrics::FLEET_METRICS;
    use crate::simulate::plan::Plan;

    /// Metrics that a scenario of one carrier has nothing to say of.
    fn left_out(rest: &str) -> Vec<&'static str> {
        let text = format!("duration: 1h\nfleet: {{carriers: [{{name: a, devices: 9, timeout: 1m}}]}}\n{rest}\n");
        match load::parse(&SourceFile { path: "s.yaml".into(), text }.into(), None) {
            Ok(Plan::Fleet(scenario)) => FLEET_METRICS.into_iter().filter(|metric| !scenario.has(metric)).collect(),
            other => panic!("{other:?}"),
        }
    }

    const ROLLOUTS: [&str; 4] = ["rollbacks", "released", "wave_at_stop", "rollback_seconds"];
    const COMMANDS: &str = "refused_commands";
    const RESTARTS: [&str; 3] = ["wave_after_restart", "wave_devices", "wave_devices_moved"];

    #[test]
    fn what_no_part_of_a_scenario_can_make_is_left_out() {
        let all = [&["adapt_seconds"], &ROLLOUTS[..], &[COMMANDS], &RESTARTS].concat();
        assert_eq!(left_out(""), all);
        assert_eq!(left_out("faults: [{at: 10m, server_restart: 1m}, {at: 20m, nat_reboot: true}]"), all);
        assert_eq!(left_out("policy: {waves: off}"), all);
        assert_eq!(left_out("faults: [{at: 10m, timeout_times: 0.5}]"), all[1..]);
    }

    #[test]
    fn rollouts_are_shown_where_any_policy_of_the_scenario_has_waves() {
        let without_rollouts = [&["adapt_seconds"], &[COMMANDS][..], &RESTARTS].concat();
        assert_eq!(left_out("policy: {waves: {}}"), without_rollouts);
        assert_eq!(left_out("faults: [{at: 10m, policy: {waves: {}}}]"), without_rollouts);
        let all = "policy: {waves: {}}\nfaults: [{at: 1m, rollout: promote}, {at: 9m, server_kill: 1m}]";
        assert_eq!(left_out(all), ["adapt_seconds"]);
    }
}
