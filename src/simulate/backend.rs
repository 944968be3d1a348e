//! A tracing backend: works off so many spans a second, queues a little, drops the rest.

/// The queue and what became of everything offered.
#[derive(Debug, Clone, Default)]
pub(super) struct Backend {
    queue_max: f64,
    queued: f64,
    /// Spans ever offered.
    pub received: f64,
    /// Spans ever dropped.
    pub dropped: f64,
    /// Spans ever worked off.
    pub served: f64,
}

impl Backend {
    /// A queue of `queue_max` spans.
    pub(super) fn new(queue_max: f64) -> Self {
        Self { queue_max, ..Self::default() }
    }

    /// `offered` spans arrive while `bears` can be worked off; `lost_anyway` of them (0 to 1) are lost whatever the load.
    /// Returns the spans lost.
    pub(super) fn step(&mut self, offered: f64, bears: f64, lost_anyway: f64) -> f64 {
        let lost = offered * lost_anyway;
        let waiting = self.queued + offered - lost;
        let served = waiting.min(bears);
        let overflow = (waiting - served - self.queue_max).max(0.0);
        self.queued = waiting - served - overflow;
        self.received += offered;
        self.dropped += lost + overflow;
        self.served += served;
        lost + overflow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_fills_before_anything_is_lost_and_nothing_vanishes() {
        let mut backend = Backend::new(10.0);
        assert_eq!(backend.step(15.0, 10.0, 0.0), 0.0);
        assert_eq!(backend.step(20.0, 10.0, 0.0), 5.0);
        assert_eq!(backend.step(0.0, 10.0, 0.0), 0.0);
        assert_eq!((backend.received, backend.served, backend.dropped), (35.0, 30.0, 5.0));
        assert_eq!(backend.step(10.0, 100.0, 0.03), 0.3);
    }
}
