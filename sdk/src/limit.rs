//! The local limit: between a surge and the strategy that answers it, an instance of a service holds itself to its part
//! of what the service may cause.
//!
//! A controller needs a scrape, a tick and a push to answer a surge, and in those seconds every root span is sampled at
//! a probability that was made for a fraction of them. Only the instance sees the surge at once. The obvious limit, the
//! service's share divided by its instances, throttles whoever gets more than the mean; so the instance learns *its own
//! part* of the service:
//!
//! ```text
//! own rate  w = root traces/s that the strategy would sample here, over about the last second
//! part        = w over what the controller expects of the whole service, over about the last minute
//! limit     L = k x part x share
//! factor      = min(1, (L + credit) / w)     effective probability = probability x factor
//! ```
//!
//! The parts of all instances add up to about one, however skewed they are, so together they cause at most k x the
//! share. A part says nothing about the level of demand or of probabilities: a new strategy moves the limit at once, by
//! its share. What remains is a probability, decided before a trace is looked at, so adjusted counts (one over it) stay
//! true.
//!
//! * **Noise.** Root spans come at random, so an instance runs ahead of any limit now and then. It has a credit, filled
//!   at the limit's rate, of as many root spans as chance needs in all but 1e-5 of the time: 25 for k = 1.25,
//!   whatever the rate. A surge spends it at once, chance does not, and a margin on the rate would let a surge of a slow
//!   instance pass for ever.
//! * **The surge must not become the usual.** What the part is learnt from is cut off at k times the usual (and at one
//!   k-th), so a surge is forgiven by 1/240 a second. Where it lasts longer than a controller needs, while the stream is
//!   open and silent, it is no surge of the service: a load balancer moved it here, and the part is learnt as it is.
//! * **Nobody answers.** With the stream lost nothing tells a surge from a moved load. The backend has to bear it either
//!   way, so the limit stays and opens slowly: twice as far in about three minutes.
//! * **Nothing known, nothing limited.** A part is known after half a minute with at least twenty root spans, and
//!   forgotten after a minute without any: a restarted instance, a rare one, a strategy without a share are not limited.
//!
//! Pure: no clock, no runtime, no randomness. `now` is a time since any zero that the caller keeps to.

mod part;
mod recent;

use std::time::Duration;

use part::OwnPart;
use recent::Recent;

/// Standard deviations of a Poisson stream that are not learnt from as a surge.
const NOISE_DEVIATIONS: f64 = 3.0;
/// Share of the time in which chance alone may bind.
const CHANCE: f64 = 1e-5;
/// Root spans on top: they come whole, and the tail of a rare stream is longer than its deviation tells.
const NOISE_ROOTS: f64 = 2.0;
/// A `k` closer to 1 than this would need endless credit.
const DRIFT_MIN: f64 = 0.05;

/// What the controller tells of a whole service beside its probabilities.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LocalShare {
    expected: f64,
    share: f64,
}

/// Root spans and what a strategy expects to sample of them.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Roots {
    /// How many.
    pub count: f64,
    /// Sum of their probabilities by the strategy, before the local limit.
    pub traces: f64,
    /// Sum of the squares of these probabilities: the variance, were they a Poisson stream.
    pub squares: f64,
}

/// How an instance limits itself. The defaults suit a fleet whose load balancer spreads evenly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LocalLimitSettings {
    /// Times its usual part of the share that an instance may cause; at least 1. Higher lets more of a surge through
    /// (x10 passes k/10 of it), lower binds when load merely moves. 1.5 suits instances whose load moves a lot,
    /// infinity is no limit at all. Default 1.25.
    pub k: f64,
    /// Time constant of the learnt part. Default 60 s.
    pub time_constant: Duration,
    /// For how long nothing is limited while the part is learnt first. Default 30 s.
    pub learning: Duration,
    /// From here on, a rate above the limit that the controller saw and did not answer is the new usual. Longer than a
    /// controller needs: four scrapes of 15 s. Default 60 s.
    pub patience: Duration,
}

/// One instance's limit. See the head of its source file for the law.
#[derive(Debug, Clone)]
pub struct LocalLimit {
    settings: LocalLimitSettings,
    share: Option<LocalShare>,
    /// When the last share was withdrawn, while there is none.
    withdrawn_at: Duration,
    /// The stream is open: what the controller does not say is an answer too.
    is_followed: bool,
    recent: Recent,
    part: OwnPart,
    /// Traces that may go out beyond the limit, because chance brings them.
    credit: f64,
    counted_at: Duration,
    factor: f64,
}

impl LocalShare {
    /// Root traces/s that the strategy causes in the whole service, and those that the service may cause. `None` where
    /// there is nothing to limit by: either is 0, negative or no number. A share below the expected counts as it.
    pub fn new(expected_traces_per_second: f64, share_traces_per_second: f64) -> Option<Self> {
        let (expected, share) = (expected_traces_per_second, share_traces_per_second);
        let is_usable = expected > 0.0 && share > 0.0 && expected.is_finite() && share.is_finite();
        is_usable.then_some(Self { expected, share: share.max(expected) })
    }
}

impl Roots {
    /// So many at one probability.
    pub fn uniform(count: f64, probability: f64) -> Self {
        Self { count, traces: count * probability, squares: count * probability * probability }
    }

    /// These and those.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            traces: self.traces + other.traces,
            squares: self.squares + other.squares,
        }
    }
}

impl Default for LocalLimitSettings {
    fn default() -> Self {
        Self {
            k: 1.25,
            time_constant: Duration::from_secs(60),
            learning: Duration::from_secs(30),
            patience: Duration::from_secs(60),
        }
    }
}

impl LocalLimit {
    /// Limits nothing until it was told a share and has learnt its part. A `k` below 1, or none at all, counts as 1.
    pub fn new(settings: LocalLimitSettings) -> Self {
        Self {
            settings: LocalLimitSettings { k: settings.k.max(1.0), ..settings },
            share: None,
            withdrawn_at: Duration::ZERO,
            is_followed: false,
            recent: Recent::default(),
            part: OwnPart::default(),
            credit: 0.0,
            counted_at: Duration::ZERO,
            factor: 1.0,
        }
    }

    /// A strategy is in force from now on, with this share. Nothing is limited before the next root spans were seen
    /// under it. Without a share nothing is limited, and the part is kept for as long as it is a fair guess.
    pub fn adopt(&mut self, now: Duration, share: Option<LocalShare>) {
        self.factor = 1.0;
        self.is_followed = true;
        match (self.share, share) {
            (Some(_), None) => self.withdrawn_at = now,
            (None, Some(_)) if now.saturating_sub(self.withdrawn_at) > self.settings.time_constant => {
                self.part = OwnPart::default();
            }
            _ => {}
        }
        self.share = share;
        self.recent.price_anew();
        self.part.start_step(now);
    }

    /// The stream is lost: the strategy stays in force, and silence is no answer any more. Ends with the next
    /// [`adopt`](Self::adopt).
    pub fn lose_stream(&mut self) {
        self.is_followed = false;
    }

    /// A root span starts, which the strategy samples at `probability`. Returns the factor for it.
    pub fn observe(&mut self, now: Duration, probability: f64) -> f64 {
        self.observe_many(now, Roots::uniform(1.0, probability))
    }

    /// Root spans that started since the last call, at the strategy's probabilities. Returns the factor from now on.
    /// Ten calls a second follow a surge closely enough; a call without root spans is as good as none.
    pub fn observe_many(&mut self, now: Duration, roots: Roots) -> f64 {
        let Some(share) = self.share else { return 1.0 };
        self.recent.add(now, roots);
        self.part.add(now, roots.traces, self.surroundings(share));
        self.factor = self.decide(now, roots, share);
        self.factor
    }

    /// What every probability is multiplied with now; in (0, 1].
    pub fn factor(&self) -> f64 {
        self.factor
    }

    /// The learnt part of the service, once it is known.
    pub fn part(&self) -> Option<f64> {
        self.part.known()
    }

    fn decide(&mut self, now: Duration, roots: Roots, share: LocalShare) -> f64 {
        let seconds = now.saturating_sub(self.counted_at).as_secs_f64();
        self.counted_at = self.counted_at.max(now);
        let depth = self.credit_max();
        let Some(part) = self.part.known() else {
            self.credit = depth;
            return 1.0;
        };
        let allowed = self.settings.k * part * share.share;
        self.credit = (self.credit + allowed * seconds - roots.traces * self.factor).clamp(0.0, depth);
        // Spent over the window that a rate is known for: all at once would let a surge through every other moment.
        let (allowed, own) = (allowed + self.credit / recent::WINDOW.as_secs_f64(), self.recent.traces_per_second());
        if own > allowed { allowed / own } else { 1.0 }
    }

    /// A Poisson stream of mean `m` against a limit of `k m` runs ahead by more than `d` root spans in a share
    /// `exp(-2 (k - 1) d)` of the time, whatever its rate: a random walk with drift against a wall.
    fn credit_max(&self) -> f64 {
        let drift = (self.settings.k - 1.0).max(DRIFT_MIN);
        self.recent.grain() * (CHANCE.recip().ln() / (2.0 * drift) + NOISE_ROOTS)
    }

    fn surroundings(&self, share: LocalShare) -> part::Surroundings {
        part::Surroundings {
            expected: share.expected,
            grain: self.recent.grain(),
            is_followed: self.is_followed,
            settings: self.settings,
        }
    }
}

/// The most that a Poisson stream of `mean` traces/s shows over `window` now and then; its root spans are worth `grain`
/// traces each.
fn with_noise(mean: f64, grain: f64, window: Duration) -> f64 {
    let seconds = window.as_secs_f64();
    mean + NOISE_DEVIATIONS * (mean * grain / seconds).sqrt() + NOISE_ROOTS * grain / seconds
}

#[cfg(test)]
mod tests;
