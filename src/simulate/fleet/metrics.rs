//! What a run of a fleet was worth: the metrics by name.

/// The metrics of one run, in the order of tables and JSON lines.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FleetScore {
    /// Share of the time of powered devices in radio coverage, in which a packet to the address seen last would have
    /// passed the NAT.
    pub coverage: f64,
    /// The same from the warm-up on.
    pub coverage_learnt: f64,
    /// The same of the worst cohort.
    pub coverage_worst_cohort: f64,
    /// Seconds a device and day that were not covered, all of the run.
    pub uncovered_seconds: f64,
    /// Packets a device and day: beats, retries, probes.
    pub heartbeats: f64,
    /// The same from the warm-up on.
    pub heartbeats_learnt: f64,
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
    /// From its start until a device has the pace that its cohort's shortest NAT bears, within a tenth: 95th percentile.
    pub learn_seconds: f64,
    /// From the first fault until a device of the carrier that was changed has a pace that fits again: 99th percentile.
    pub adapt_seconds: f64,
    /// Falls of a cohort's interval, from the warm-up on, without a change of its NATs in the half hour before.
    pub false_shortenings: f64,
    /// Share of the devices that were told, by the last ack that came, that no pace serves their NAT.
    pub hostile: f64,
}

/// How many there are.
const COUNT: usize = 14;

/// The names, in the order of tables and JSON lines.
pub const FLEET_METRICS: [&str; COUNT] = [
    "coverage",
    "coverage_learnt",
    "coverage_worst_cohort",
    "uncovered_seconds",
    "heartbeats",
    "heartbeats_learnt",
    "probe_packets",
    "tests",
    "second_acks",
    "lost_by_probing",
    "learn_seconds",
    "adapt_seconds",
    "false_shortenings",
    "hostile",
];

impl FleetScore {
    /// The values in the order of [`FLEET_METRICS`].
    pub const fn values(&self) -> [f64; COUNT] {
        [
            self.coverage,
            self.coverage_learnt,
            self.coverage_worst_cohort,
            self.uncovered_seconds,
            self.heartbeats,
            self.heartbeats_learnt,
            self.probe_packets,
            self.tests,
            self.second_acks,
            self.lost_by_probing,
            self.learn_seconds,
            self.adapt_seconds,
            self.false_shortenings,
            self.hostile,
        ]
    }
}
