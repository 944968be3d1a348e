//! What a count of lost pushes says about their share.

/// Two-sided.
pub(crate) const CONFIDENCE: f64 = 0.99;

/// The interval of Clopper and Pearson (1934) for the share of what was lost: exact, and never too narrow.
pub(crate) fn clopper_pearson(lost: u32, sent: u32) -> (f64, f64) {
    let tail = (1.0 - CONFIDENCE) / 2.0;
    let lower = if lost == 0 { 0.0 } else { where_falls(|share| at_most(lost - 1, sent, share), 1.0 - tail) };
    let upper = if lost == sent { 1.0 } else { where_falls(|share| at_most(lost, sent, share), tail) };
    (lower, upper)
}

/// Where a function that falls from 1 to 0 over [0, 1] passes `level`.
fn where_falls(f: impl Fn(f64) -> f64, level: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if f(middle) > level { low = middle } else { high = middle }
    }
    high
}

/// P(X <= k) of a binomial, summed in logarithms.
fn at_most(k: u32, n: u32, share: f64) -> f64 {
    if share <= 0.0 {
        return 1.0;
    }
    let (hit, miss) = (share.ln(), (-share).ln_1p());
    let mut log_choose = 0.0;
    let mut sum = 0.0;
    for i in 0..=k {
        if i > 0 {
            log_choose += f64::from(n - i + 1).ln() - f64::from(i).ln();
        }
        sum += (log_choose + f64::from(i) * hit + f64::from(n - i) * miss).exp();
    }
    sum.min(1.0)
}

/// Checked against what is known in closed form, where the trials run.
pub(crate) fn is_right() -> bool {
    let tail = (1.0 - CONFIDENCE) / 2.0;
    let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
    let (none, all) = (clopper_pearson(0, 15_000), clopper_pearson(7, 7));
    let half = clopper_pearson(50, 100);
    close(none.1, 1.0 - tail.powf(1.0 / 15_000.0))
        && close(all.0, tail.powf(1.0 / 7.0))
        && none.0 == 0.0
        && all.1 == 1.0
        && close(half.0, 1.0 - half.1)
}
