//! What a run was worth: the contract's metrics, from the plant's own truth second by second.

/// The metrics of one run, by the names of the JSON lines.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Spans lost over spans offered.
    pub loss_ratio: f64,
    /// The same over the worst sliding minute.
    pub worst_60s_loss: f64,
    /// Spans lost, in seconds of the capacity of their moment.
    pub lost_capacity_seconds: f64,
    /// Capacity left idle while the demand exceeded it, in seconds.
    pub unused_capacity_seconds: f64,
    /// Accepted over capacity while the demand exceeded it; 1 if it never did.
    pub utilization: f64,
    /// Seconds from the event to the first second from which each of the next 30 loses at most 1 %; the rest of the run
    /// if that never comes.
    pub settle_seconds: f64,
    /// Times, after settling, that the mean loss of 10 s rose over 1 %.
    pub episodes: f64,
    /// How far the budget stood over the true capacity at most, as a share of it, from the first command after the loss
    /// began.
    pub overshoot: f64,
    /// Peak to peak of budget over capacity after settling; meaningful on constant plants only.
    pub oscillation: f64,
    /// Jain's index of what was accepted of each service over its max-min fair share.
    pub fairness: f64,
    /// What was accepted of all services but the one with the largest demand, over their fair share.
    pub others_share: f64,
    /// Traces a minute of the rarest operation.
    pub coverage_min: f64,
    /// Strategies published: one for each service whose probabilities changed.
    pub commands: f64,
    /// Lowest probability served to any root after the warm-up, over the right one: capacity left over demand, at most 1.
    pub probability_ratio_min: f64,
    /// Largest rise of a probability in one tick: 2 = doubled.
    pub rise_max: f64,
    /// Largest rise of a probability over what it was when the law became blind, while it was.
    pub rise_while_blind: f64,
}

impl Score {
    /// Every metric with its name, in the order in which people read them.
    pub fn fields(&self) -> [(&'static str, f64); 16] {
        [
            ("loss_ratio", self.loss_ratio),
            ("worst_60s_loss", self.worst_60s_loss),
            ("lost_capacity_seconds", self.lost_capacity_seconds),
            ("unused_capacity_seconds", self.unused_capacity_seconds),
            ("utilization", self.utilization),
            ("settle_seconds", self.settle_seconds),
            ("episodes", self.episodes),
            ("overshoot", self.overshoot),
            ("oscillation", self.oscillation),
            ("fairness", self.fairness),
            ("others_share", self.others_share),
            ("coverage_min", self.coverage_min),
            ("commands", self.commands),
            ("probability_ratio_min", self.probability_ratio_min),
            ("rise_max", self.rise_max),
            ("rise_while_blind", self.rise_while_blind),
        ]
    }
}
