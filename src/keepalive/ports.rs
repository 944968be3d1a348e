//! Whether a cohort's NATs give a flow the same public port again after they have forgotten it.
//!
//! Where they do, a heartbeat that comes from the port it always came from says nothing of the silence before it: the
//! binding may have died in it and have been made anew. Where they draw a new port each time, it is a survival. Which of
//! the two, is seen on side flows that expired: the share of ports kept has a Beta posterior.

/// Before anything is seen: a flow kept, and one not.
const PRIOR: f64 = 0.5;
/// A NAT is known to draw new ports where less than this share is kept,
const KEPT_MAX: f64 = 0.05;
/// this many standard deviations above the mean.
const SURE: f64 = 2.0;

/// Expired side flows that spoke again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ports {
    /// From the same public port as before.
    pub kept: u32,
    /// From another.
    pub moved: u32,
}

impl Ports {
    /// One more flow.
    pub fn observe(&mut self, is_kept: bool) {
        let count = if is_kept { &mut self.kept } else { &mut self.moved };
        *count = count.saturating_add(1);
    }

    /// Part of expired flows that get the same port again, best guess.
    pub fn kept_ratio(&self) -> f64 {
        (f64::from(self.kept) + PRIOR) / self.seen()
    }

    /// Whether a flow that has kept its port is known to have lived.
    pub fn are_drawn_anew(&self) -> bool {
        let mean = self.kept_ratio();
        mean + SURE * (mean * (1.0 - mean) / (self.seen() + 1.0)).sqrt() < KEPT_MAX
    }

    fn seen(&self) -> f64 {
        f64::from(self.kept) + f64::from(self.moved) + 2.0 * PRIOR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_port_is_a_survival_only_after_many_that_were_not() {
        assert!(!Ports::default().are_drawn_anew());
        assert!(!Ports { kept: 0, moved: 10 }.are_drawn_anew());
        assert!(Ports { kept: 0, moved: 40 }.are_drawn_anew());
        assert!(!Ports { kept: 20, moved: 40 }.are_drawn_anew());
        assert!(!Ports { kept: 4, moved: 96 }.are_drawn_anew());
    }
}
