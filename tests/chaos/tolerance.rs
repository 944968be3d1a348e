//! How near the two worlds must be, and why no nearer.

/// One metric's.
pub(crate) struct Tolerance {
    pub(crate) metric: &'static str,
    /// In the metric's own unit.
    absolute: f64,
    /// As a part of the larger of the two; whichever allows more counts.
    relative: f64,
    /// Whether an emulated processor that others want too disturbs it: then it is not compared in the throw-away machine.
    is_of_processor: bool,
    pub(crate) why: &'static str,
}

/// What is not here is not compared: `learn_seconds` of a few devices in a hundred hangs on one test more or less.
pub(crate) const TOLERANCES: [Tolerance; 18] = [
    Tolerance {
        metric: "coverage_before",
        absolute: 0.1,
        relative: 0.0,
        is_of_processor: false,
        why: "four standard deviations of 400 pushes, half of which are lost",
    },
    Tolerance {
        metric: "coverage_after",
        absolute: 0.02,
        relative: 0.0,
        is_of_processor: false,
        why: "a second, which the server takes to decide or to start, of the ten or so that are measured, for a part of the devices",
    },
    Tolerance {
        metric: "coverage_learnt",
        absolute: 0.05,
        relative: 0.0,
        is_of_processor: false,
        why: "both of these, and devices that a server does not know yet are given second acks, which the simulator leaves out",
    },
    Tolerance {
        metric: "heartbeats_before",
        absolute: 0.0,
        relative: 0.35,
        is_of_processor: true,
        why: "devices leave the floor one after the other, some seconds earlier or later; an emulated processor that others want too answers late, which costs retries and tests (five times as many seen)",
    },
    Tolerance {
        metric: "heartbeats_after",
        absolute: 0.0,
        relative: 0.35,
        is_of_processor: true,
        why: "the same; orders are in tenths of a second, of intervals of some two seconds",
    },
    Tolerance {
        metric: "adapt_seconds",
        absolute: 6.0,
        relative: 0.0,
        is_of_processor: false,
        why: "the slowest device in a hundred: its last beat at the old pace, one more test, and a second to decide",
    },
    Tolerance { metric: "rollbacks", absolute: 0.0, relative: 0.0, is_of_processor: false, why: "a count" },
    Tolerance { metric: "released", absolute: 0.0, relative: 0.0, is_of_processor: false, why: "a count" },
    Tolerance { metric: "wave_at_stop", absolute: 0.0, relative: 0.0, is_of_processor: false, why: "a count" },
    Tolerance { metric: "refused_commands", absolute: 0.0, relative: 0.0, is_of_processor: false, why: "a count" },
    Tolerance { metric: "wave_after_restart", absolute: 0.0, relative: 0.0, is_of_processor: false, why: "a count" },
    Tolerance {
        metric: "wave_devices",
        absolute: 4.0,
        relative: 0.0,
        is_of_processor: false,
        why: "a device that joins after the rollout began is in its waves by its hash",
    },
    Tolerance { metric: "wave_devices_moved", absolute: 0.0, relative: 0.0, is_of_processor: false, why: "a count" },
    Tolerance {
        metric: "rollback_seconds",
        absolute: 5.0,
        relative: 0.0,
        is_of_processor: false,
        why: "the last device to hear of it: one push that its NAT did not let through is one interval",
    },
    Tolerance {
        metric: "settle_seconds",
        absolute: 9.0,
        relative: 0.0,
        is_of_processor: false,
        why: "one surge is one draw, and one second that loses more than 1 % begins the count anew; one run of nine took 8 s longer",
    },
    Tolerance {
        metric: "loss_ratio",
        absolute: 0.07,
        relative: 0.0,
        is_of_processor: false,
        why: "the same: each second of a load that is the double is 1.4 % of all in 70 s",
    },
    Tolerance {
        metric: "utilization",
        absolute: 0.05,
        relative: 0.0,
        is_of_processor: false,
        why: "where the surge left the budget, in one draw",
    },
    Tolerance { metric: "rise_while_blind", absolute: 0.0, relative: 0.0, is_of_processor: false, why: "a promise" },
];

impl Tolerance {
    pub(crate) fn is_for(&self, is_in_machine: bool) -> bool {
        !(is_in_machine && self.is_of_processor)
    }

    pub(crate) fn is_near(&self, a: f64, b: f64) -> bool {
        (a - b).abs() <= self.absolute.max(self.relative * a.abs().max(b.abs())) + 1e-9
    }

    /// In words.
    pub(crate) fn words(&self) -> String {
        match (self.absolute, self.relative) {
            (0.0, 0.0) => "equal".to_owned(),
            (absolute, 0.0) => format!("{absolute}"),
            (_, relative) if self.is_of_processor => format!("{} %; not compared in the machine", relative * 100.0),
            (_, relative) => format!("{} %", relative * 100.0),
        }
    }
}
