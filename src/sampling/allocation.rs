//! Weighted max-min fairness with floors and ceilings: one budget, shared so that nobody's part can grow except by
//! taking from someone who has less for its weight.
//!
//! The share of claim i is `clamp(level * weight_i, floor_i, ceiling_i)` for one common level, found so that the
//! shares use the budget up (water-filling; Bertsekas and Gallager, *Data Networks*, section 6.5.2). The sum over the
//! claims grows with the level, piece by piece linear, so a few steps of Newton's method find it, each in linear time and
//! without a sort. It can go astray between the pieces: every third step halves the bracket instead. The last step solves
//! exactly on the claims that follow the level.

/// Steps at most: enough halvings to tell apart any two claims whose ratios of ceiling to weight differ by 1e-12.
const STEPS_MAX: u32 = 144;
/// Every so many steps one is a halving.
const HALVE_EVERY: u32 = 3;
/// Relative width at which the level is known.
const PRECISION: f64 = 1e-13;

/// What one party may have: all finite, `0 <= floor <= ceiling`, `weight > 0`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Claim {
    /// Its part relative to the others.
    pub weight: f64,
    /// It gets this in any case.
    pub floor: f64,
    /// It can use no more.
    pub ceiling: f64,
}

/// What a budget leaves to a claim that grows alone while the others stay as they are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Room {
    /// Not even the floors fit: nothing.
    None,
    /// The budget is used up. A claim at its ceiling is entitled to more, at the cost of those who follow the level.
    Level {
        /// What each weight of 1 gets.
        level: f64,
        /// Sum of the weights of those who follow it.
        weights: f64,
    },
    /// Every ceiling fits.
    Spare {
        /// So much is left.
        spare: f64,
        /// Sum of all weights.
        weights: f64,
    },
}

impl Room {
    /// This room in a budget that is lower by `unproven`.
    pub fn less(self, unproven: f64) -> Self {
        match self {
            Self::Spare { spare, weights } => Self::Spare { spare: (spare - unproven).max(0.0), weights },
            room => room,
        }
    }

    /// What `claim`, which got `share`, would get if its ceiling alone were lifted. Exact while the same others follow
    /// the level; never below `share`.
    pub fn alone(self, claim: &Claim, share: f64) -> f64 {
        match self {
            // A surge seldom comes alone: what is left is shared too.
            Self::Spare { spare, weights } => share + spare * claim.weight / weights,
            Self::Level { level, weights } if share >= claim.ceiling => {
                share.max((level * weights + share) / (weights + claim.weight) * claim.weight)
            }
            Self::Level { .. } | Self::None => share,
        }
    }
}

/// Shares `budget` among `claims`, in their order, and tells what it leaves. The sum is at most `budget`, unless the
/// floors alone exceed it: then everyone gets its floor.
pub fn share(budget: f64, claims: &[Claim]) -> (Vec<f64>, Room) {
    let floors: f64 = claims.iter().map(|c| c.floor).sum();
    let ceilings: f64 = claims.iter().map(|c| c.ceiling).sum();
    if budget <= floors {
        return (claims.iter().map(|c| c.floor).collect(), Room::None);
    }
    if budget >= ceilings {
        let weights = claims.iter().map(|c| c.weight).sum();
        return (claims.iter().map(|c| c.ceiling).collect(), Room::Spare { spare: budget - ceilings, weights });
    }
    let (level, weights) = level(budget, claims);
    (claims.iter().map(|c| at_level(c, level)).collect(), Room::Level { level, weights })
}

fn at_level(claim: &Claim, level: f64) -> f64 {
    (level * claim.weight).clamp(claim.floor, claim.ceiling)
}

/// The level and the weights that follow it.
fn level(budget: f64, claims: &[Claim]) -> (f64, f64) {
    let (mut low, mut high) = (0.0, claims.iter().map(|c| c.ceiling / c.weight).fold(0.0, f64::max));
    let mut level = 0.5 * (low + high);
    for step in 1..=STEPS_MAX {
        let (used, slope) = used_and_slope(claims, level);
        if used > budget {
            high = level
        } else {
            low = level
        }
        let newton = level + (budget - used) / slope;
        let is_solved = (newton - level).abs() <= PRECISION * level;
        if is_solved || high - low <= PRECISION * high {
            (low, high) = (low.max(level * (1.0 - PRECISION)), high.min(level * (1.0 + PRECISION)));
            break;
        }
        let is_inside = low < newton && newton < high;
        level = if is_inside && step % HALVE_EVERY != 0 { newton } else { 0.5 * (low + high) };
    }
    exact_level(budget, claims, low, high)
}

/// What the claims use at this level, and by how much more for each unit of it; no slope where none follows.
fn used_and_slope(claims: &[Claim], level: f64) -> (f64, f64) {
    let (mut used, mut slope) = (0.0, 0.0);
    for claim in claims {
        let wanted = level * claim.weight;
        used += wanted.clamp(claim.floor, claim.ceiling);
        slope += if claim.floor < wanted && wanted < claim.ceiling { claim.weight } else { 0.0 };
    }
    (used, slope)
}

/// Between `low` and `high` the claims that follow the level are known; the rest is a division.
fn exact_level(budget: f64, claims: &[Claim], low: f64, high: f64) -> (f64, f64) {
    let (mut constant, mut weights) = (0.0, 0.0);
    for claim in claims {
        let follows = claim.floor < high * claim.weight && claim.ceiling > low * claim.weight;
        if follows { weights += claim.weight } else { constant += at_level(claim, low) }
    }
    // Outside the bracket (rounding, or a corner inside it) the bracket's own low end is right to a trillionth.
    let solved = if weights > 0.0 { (budget - constant) / weights } else { low };
    (if (low..=high).contains(&solved) { solved } else { low }, weights)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claim(weight: f64, floor: f64, ceiling: f64) -> Claim {
        Claim { weight, floor, ceiling }
    }

    #[test]
    fn shares_follow_weights_floors_and_ceilings() {
        let table: [(f64, &[Claim], &[f64]); 6] = [
            (100.0, &[claim(1.0, 0.0, 1e9), claim(3.0, 0.0, 1e9)], &[25.0, 75.0]),
            (100.0, &[claim(1.0, 0.0, 10.0), claim(1.0, 0.0, 1e9)], &[10.0, 90.0]),
            (100.0, &[claim(1.0, 60.0, 1e9), claim(1.0, 0.0, 1e9)], &[60.0, 40.0]),
            (100.0, &[claim(1.0, 0.0, 10.0), claim(1.0, 0.0, 20.0)], &[10.0, 20.0]),
            (10.0, &[claim(1.0, 8.0, 10.0), claim(1.0, 7.0, 20.0)], &[8.0, 7.0]),
            (10.0, &[], &[]),
        ];
        for (budget, claims, expected) in table {
            let (shares, _) = share(budget, claims);
            for (got, want) in shares.iter().zip(expected) {
                assert!((got - want).abs() < 1e-6, "{shares:?} for {claims:?}");
            }
        }
    }

    #[test]
    fn who_grows_alone_gets_its_fair_part_of_what_is_left() {
        let table: [(f64, &[Claim], &[f64]); 5] = [
            // At its ceiling: halves with the one who follows the level; who follows it has its share already.
            (100.0, &[claim(1.0, 0.0, 10.0), claim(1.0, 0.0, 1e9)], &[50.0, 90.0]),
            (100.0, &[claim(3.0, 0.0, 10.0), claim(1.0, 0.0, 1e9)], &[75.0, 90.0]),
            (100.0, &[claim(1.0, 60.0, 1e9), claim(1.0, 0.0, 1e9)], &[60.0, 40.0]),
            // The spare by weight, because a surge seldom comes alone.
            (100.0, &[claim(1.0, 0.0, 10.0), claim(1.0, 0.0, 20.0)], &[45.0, 55.0]),
            (10.0, &[claim(1.0, 8.0, 10.0), claim(1.0, 7.0, 20.0)], &[8.0, 7.0]),
        ];
        for (budget, claims, expected) in table {
            let (shares, room) = share(budget, claims);
            for ((claim, share), want) in claims.iter().zip(&shares).zip(expected) {
                let got = room.alone(claim, *share);
                assert!((got - want).abs() < 1e-6, "{got} of {budget} for {claim:?} among {claims:?}");
            }
        }
    }

    fn claims() -> impl Strategy<Value = Vec<Claim>> {
        let one = (0.01..100.0f64, 0.0..1.0f64, 0.0..1e6f64);
        prop::collection::vec(one.prop_map(|(w, f, c)| claim(w, f * c, c)), 1..40)
    }

    proptest! {
        #[test]
        fn the_budget_is_used_up_and_never_exceeded(claims in claims(), budget in 0.0..1e7f64) {
            let (shares, _) = share(budget, &claims);
            let sum: f64 = shares.iter().sum();
            let floors: f64 = claims.iter().map(|c| c.floor).sum();
            let ceilings: f64 = claims.iter().map(|c| c.ceiling).sum();
            prop_assert!(sum <= budget.max(floors) * (1.0 + 1e-9) + 1e-9);
            prop_assert!(sum >= budget.clamp(floors, ceilings) * (1.0 - 1e-9) - 1e-6, "{sum} of {budget}");
            for (share, claim) in shares.iter().zip(&claims) {
                prop_assert!((claim.floor..=claim.ceiling).contains(share));
            }
        }

        #[test]
        fn what_one_gets_alone_is_between_its_share_and_what_sharing_anew_gives(
            claims in claims(), budget in 0.0..1e7f64,
        ) {
            let claims: Vec<Claim> = claims.into_iter().map(|c| Claim { floor: 0.0, ..c }).collect();
            let (shares, room) = share(budget, &claims);
            for i in 0..claims.len() {
                let told = room.alone(&claims[i], shares[i]);
                let mut surged = claims.clone();
                surged[i].ceiling = 1e12;
                let (anew, _) = share(budget, &surged);
                prop_assert!(told >= shares[i] && told <= anew[i] * (1.0 + 1e-6) + 1e-6, "{told}, anew {}", anew[i]);
            }
        }

        #[test]
        fn who_has_less_for_its_weight_is_at_its_ceiling(claims in claims(), budget in 0.0..1e7f64) {
            let (shares, _) = share(budget, &claims);
            let level = |i: usize| shares[i] / claims[i].weight;
            for i in 0..claims.len() {
                for j in 0..claims.len() {
                    let is_poorer = level(i) < level(j) * (1.0 - 1e-6);
                    let j_above_floor = shares[j] > claims[j].floor * (1.0 + 1e-9) + 1e-9;
                    if is_poorer && j_above_floor {
                        prop_assert!(shares[i] >= claims[i].ceiling * (1.0 - 1e-9) - 1e-6);
                    }
                }
            }
        }
    }
}
