//! How delays are distributed: tables of quantiles as netem takes them, computed.
//!
//! Netem draws a place of a table and multiplies what stands there by the jitter. iproute2 ships such tables as files,
//! which a machine may lack; those of its Pareto have a standard deviation of 1.15 and end at 4. Here each table is made
//! to have a mean of 0 and, but for `Uniform`, a standard deviation of 1 *after* it was cut at 4, the most that the
//! kernel's format holds, so that `delay` is the mean and `jitter` the standard deviation of what is seen. Where delays
//! would be negative (a jitter not far below the delay) they are 0, and the mean is more.

use std::sync::LazyLock;

/// Places of a table; the kernel takes up to 16,384.
const SIZE: usize = 4_096;
/// What stands in a table for 1: the kernel's `NETEM_DIST_SCALE`.
pub const SCALE: f64 = 8_192.0;
/// The longest tail that a table of `i16` can hold.
const TAIL: f64 = 32_767.0 / SCALE;
/// Of the Pareto distribution: its tail falls with the third power.
const ALPHA: f64 = 3.0;
/// Part of the normal distribution in `ParetoNormal`.
const NORMAL_PART: f64 = 0.25;
/// Cutting and widening by turns comes to rest long before.
const TURNS: usize = 200;

static UNIFORM: LazyLock<Vec<i16>> = LazyLock::new(|| in_steps(&quantiles(|part| 2.0 * part - 1.0)));
static NORMAL: LazyLock<Vec<i16>> = LazyLock::new(|| in_steps(&standardised(&normal())));
static PARETO: LazyLock<Vec<i16>> = LazyLock::new(|| in_steps(&standardised(&pareto())));
static PARETO_NORMAL: LazyLock<Vec<i16>> = LazyLock::new(|| {
    let (normal, pareto) = (standardised(&normal()), standardised(&pareto()));
    let mixed = normal.iter().zip(pareto).map(|(n, p)| NORMAL_PART * n + (1.0 - NORMAL_PART) * p);
    in_steps(&standardised(&mixed.collect::<Vec<f64>>()))
});

/// How a packet's delay varies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Distribution {
    /// Evenly, within the jitter on either side.
    #[default]
    Uniform,
    /// The bell: what many small causes make.
    Normal,
    /// A sharp left edge and a long right tail: what queues make.
    Pareto,
    /// Between both, and what measurements of the Internet look like most.
    ParetoNormal,
}

impl Distribution {
    /// All of them, with their names in files.
    pub const ALL: [(&str, Self); 4] = [
        ("uniform", Self::Uniform),
        ("normal", Self::Normal),
        ("pareto", Self::Pareto),
        ("paretonormal", Self::ParetoNormal),
    ];

    /// Quantiles at even steps from the lowest to the highest, in `1 / SCALE` of the jitter.
    pub fn table(self) -> &'static [i16] {
        match self {
            Self::Uniform => &UNIFORM,
            Self::Normal => &NORMAL,
            Self::Pareto => &PARETO,
            Self::ParetoNormal => &PARETO_NORMAL,
        }
    }

    /// The most that a delay is above its mean, in jitters.
    pub const fn longest(self) -> f64 {
        match self {
            Self::Uniform => 1.0,
            Self::Normal | Self::Pareto | Self::ParetoNormal => TAIL,
        }
    }
}

/// The quantile at the middle of each step.
fn quantiles(quantile: impl Fn(f64) -> f64) -> Vec<f64> {
    (0..SIZE).map(|i| quantile((i as f64 + 0.5) / SIZE as f64)).collect()
}

/// A Pareto variable with this tail is a uniform one to the power of -1 / alpha.
fn pareto() -> Vec<f64> {
    quantiles(|part| (1.0 - part).powf(-1.0 / ALPHA))
}

/// The density is summed up, and whenever the sum passes a step, that is where its quantile lies.
fn normal() -> Vec<f64> {
    const STEP: f64 = 1e-4;
    let mut table = Vec::with_capacity(SIZE);
    let (mut at, mut below) = (-8.0_f64, 0.0);
    while table.len() < SIZE {
        let middle: f64 = at + STEP / 2.0;
        below += (-middle * middle / 2.0).exp() / std::f64::consts::TAU.sqrt() * STEP;
        at += STEP;
        // The sum stays a rounding below 1, which is no step.
        if below >= (table.len() as f64 + 0.5) / SIZE as f64 {
            table.push(at);
        }
    }
    table
}

/// Moved and stretched until it has mean 0 and standard deviation 1 with its tails cut.
fn standardised(quantiles: &[f64]) -> Vec<f64> {
    let (mut shift, mut scale) = moments(quantiles);
    for _ in 0..TURNS {
        let (mean, deviation) = moments(&cut(quantiles, shift, scale));
        shift += mean * scale;
        scale *= deviation;
    }
    cut(quantiles, shift, scale)
}

fn cut(quantiles: &[f64], shift: f64, scale: f64) -> Vec<f64> {
    quantiles.iter().map(|quantile| ((quantile - shift) / scale).clamp(-TAIL, TAIL)).collect()
}

/// Mean and standard deviation.
fn moments(of: &[f64]) -> (f64, f64) {
    let count = of.len() as f64;
    let mean = of.iter().sum::<f64>() / count;
    (mean, (of.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count).sqrt())
}

fn in_steps(table: &[f64]) -> Vec<i16> {
    table.iter().map(|x| (x * SCALE).round() as i16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(distribution: Distribution) -> Vec<f64> {
        distribution.table().iter().map(|x| f64::from(*x) / SCALE).collect()
    }

    #[test]
    fn every_table_has_the_mean_and_the_deviation_that_it_says() {
        for (name, distribution) in Distribution::ALL {
            let (mean, deviation) = moments(&units(distribution));
            let expected = if distribution == Distribution::Uniform { 1.0 / 3f64.sqrt() } else { 1.0 };
            assert!(mean.abs() < 1e-3 && (deviation - expected).abs() < 1e-3, "{name}: {mean} {deviation}");
            assert!(units(distribution).is_sorted(), "{name}");
            assert_eq!(distribution.table().len(), SIZE);
        }
    }

    #[test]
    fn the_normal_table_has_the_quantiles_of_the_books() {
        let table = units(Distribution::Normal);
        for (part, expected) in [(0.5, 0.0), (0.841_345, 1.0), (0.975, 1.959_96), (0.01, -2.326_35)] {
            let found = table[(part * SIZE as f64) as usize];
            assert!((found - expected).abs() < 5e-3, "{part}: {found}");
        }
    }

    #[test]
    fn a_pareto_delay_has_a_sharp_left_edge_and_a_long_right_tail() {
        for distribution in [Distribution::Pareto, Distribution::ParetoNormal] {
            let table = units(distribution);
            assert!(table[SIZE / 2] < -0.05, "the median is below the mean");
            assert!((table[SIZE - 1] - TAIL).abs() < 1e-3 && table[0] > -2.0, "{} {}", table[0], table[SIZE - 1]);
        }
    }
}
