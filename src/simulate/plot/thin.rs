//! Seconds to columns of at most one pixel: what was lowest and what was highest stays, however long the run is.

use crate::simulate::trace::Second;

/// What one value did within a column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Range {
    pub(super) first: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) last: f64,
}

/// One pixel's worth of seconds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    /// From this second.
    pub(super) at: f64,
    /// To this one.
    pub(super) until: f64,
    pub(super) demand: Range,
    pub(super) capacity: Range,
    pub(super) offered: Range,
    pub(super) probability: Range,
    /// Over the capacity; `None` where no second has one.
    pub(super) budget: Option<Range>,
    /// Mean of what was accepted.
    pub(super) accepted: f64,
    /// Accepted and offered in the second that lost most.
    pub(super) lost: (f64, f64),
}

/// At most `columns_max` columns of equal length, in order.
pub(super) fn columns(seconds: &[Second], columns_max: usize) -> Vec<Column> {
    let each = seconds.len().div_ceil(columns_max.max(1)).max(1);
    seconds.chunks(each).enumerate().filter_map(|(i, chunk)| column(i * each, chunk)).collect()
}

fn column(at: usize, seconds: &[Second]) -> Option<Column> {
    let of = |value: fn(&Second) -> f64| range(seconds.iter().map(value));
    let budgets = seconds.iter().filter(|s| s.capacity > 0.0).filter_map(|s| Some(s.budget? / s.capacity));
    let worst = seconds.iter().max_by(|a, b| a.lost.total_cmp(&b.lost))?;
    let accepted: f64 = seconds.iter().map(|s| s.offered - s.lost).sum();
    Some(Column {
        at: at as f64,
        until: (at + seconds.len()) as f64,
        demand: of(|s| s.demand)?,
        capacity: of(|s| s.capacity)?,
        offered: of(|s| s.offered)?,
        probability: of(|s| s.probability)?,
        budget: range(budgets),
        accepted: accepted / seconds.len() as f64,
        lost: (worst.offered - worst.lost, worst.offered),
    })
}

/// `None` without values.
fn range(values: impl Iterator<Item = f64>) -> Option<Range> {
    values.fold(None, |range, value| {
        let Range { first, min, max, .. } =
            range.unwrap_or(Range { first: value, min: value, max: value, last: value });
        Some(Range { first, min: min.min(value), max: max.max(value), last: value })
    })
}
