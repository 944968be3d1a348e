//! What a run of a fleet was worth: the metrics by name.

/// The metrics of one run, in the order of tables and JSON lines.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FleetScore {
    /// Share of the time of powered devices in radio coverage, in which a packet to the address seen last would have
    /// passed the NAT.
    pub coverage: f64,
    /// The same from the warm-up on.
    pub coverage_learnt: f64,
    /// The same from the warm-up, where that is earlier, until the scenario's event.
    pub coverage_before: f64,
    /// The same from so long after that event as the scenario lets it settle.
    pub coverage_after: f64,
    /// The same of the worst cohort, from the warm-up on.
    pub coverage_worst_cohort: f64,
    /// Seconds a device and day that were not covered, all of the run.
    pub uncovered_seconds: f64,
    /// Packets a device and day: beats, retries, probes.
    pub heartbeats: f64,
    /// The same from the warm-up on.
    pub heartbeats_learnt: f64,
    /// The same until the event, as `coverage_before`.
    pub heartbeats_before: f64,
    /// The same after it, as `coverage_after`.
    pub heartbeats_after: f64,
    /// Of `heartbeats`, packets for probes.
    pub probe_packets: f64,
    /// Tests on side flows that came to an end, a device and day.
    pub tests: f64,
    /// Second acks a device and day.
    pub second_acks: f64,
    /// Seconds a device and day in which a device was not covered that tests had earned a pace longer than its cohort's
    /// and than its NAT bore when it was told: what a wrong test costs the flow that carries messages. A change of the NAT
    /// afterwards is none.
    pub lost_by_probing: f64,
    /// From its start, or from a new policy, until a device has the pace that its cohort's shortest NAT bears, within a tenth: 95th percentile.
    pub learn_seconds: f64,
    /// From the first fault until a device of the carrier that was changed has a pace that fits again: 99th percentile.
    pub adapt_seconds: f64,
    /// Falls of a cohort's interval, from the warm-up on, without a change of its NATs in the half hour before.
    pub false_shortenings: f64,
    /// Share of the devices that were told, by the last ack that came, that no pace serves their NAT.
    pub hostile: f64,
    /// Rollouts that were taken back.
    pub rollbacks: f64,
    /// Rollouts that all devices have come to have.
    pub released: f64,
    /// The wave in which the last rollout that was taken back was stopped, counted from 1; 0 = none was.
    pub wave_at_stop: f64,
    /// From a rollback until a device that had the new interval has the old one again: 99th percentile; 0 = none was.
    pub rollback_seconds: f64,
    /// Commands of the operator that no rollout obeyed.
    pub refused_commands: f64,
    /// The wave, counted from 1, that a rollout goes on in after the last restart of the server that found one under way, of
    /// several the lowest; 0 = one does not go on, or there was none.
    pub wave_after_restart: f64,
    /// Devices that had the new interval of such a rollout when the server stopped.
    pub wave_devices: f64,
    /// Devices of such rollouts that had the old interval when the server stopped, and the new one when the rollout went on to
    /// its next wave or its end, or the run ended; or the other way round.
    pub wave_devices_moved: f64,
}

/// How many there are.
const COUNT: usize = 26;

/// The names, in the order of tables and JSON lines.
pub const FLEET_METRICS: [&str; COUNT] = [
    "coverage",
    "coverage_learnt",
    "coverage_before",
    "coverage_after",
    "coverage_worst_cohort",
    "uncovered_seconds",
    "heartbeats",
    "heartbeats_learnt",
    "heartbeats_before",
    "heartbeats_after",
    "probe_packets",
    "tests",
    "second_acks",
    "lost_by_probing",
    "learn_seconds",
    "adapt_seconds",
    "false_shortenings",
    "hostile",
    "rollbacks",
    "released",
    "wave_at_stop",
    "rollback_seconds",
    "refused_commands",
    "wave_after_restart",
    "wave_devices",
    "wave_devices_moved",
];

impl FleetScore {
    /// The values in the order of [`FLEET_METRICS`].
    pub const fn values(&self) -> [f64; COUNT] {
        [
            self.coverage,
            self.coverage_learnt,
            self.coverage_before,
            self.coverage_after,
            self.coverage_worst_cohort,
            self.uncovered_seconds,
            self.heartbeats,
            self.heartbeats_learnt,
            self.heartbeats_before,
            self.heartbeats_after,
            self.probe_packets,
            self.tests,
            self.second_acks,
            self.lost_by_probing,
            self.learn_seconds,
            self.adapt_seconds,
            self.false_shortenings,
            self.hostile,
            self.rollbacks,
            self.released,
            self.wave_at_stop,
            self.rollback_seconds,
            self.refused_commands,
            self.wave_after_restart,
            self.wave_devices,
            self.wave_devices_moved,
        ]
    }
}
