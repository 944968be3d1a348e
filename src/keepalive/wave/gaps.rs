//! How late beats are: a histogram of gaps as ratios to the interval intended, and from which ratio on one is late.
//!
//! In milliseconds every correct increase would look like a regression. The gate asks whether the 99th of 100 moved,
//! that is, whether more than one in a hundred of the treated is beyond it: so beyond it is a failure, and the rest is
//! the same test as for the other gates. The limit is taken from both arms together, once a rollout: it knows nothing
//! of who is in which arm, and so leaves the urn's draw blind.

use serde::{Deserialize, Serialize};

/// From which ratio on bins are, and how wide: to 8.3, by 3 %.
const LOWEST: f32 = 0.5;
const WIDTH: f32 = 1.03;
const BINS: usize = 96;
/// Gaps before the limit is set: ten beyond the 99th.
const GAPS_MIN: u64 = 1_000;
/// A limit of 1 would make jitter of the way a failure; one of more than 2 would excuse a lost beat.
const LIMIT: (f32, f32) = (1.05, 2.0);

/// Gaps of both arms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gaps {
    treated: Vec<u32>,
    control: Vec<u32>,
    limit: Option<f32>,
}

impl Gaps {
    /// None yet. The limit of an earlier wave stays.
    pub fn new(limit: Option<f32>) -> Self {
        Self { treated: vec![0; BINS], control: vec![0; BINS], limit }
    }

    /// So many gaps more.
    pub fn take(&mut self, is_treated: bool, ratio: f32, gaps: u32) {
        let arm = if is_treated { &mut self.treated } else { &mut self.control };
        let bin = ((ratio / LOWEST).ln() / WIDTH.ln()).max(0.0) as usize;
        if let Some(count) = arm.get_mut(bin.min(BINS - 1)) {
            *count = count.saturating_add(gaps);
        }
    }

    /// From where on a gap is late; `None` until enough is known of them.
    pub fn limit(&self) -> Option<f32> {
        self.limit
    }

    /// Between two rounds: sets the limit, once enough is known.
    pub fn calibrate(&mut self) {
        let both: Vec<u32> = self.treated.iter().zip(&self.control).map(|(a, b)| a.saturating_add(*b)).collect();
        if self.limit.is_none() && total(&both) >= GAPS_MIN {
            self.limit = p99(&both).map(|ratio| ratio.clamp(LIMIT.0, LIMIT.1));
        }
    }

    /// The 99th of 100, of the treated and of the control.
    pub fn p99(&self) -> Option<[f32; 2]> {
        Some([p99(&self.treated)?, p99(&self.control)?])
    }
}

fn total(bins: &[u32]) -> u64 {
    bins.iter().map(|count| u64::from(*count)).sum()
}

/// The upper edge of the bin where it is.
fn p99(bins: &[u32]) -> Option<f32> {
    let all = total(bins);
    let beyond = all / 100;
    let mut seen = 0;
    let bin = bins.iter().rposition(|count| {
        seen += u64::from(*count);
        seen > beyond
    })?;
    (all > 0).then(|| LOWEST * WIDTH.powi(bin as i32 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_99th_of_100_and_is_set_once() {
        let mut gaps = Gaps::new(None);
        (0..2_000).for_each(|n| gaps.take(n % 20 == 0, if n % 50 == 1 { 1.3 } else { 0.95 }, 1));
        gaps.calibrate();
        let limit = gaps.limit().expect("enough gaps");
        assert!((1.3..1.35).contains(&limit), "{limit}");
        gaps.take(true, 5.0, 10_000);
        gaps.calibrate();
        assert_eq!(gaps.limit(), Some(limit));
        let [treated, control] = gaps.p99().expect("both arms");
        assert!(treated > 4.9 && control < 1.4);
    }

    #[test]
    fn any_ratio_finds_a_bin_and_few_gaps_set_no_limit() {
        let mut gaps = Gaps::new(None);
        for ratio in [f32::NAN, f32::INFINITY, -1.0, 0.0, 1e30] {
            gaps.take(true, ratio, 1);
        }
        gaps.calibrate();
        assert_eq!((gaps.limit(), gaps.p99()), (None, None));
    }
}
