//! How often a living binding looks expired.
//!
//! A test asks three times, and its control, on the flow that the heartbeats keep alive, tells expiry from a dead link.
//! What is left is that every packet to the side flow is lost while the control's come through. How likely that is, is
//! learnt from exchanges in short gaps, where no NAT forgets: never jointly with the lifetime, because a free error rate
//! explains a mixture of boxes as noise.
//!
//! The cube of the loss is the answer only where losses are independent. On a radio they come in bursts, so two numbers
//! are learnt: `r`, the part of exchanges that are lost, and `c`, the part of those right after a lost one. `n` in a row
//! are lost with `r c^(n-1)`, which is `r^n` where nothing clusters. Both are taken at an upper credible value, so that a
//! device of which little is known has to repeat more, not to be believed more.
//!
//! Limits: `r` is of the way there and back, and only the way back can be lost by one flow alone, so that the figure is
//! on the safe side by the other way's loss. A filter that drops what the server sends to side flows, and nothing
//! else, looks like expiry at any silence; a loss that depends on the length of the silence (a radio that must wake up)
//! is not seen in short gaps: the control is what must catch it.

use flyball_sdk::device::probe::TRIES;

/// Before anything is seen: exchanges, and those of them that were lost. 5 %, worth ten exchanges.
const PRIOR: Share = Share { of: 10.0, hits: 0.5 };
/// Exchanges after a lost one that are taken as seen,
const PRIOR_BURST_OF: f64 = 3.0;
/// and the part of them that is lost, above the loss itself.
const PRIOR_BURST_EXTRA: f64 = 0.1;
/// Standard deviations above the mean at which the loss is believed: three quarters, one-sided.
const UPPER: f64 = 0.67;
/// The part of an exchange's loss that is taken to be on the way back: only there one flow loses and the other does not.
const WAY_BACK: f64 = 0.75;
/// No test is surer than this, whatever the loss: links fail in ways that no short gap shows.
const FALSE_EXPIRY_MIN: f64 = 5e-4;
/// Nothing is learnt from an outcome that is as likely as not.
const FALSE_EXPIRY_MAX: f64 = 0.5;

/// What is known of the way to one device, or to one cohort's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Channel {
    exchanges: Share,
    after_lost: Share,
}

/// A part of a number: the mean of a Beta posterior, and how sure it is.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Share {
    of: f64,
    hits: f64,
}

impl Default for Channel {
    fn default() -> Self {
        Self::new()
    }
}

impl Channel {
    /// Of which nothing is known.
    pub const fn new() -> Self {
        Self { exchanges: PRIOR, after_lost: Share { of: 0.0, hits: 0.0 } }
    }

    /// Exchanges in short gaps, and those that nothing answered.
    pub fn short_gap(&mut self, sent: u32, lost: u32) {
        self.exchanges.add(f64::from(sent), f64::from(lost.min(sent)));
    }

    /// Exchanges within seconds after one that nothing answered, and those of them that nothing answered either. They
    /// are told here only, not as short gaps again.
    pub fn after_lost(&mut self, sent: u32, lost: u32) {
        self.after_lost.add(f64::from(sent), f64::from(lost.min(sent)));
    }

    /// The controls of one test: of three exchanges on the main flow, 700 ms apart, so many came back. Which of them is
    /// not told, so the runs of losses are what they are on average over all orders.
    pub fn controls(&mut self, came_back: u8) {
        let lost = TRIES.saturating_sub(came_back);
        self.short_gap(u32::from(TRIES), u32::from(lost));
        let (of, hits) = match lost {
            0 => (0.0, 0.0),
            1 => (2.0 / 3.0, 0.0),
            2 => (4.0 / 3.0, 2.0 / 3.0),
            _ => (2.0, 2.0),
        };
        self.after_lost.add(of, hits);
    }

    /// Part of exchanges that are lost, at its mean: for people.
    pub fn loss_ratio(&self) -> f64 {
        self.exchanges.mean()
    }

    /// Probability that a test of a living binding ends with nothing passed and this many controls back, relative to
    /// that of an expired one; 1, which says nothing, without a control.
    pub fn false_expiry(&self, controls: u8) -> f64 {
        if controls == 0 {
            return 1.0;
        }
        let loss = self.exchanges.upper();
        let mut burst = self.after_lost;
        burst.add(PRIOR_BURST_OF, PRIOR_BURST_OF * (self.exchanges.mean() + PRIOR_BURST_EXTRA).min(1.0));
        let again = burst.mean().max(loss);
        let controls = i32::from(controls.min(TRIES));
        let back = WAY_BACK * loss * (WAY_BACK * again).powi(controls - 1);
        // A try without a control was lost on the way there, or twice on the way back.
        let other = (1.0 - WAY_BACK + WAY_BACK * WAY_BACK * again).powi(i32::from(TRIES) - controls);
        (back * other).clamp(FALSE_EXPIRY_MIN, FALSE_EXPIRY_MAX)
    }
}

impl Share {
    const fn add(&mut self, of: f64, hits: f64) {
        self.of += of;
        self.hits += hits;
    }

    fn mean(self) -> f64 {
        self.hits / self.of
    }

    /// The mean and [`UPPER`] standard deviations of Beta(hits, of - hits).
    fn upper(self) -> f64 {
        let mean = self.mean();
        (mean + UPPER * (mean * (1.0 - mean) / (self.of + 1.0)).sqrt()).min(1.0)
    }
}
