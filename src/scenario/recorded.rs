//! Recorded demand: CSV with the columns `timestamp` and `value`, as monitoring systems export it. Pure: text in, rows
//! or problems out, each with its line.

use std::sync::Arc;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::document::problem::Problem;
use crate::document::{Place, SourceFile};

/// Most rows; a year of minutes is half of it.
const ROWS_MAX: usize = 1_000_000;
/// Most bad rows that are named.
const PROBLEMS_MAX: usize = 5;
/// Largest value of either column, so that sums stay exact enough.
const NUMBER_MAX: f64 = 1e15;

/// Seconds from the first row and the value of each row, rising in time: rows are put in the order of their timestamps,
/// and of rows with one time the last stands. With `seconds_per_row` the timestamps give the order only.
///
/// # Errors
/// What is wrong with the file, at most six problems.
pub(super) fn rows(file: &Arc<SourceFile>, seconds_per_row: Option<f64>) -> Result<Vec<(f64, f64)>, Vec<Problem>> {
    let mut lines = file.text.trim_start_matches('\u{feff}').lines().enumerate();
    let is_filled = |line: &(usize, &str)| !line.1.trim().is_empty();
    let columns = lines.find(is_filled).and_then(|(_, header)| Columns::of(header));
    let Some(columns) = columns else {
        return Err(vec![problem(file, 0, "the first line must name the columns: timestamp,value")]);
    };
    let (mut rows, mut problems) = (Vec::new(), Vec::new());
    for (i, line) in lines.filter(is_filled) {
        match columns.row(line) {
            Ok(row) => rows.push(row),
            Err(message) => problems.push(problem(file, i, message)),
        }
        if problems.len() >= PROBLEMS_MAX {
            problems.push(problem(file, i, "no further lines were read"));
            break;
        }
        if rows.len() > ROWS_MAX {
            problems.push(problem(file, i, format!("more than {ROWS_MAX} rows")));
            break;
        }
    }
    if rows.is_empty() && problems.is_empty() {
        problems.push(problem(file, 0, "there are no rows after the header"));
    }
    if problems.is_empty() { Ok(spaced(rows, seconds_per_row)) } else { Err(problems) }
}

fn spaced(mut rows: Vec<(f64, f64)>, seconds_per_row: Option<f64>) -> Vec<(f64, f64)> {
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    if let Some(spacing) = seconds_per_row {
        return rows.iter().enumerate().map(|(i, row)| (i as f64 * spacing, row.1)).collect();
    }
    let start = rows.first().map_or(0.0, |row| row.0);
    let mut distinct: Vec<(f64, f64)> = Vec::with_capacity(rows.len());
    for (at, value) in rows {
        match distinct.last_mut() {
            Some(last) if last.0 == at - start => last.1 = value,
            _ => distinct.push((at - start, value)),
        }
    }
    distinct
}

/// Where the two columns are.
struct Columns {
    timestamp: usize,
    value: usize,
}

impl Columns {
    fn of(header: &str) -> Option<Self> {
        let place = |name| cells(header).position(|cell| cell.eq_ignore_ascii_case(name));
        Some(Self { timestamp: place("timestamp")?, value: place("value")? })
    }

    fn row(&self, line: &str) -> Result<(f64, f64), String> {
        let cell = |column: usize, name: &str| {
            cells(line).nth(column).filter(|cell| !cell.is_empty()).ok_or_else(|| format!("has no {name}"))
        };
        let (timestamp, value) = (cell(self.timestamp, "timestamp")?, cell(self.value, "value")?);
        let at = seconds(timestamp).ok_or_else(|| {
            format!("{timestamp:?} is no timestamp: seconds, 2014-02-14 14:30:00, or 2014-02-14T14:30:00Z")
        })?;
        let value = value.parse().ok().filter(|value| (0.0..=NUMBER_MAX).contains(value));
        Ok((at, value.ok_or("the value must be a number, not negative")?))
    }
}

fn cells(line: &str) -> impl Iterator<Item = &str> {
    line.split(',').map(|cell| cell.trim().trim_matches('"').trim())
}

/// Seconds since the epoch; a date without a zone is read as UTC.
fn seconds(text: &str) -> Option<f64> {
    if let Ok(number) = text.parse::<f64>() {
        return Some(number).filter(|number| number.abs() <= NUMBER_MAX);
    }
    let timestamp = text.parse::<Timestamp>().or_else(|_| {
        let date = text.parse::<DateTime>()?;
        date.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp())
    });
    timestamp.ok().map(|at| at.duration_since(Timestamp::UNIX_EPOCH)).map(|since: SignedDuration| since.as_secs_f64())
}

fn problem(file: &Arc<SourceFile>, index: usize, message: impl Into<String>) -> Problem {
    let place = Place::File { file: Arc::clone(file), line: index + 1, column: 1 };
    Problem::new(place, "", message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str, seconds_per_row: Option<f64>) -> Result<Vec<(f64, f64)>, Vec<String>> {
        let file = Arc::new(SourceFile { path: "f.csv".into(), text: text.to_owned() });
        rows(&file, seconds_per_row).map_err(|problems| problems.iter().map(Problem::line).collect())
    }

    #[test]
    fn every_form_of_a_timestamp_gives_the_spacing() {
        for text in [
            "timestamp,value\n100,1\n400,2\n",
            "timestamp,value\n2014-02-14 14:30:00,1\n2014-02-14 14:35:00,2\n",
            "\u{feff}Timestamp, Value\r\n2014-02-14T14:30:00Z,1\r\n\r\n2014-02-14T15:35:00+01:00,2.0\r\n",
            "\"host\",\"value\",\"timestamp\"\n\"a\",\"1\",\"1.5\"\n\"a\",\"2\",\"301.5\"\n",
        ] {
            assert_eq!(read(text, None), Ok(vec![(0.0, 1.0), (300.0, 2.0)]), "{text:?}");
        }
    }

    #[test]
    fn rows_are_put_in_order_and_the_last_of_one_time_stands() {
        let text = "timestamp,value\n30,3\n10,1\n20,2\n20,9\n";
        assert_eq!(read(text, None), Ok(vec![(0.0, 1.0), (10.0, 9.0), (20.0, 3.0)]));
    }

    #[test]
    fn a_spacing_of_its_own_replaces_the_timestamps() {
        let text = "timestamp,value\n30,3\n10,1\n20,2\n";
        assert_eq!(read(text, Some(5.0)), Ok(vec![(0.0, 1.0), (5.0, 2.0), (10.0, 3.0)]));
    }

    #[test]
    fn every_bad_line_is_named() {
        let text = "timestamp,value\n1,1\nyesterday,2\n3\n4,-1\n5,NaN\n";
        let expected = [
            "f.csv:3:1: \"yesterday\" is no timestamp: seconds, 2014-02-14 14:30:00, or 2014-02-14T14:30:00Z",
            "f.csv:4:1: has no value",
            "f.csv:5:1: the value must be a number, not negative",
            "f.csv:6:1: the value must be a number, not negative",
        ];
        assert_eq!(read(text, None).expect_err("bad"), expected);
    }

    #[test]
    fn a_file_without_header_or_rows_is_refused() {
        for text in ["", "1,2\n", "timestamp,value\n"] {
            assert_eq!(read(text, None).expect_err("bad").len(), 1, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic_and_time_always_rises(text in "[-0-9,.:TZ e\n\"]{0,80}") {
            if let Ok(rows) = read(&format!("timestamp,value\n{text}"), None) {
                prop_assert!(rows.windows(2).all(|pair| pair[0].0 < pair[1].0));
            }
        }
    }
}
