//! The metrics by name: what files check, JSON lines carry and tables show, for one run and for the median of many.

use super::score::Score;

/// Before a metric's name: its ratio to the oracle's on the same seed.
pub const RATIO: &str = "ratio.";

/// How many there are.
const COUNT: usize = 17;

/// All of them, in the order of tables and JSON lines: the fields of [`Score`], and `score` itself, the one number that
/// weighs loss against waste: lost plus unused capacity seconds.
pub const METRICS: [&str; COUNT] = [
    "loss_ratio",
    "worst_60s_loss",
    "lost_capacity_seconds",
    "unused_capacity_seconds",
    "score",
    "utilization",
    "settle_seconds",
    "episodes",
    "overshoot",
    "oscillation",
    "fairness",
    "others_share",
    "coverage_min",
    "commands",
    "probability_ratio_min",
    "rise_max",
    "rise_while_blind",
];

/// The metrics of a run, or medians of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Their names.
    pub names: &'static [&'static str],
    /// The values, in the order of the names. NaN where a run has none.
    pub values: Vec<f64>,
    /// Each over the oracle's.
    pub ratios: Vec<f64>,
}

impl Measured {
    /// Of one run, beside the oracle's on the same seed.
    pub fn of(score: &Score, oracle: &Score) -> Self {
        let of = |score| METRICS.map(|metric| value(score, metric));
        Self::of_values(&METRICS, of(score).to_vec(), &of(oracle))
    }

    /// Of one run's values, beside the oracle's; both in the order of the names.
    pub fn of_values(names: &'static [&'static str], values: Vec<f64>, oracle: &[f64]) -> Self {
        let ratios = values.iter().zip(oracle).map(|(value, oracle)| ratio(*value, *oracle)).collect();
        Self { names, values, ratios }
    }

    /// The median of each value and of each ratio: ratios are of pairs, not of medians. NaN without runs.
    pub fn median(names: &'static [&'static str], runs: &[Self]) -> Self {
        let of = |pick: fn(&Self) -> &[f64]| {
            (0..names.len()).map(|i| median(runs.iter().map(|run| pick(run)[i]).collect())).collect()
        };
        Self { names, values: of(|run| &run.values), ratios: of(|run| &run.ratios) }
    }

    /// A metric by its name, or its ratio by `ratio.` and its name; `None` for unknown names.
    pub fn get(&self, name: &str) -> Option<f64> {
        let (name, numbers) = match name.strip_prefix(RATIO) {
            Some(name) => (name, &self.ratios),
            None => (name, &self.values),
        };
        self.names.iter().position(|metric| *metric == name).map(|i| numbers[i])
    }
}

fn value(score: &Score, metric: &str) -> f64 {
    let field = score.fields().into_iter().find(|(name, _)| *name == metric);
    // A sum of nothing is -0, which nobody wants to read.
    field.map_or(score.lost_capacity_seconds + score.unused_capacity_seconds, |(_, value)| value) + 0.0
}

/// `value / oracle`; nothing over nothing is 1, and something over nothing is infinite: no factor makes up for it.
fn ratio(value: f64, oracle: f64) -> f64 {
    if oracle == 0.0 && value == 0.0 { 1.0 } else { value / oracle }
}

/// The middle value, or the mean of the two in the middle; NaN among them counts as the largest.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[middle],
        _ if values[middle] == values[middle - 1] => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(value: f64) -> Score {
        Score {
            loss_ratio: value,
            worst_60s_loss: value,
            lost_capacity_seconds: value,
            unused_capacity_seconds: value,
            utilization: value,
            settle_seconds: value,
            episodes: value,
            overshoot: value,
            oscillation: value,
            fairness: value,
            others_share: value,
            coverage_min: value,
            commands: value,
            probability_ratio_min: value,
            rise_max: value,
            rise_while_blind: value,
        }
    }

    #[test]
    fn every_field_of_the_score_is_a_metric_under_its_own_name() {
        let fields = score(1.0).fields().map(|(name, _)| name);
        let metrics: Vec<&str> = METRICS.into_iter().filter(|name| *name != "score").collect();
        assert_eq!(metrics, fields);
    }

    #[test]
    fn a_ratio_to_nothing_is_one_or_infinite() {
        for (value, oracle, expected) in [(0.0, 0.0, 1.0), (3.0, 2.0, 1.5), (1.0, 0.0, f64::INFINITY), (0.0, 2.0, 0.0)]
        {
            assert_eq!(Measured::of(&score(value), &score(oracle)).get("ratio.loss_ratio"), Some(expected));
        }
    }

    #[test]
    fn the_median_is_the_middle_and_infinities_stay_at_their_end() {
        let of = |values: &[f64]| {
            let runs: Vec<Measured> = values.iter().map(|value| Measured::of(&score(*value), &score(1.0))).collect();
            Measured::median(&METRICS, &runs).get("settle_seconds")
        };
        assert_eq!(of(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(of(&[f64::INFINITY, 1.0, 2.0]), Some(2.0));
        assert_eq!(of(&[f64::INFINITY, f64::INFINITY]), Some(f64::INFINITY));
        assert!(of(&[]).is_some_and(f64::is_nan));
    }
}
