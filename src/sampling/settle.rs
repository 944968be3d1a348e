//! From what a law wants to what is decided. Falls pass, but for what the law leaves to chance; a rise passes if nothing
//! forbids it and it is worth a command.

use super::decision::Reason;
use super::law::Want;
use super::policy::Bounds;
use super::probability::Probability;

/// Largest rise in one tick after a hold: what was held may be far from what the fleet can bear now.
const RECOVERY_RISE: f64 = 2.0;

/// What stands between a wish and a rise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bars {
    /// Forbids any rise.
    pub no_rise: Option<Reason>,
    /// Input came back after a hold.
    pub is_recovering: bool,
    /// Smallest relative rise that passes; none for laws that are exact.
    pub dead_band: f64,
    /// Largest relative fall that is not worth a command, because the law's headroom covers it.
    pub slack: f64,
}

/// Decides one probability. It never rises when `want` falls, all else equal.
pub fn settle(bounds: &Bounds, held: Probability, want: Want, bars: &Bars) -> Want {
    let held = held.clamp(bounds.min, bounds.max);
    let hold = |reason| Want { probability: held, reason };
    if want.probability <= held {
        let is_covered = want.probability.get() > held.get() * (1.0 - bars.slack) && want.probability < held;
        return if is_covered { hold(Reason::DeadBand) } else { want };
    }
    if let Some(reason) = bars.no_rise {
        return hold(reason);
    }
    let ceiling = Probability::saturating(held.get() * RECOVERY_RISE);
    if bars.is_recovering && want.probability > ceiling {
        return Want { probability: ceiling, reason: Reason::Recovering };
    }
    // The last bit up to `max` passes: nobody should stay at 0.95 for ever.
    if want.probability < bounds.max && want.probability.get() < held.get() * (1.0 + bars.dead_band) {
        return hold(Reason::DeadBand);
    }
    want
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FREE: Bars = Bars { no_rise: None, is_recovering: false, dead_band: 0.08, slack: 0.0 };

    fn p(value: f64) -> Probability {
        Probability::new(value).expect("a probability")
    }

    fn decide(held: f64, want: f64, bars: &Bars) -> (f64, Reason) {
        let want = Want { probability: p(want), reason: Reason::Share };
        let settled = settle(&Bounds::default(), p(held), want, bars);
        (settled.probability.get(), settled.reason)
    }

    #[test]
    fn falls_pass_and_rises_meet_their_bars() {
        let barred = Bars { no_rise: Some(Reason::Warming), ..FREE };
        let recovering = Bars { is_recovering: true, ..FREE };
        let slack = Bars { slack: 0.015, ..FREE };
        assert_eq!(decide(0.5, 0.495, &slack), (0.5, Reason::DeadBand));
        assert_eq!(decide(0.5, 0.49, &slack), (0.49, Reason::Share));
        assert_eq!(decide(0.5, 0.499, &barred), (0.499, Reason::Share));
        assert_eq!(decide(0.5, 0.6, &barred), (0.5, Reason::Warming));
        assert_eq!(decide(0.5, 0.53, &FREE), (0.5, Reason::DeadBand));
        assert_eq!(decide(0.5, 0.6, &FREE), (0.6, Reason::Share));
        assert_eq!(decide(0.97, 1.0, &FREE), (1.0, Reason::Share));
        assert_eq!(decide(0.1, 0.9, &recovering), (0.2, Reason::Recovering));
        assert_eq!(decide(0.1, 0.15, &recovering), (0.15, Reason::Share));
    }

    proptest! {
        #[test]
        fn a_lower_wish_never_gives_a_higher_decision(
            held in 0.001..1.0f64, a in 0.001..1.0f64, b in 0.001..1.0f64, recovering: bool, barred: bool,
        ) {
            let no_rise = barred.then_some(Reason::Idle);
            let bars = Bars { no_rise, is_recovering: recovering, dead_band: 0.08, slack: 0.015 };
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(decide(held, low, &bars).0 <= decide(held, high, &bars).0);
        }
    }
}
