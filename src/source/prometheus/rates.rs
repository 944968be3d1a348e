//! Rates that the server computed: opaque queries, and counters with too many series to be read raw.
//!
//! A rate over a window W of a series younger than W is too low, and climbs: such a row is warming until it has been
//! there for W. Rows present at the very first poll are taken for grown, since nothing tells.

use std::time::Duration;

use super::answer::{Point, QueryResult, labels};
use super::rows::VectorRow;
use crate::source::error::QueryError;
use crate::source::groups::{GroupIndex, Groups};
use crate::source::keys::{KeyIndex, Keys};
use crate::source::labels::Grouping;
use crate::source::reading::Reading;
use crate::source::tracker::Row;

/// A row away for longer than this is forgotten.
const FORGET_AFTER_MS: i64 = 300_000;
/// Rows of one answer.
const ROWS_MAX: usize = 400_000;

/// The rows of one signal that the server computes.
#[derive(Debug)]
pub(super) struct Rates {
    grouping: Grouping,
    window_ms: i64,
    keys: Keys,
    /// One a key.
    known: Vec<Known>,
    groups: Groups,
    has_polled: bool,
}

#[derive(Debug)]
struct Known {
    group: Option<GroupIndex>,
    first_ms: i64,
    last_ms: i64,
}

impl Rates {
    pub(super) fn new(grouping: Grouping, window: Duration) -> Self {
        let window_ms = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        let (keys, known, groups) = (Keys::default(), Vec::new(), Groups::default());
        Self { grouping, window_ms, keys, known, groups, has_polled: false }
    }

    /// What its rows are told by, without those that are away for too long at `now_ms`.
    pub(super) fn keys(&mut self, now_ms: i64) -> &Keys {
        self.forget(now_ms);
        &self.keys
    }

    pub(super) fn groups(&self) -> &Groups {
        &self.groups
    }

    /// One poll's result, evaluated at `now_ms` of the server's clock; also how many of its values were rejected. Rows
    /// that were recognised while it was decoded were so by [`Self::keys`] as it is now.
    pub(super) fn read(&mut self, result: &QueryResult<'_>, now_ms: i64) -> Result<(Reading, u64), QueryError> {
        let (sums, rejected) = match (result, &self.grouping) {
            (QueryResult::Vector(rows), _) => self.sum(rows, now_ms)?,
            (QueryResult::Scalar(point), Grouping::Total) => self.scalar(*point),
            (QueryResult::Scalar(_), Grouping::Names { .. }) => return Err(wrong_type(result, "a vector")),
            (QueryResult::Matrix(_) | QueryResult::Text, _) => return Err(wrong_type(result, "a vector or a scalar")),
        };
        let rows: Vec<Row> = sums.into_iter().flatten().filter(|row| row.per_second.is_finite()).collect();
        if rows.is_empty() && rejected > 0 {
            return Err(nothing_usable());
        }
        let over_ms = (!rows.is_empty()).then_some((now_ms.saturating_sub(self.window_ms), now_ms));
        Ok((Reading { rows, over_ms, ..Reading::default() }, rejected))
    }

    fn sum(&mut self, rows: &[VectorRow<'_>], now_ms: i64) -> Result<(Vec<Option<Row>>, u64), QueryError> {
        if rows.len() > ROWS_MAX {
            return Err(QueryError::too_large(ROWS_MAX, "rows", "sum by fewer labels"));
        }
        let (mut sums, mut rejected, mut before) = (vec![None; self.groups.len()], 0, None);
        for row in rows {
            match row.value.and_then(Point::sample).zip(self.meet(row, &mut before, now_ms)) {
                Some((sample, (group, is_warming))) => {
                    sums.resize(self.groups.len(), None);
                    let sum = sums[group].get_or_insert(Row { group, per_second: 0.0, is_warming, is_stale: false });
                    sum.per_second += sample.value;
                    sum.is_warming |= is_warming;
                }
                None => rejected += 1,
            }
        }
        self.has_polled = true;
        Ok((sums, rejected))
    }

    /// The row's group and whether it is warming; `None` where it names nothing, or stands there twice.
    fn meet(&mut self, row: &VectorRow<'_>, before: &mut Option<KeyIndex>, now_ms: i64) -> Option<(GroupIndex, bool)> {
        let Some(key) = row.known.or_else(|| self.keys.find(row.metric, *before)) else {
            let labels = labels(row.metric)?;
            let names = self.grouping.names(&labels);
            let group = names.map(|(service, operation)| self.groups.index_of(service, operation));
            let first_ms = if self.has_polled { now_ms } else { i64::MIN };
            let key = self.keys.insert(row.metric);
            self.keys.follow(before.replace(key), key);
            self.known.push(Known { group, first_ms, last_ms: now_ms });
            return group.map(|group| (group, self.has_polled && self.window_ms > 0));
        };
        self.keys.follow(before.replace(key), key);
        let known = &mut self.known[key];
        let is_repeated = std::mem::replace(&mut known.last_ms, now_ms) == now_ms;
        let is_warming = now_ms.saturating_sub(known.first_ms) < self.window_ms;
        known.group.filter(|_| !is_repeated).map(|group| (group, is_warming))
    }

    fn scalar(&mut self, point: Point) -> (Vec<Option<Row>>, u64) {
        let group = self.groups.index_of("", None);
        let row = |value| Row { group, per_second: value, is_warming: false, is_stale: false };
        let sum = point.sample().map(|sample| row(sample.value));
        (vec![sum], u64::from(sum.is_none()))
    }

    fn forget(&mut self, now_ms: i64) {
        let is_kept = |known: &Known| now_ms.saturating_sub(known.last_ms) <= FORGET_AFTER_MS;
        if self.known.iter().all(is_kept) {
            return;
        }
        self.keys.retain(|key| is_kept(&self.known[key]));
        self.known.retain(is_kept);
        let mut is_used = vec![false; self.groups.len()];
        self.known.iter().filter_map(|k| k.group).for_each(|group| is_used[group] = true);
        let moved = self.groups.retain(&is_used);
        for group in self.known.iter_mut().filter_map(|k| k.group.as_mut()) {
            *group = moved[*group];
        }
    }
}

pub(super) fn wrong_type(result: &QueryResult<'_>, wanted: &'static str) -> QueryError {
    QueryError::WrongType { found: result.type_name().to_owned(), wanted }
}

pub(super) fn nothing_usable() -> QueryError {
    QueryError::WrongType {
        found: "set of series of which none has a usable value and name".to_owned(),
        wanted: "finite numbers of at least 0, and for demand its `service_label` with 1 to 256 bytes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::prometheus::answer::decode;

    fn demand() -> Rates {
        let grouping = Grouping::Names { service: "service".into(), operation: None };
        Rates::new(grouping, Duration::from_secs(60))
    }

    fn read(rates: &mut Rates, now_s: i64, result_type: &str, result: &str) -> Result<(Reading, u64), QueryError> {
        let body = format!(r#"{{"status":"success","data":{{"resultType":"{result_type}","result":{result}}}}}"#);
        let keys = rates.keys(now_s * 1000);
        let answer = decode(body.as_bytes(), Some(keys)).expect("decodes");
        rates.read(&answer.result, now_s * 1000)
    }

    fn row(service: &str, value: &str) -> String {
        format!(r#"{{"metric":{{"service":"{service}"}},"value":[1,"{value}"]}}"#)
    }

    #[test]
    fn rows_that_appear_later_are_warming_for_the_window() {
        let mut rates = demand();
        let warming = |rates: &mut Rates, now_s| {
            let result = if now_s == 0 { row("a", "1") } else { format!("{},{}", row("a", "1"), row("b", "2")) };
            let (reading, _) = read(rates, now_s, "vector", &format!("[{result}]")).expect("rates");
            reading.rows.iter().map(|r| r.is_warming).collect::<Vec<_>>()
        };
        assert_eq!(warming(&mut rates, 0), [false]);
        assert_eq!(warming(&mut rates, 5), [false, true]);
        assert_eq!(warming(&mut rates, 64), [false, true]);
        assert_eq!(warming(&mut rates, 65), [false, false]);
    }

    #[test]
    fn nonsense_and_duplicates_are_rejected_one_by_one() {
        let rows =
            [row("a", "1"), row("a", "1"), row("b", "NaN"), row("", "1"), row("c", "-1"), row("d", "2")].join(",");
        let (reading, rejected) = read(&mut demand(), 0, "vector", &format!("[{rows}]")).expect("rates");
        assert_eq!(reading.rows.iter().map(|r| r.per_second).collect::<Vec<_>>(), [1.0, 2.0]);
        assert_eq!(rejected, 4);
    }

    #[test]
    fn an_empty_answer_is_absent_and_a_wholly_unusable_one_is_an_error() {
        let (reading, _) = read(&mut demand(), 0, "vector", "[]").expect("absent");
        assert_eq!((reading.rows.len(), reading.over_ms), (0, None));
        for (result_type, result) in [
            ("vector", format!("[{}]", row("a", "NaN"))),
            ("scalar", r#"[1,"1"]"#.to_owned()),
            ("string", r#"[1,"1"]"#.to_owned()),
            ("matrix", "[]".to_owned()),
        ] {
            let error = read(&mut demand(), 0, result_type, &result).expect_err(result_type);
            assert_eq!(error.kind(), "wrong_type");
        }
    }

    #[test]
    fn names_that_left_are_forgotten() {
        let mut rates = demand();
        for n in 0..100 {
            read(&mut rates, n * 10, "vector", &format!("[{}]", row(&format!("s{n}"), "1"))).expect("rates");
        }
        assert!(rates.groups().len() <= 32, "{}", rates.groups().len());
    }
}
