//! The rows of an answer, read in one pass over its text.
//!
//! Nearly all of an answer is rows, and nearly all rows are written in one way by every server. That way is read by
//! hand: the labels that are expected are compared, not parsed, and numbers are read where they stand. A row that is
//! written in any other way is left to `serde_json`, by itself; so are labels that were never seen, once.

use std::ops::Range;

use serde::Deserialize;
use serde::de::{Error as _, IgnoredAny};
use serde_json::value::RawValue;

use super::answer::Point;
use super::number::{decimal, quoted_number};
use crate::source::keys::{KeyIndex, Keys};

/// One value of one series. Without a value: a native histogram.
#[derive(Debug)]
pub(super) struct VectorRow<'a> {
    /// Its labels as they came, an object in JSON.
    pub(super) metric: &'a str,
    /// Where the keys that it was read with have that text.
    pub(super) known: Option<KeyIndex>,
    pub(super) value: Option<Point>,
}

/// The samples of one series.
#[derive(Debug)]
pub(super) struct MatrixRow<'a> {
    /// Its labels as they came, an object in JSON.
    pub(super) metric: &'a str,
    /// Where the keys that it was read with have that text.
    pub(super) known: Option<KeyIndex>,
    /// Its part of the answer's points.
    pub(super) points: Range<usize>,
    pub(super) has_histograms: bool,
}

#[derive(Deserialize)]
struct AnyVectorRow<'a> {
    #[serde(borrow)]
    metric: &'a RawValue,
    value: Option<Point>,
}

#[derive(Deserialize)]
struct AnyMatrixRow<'a> {
    #[serde(borrow)]
    metric: &'a RawValue,
    values: Option<Vec<Point>>,
    histograms: Option<IgnoredAny>,
}

/// A place in an answer's text.
pub(super) struct Reader<'a, 'k> {
    text: &'a str,
    at: usize,
    keys: Option<&'k Keys>,
    /// The key of the row before.
    before: Option<KeyIndex>,
    points: Vec<Point>,
}

impl<'a, 'k> Reader<'a, 'k> {
    pub(super) fn new(text: &'a str, at: usize, keys: Option<&'k Keys>) -> Self {
        Self { text, at, keys, before: None, points: Vec::new() }
    }

    /// What was not read yet.
    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// The points of all rows of a matrix.
    pub(super) fn into_points(self) -> Vec<Point> {
        self.points
    }

    /// The list of a vector's rows that begins here.
    pub(super) fn vector(&mut self) -> serde_json::Result<Vec<VectorRow<'a>>> {
        self.list(Self::vector_row, Self::any_vector_row)
    }

    /// The list of a matrix's rows that begins here.
    pub(super) fn matrix(&mut self) -> serde_json::Result<Vec<MatrixRow<'a>>> {
        self.list(Self::matrix_row, Self::any_matrix_row)
    }

    fn list<R>(
        &mut self,
        usual: impl Fn(&mut Self) -> Option<R>,
        any: impl Fn(&mut Self) -> serde_json::Result<R>,
    ) -> serde_json::Result<Vec<R>> {
        let mut rows = Vec::new();
        if self.next_byte() != Some(b'[') {
            return Err(serde_json::Error::custom("the result is no list"));
        }
        if self.peek_byte() == Some(b']') {
            self.at += 1;
            return Ok(rows);
        }
        loop {
            let (start, points) = (self.at, self.points.len());
            match usual(self) {
                Some(row) => rows.push(row),
                None => {
                    self.at = start;
                    self.points.truncate(points);
                    rows.push(any(self)?);
                }
            }
            match self.next_byte() {
                Some(b',') => {}
                Some(b']') => return Ok(rows),
                _ => return Err(serde_json::Error::custom("the list of rows ends within")),
            }
        }
    }

    fn vector_row(&mut self) -> Option<VectorRow<'a>> {
        self.eat("{\"metric\":")?;
        let (metric, known) = self.metric()?;
        self.eat(",\"value\":")?;
        let value = Some(self.point()?);
        self.eat("}")?;
        Some(VectorRow { metric, known, value })
    }

    fn matrix_row(&mut self) -> Option<MatrixRow<'a>> {
        self.eat("{\"metric\":")?;
        let (metric, known) = self.metric()?;
        self.eat(",\"values\":[")?;
        let first = self.points.len();
        loop {
            let point = self.point()?;
            self.points.push(point);
            if self.eat(",").is_none() {
                break;
            }
        }
        self.eat("]}")?;
        Some(MatrixRow { metric, known, points: first..self.points.len(), has_histograms: false })
    }

    fn any_vector_row(&mut self) -> serde_json::Result<VectorRow<'a>> {
        let AnyVectorRow { metric, value } = self.any()?;
        Ok(VectorRow { metric: metric.get(), known: self.recognise(metric.get()), value })
    }

    fn any_matrix_row(&mut self) -> serde_json::Result<MatrixRow<'a>> {
        let AnyMatrixRow { metric, values, histograms } = self.any()?;
        let first = self.points.len();
        self.points.extend(values.unwrap_or_default());
        Ok(MatrixRow {
            metric: metric.get(),
            known: self.recognise(metric.get()),
            points: first..self.points.len(),
            has_histograms: histograms.is_some(),
        })
    }

    fn any<R: Deserialize<'a>>(&mut self) -> serde_json::Result<R> {
        let mut rows = serde_json::Deserializer::from_str(self.rest()).into_iter::<R>();
        let row = rows.next().unwrap_or_else(|| Err(serde_json::Error::custom("the list of rows ends within")))?;
        self.at += rows.byte_offset();
        Ok(row)
    }

    /// The labels that begin here: those that are expected, or others that are an object.
    fn metric(&mut self) -> Option<(&'a str, Option<KeyIndex>)> {
        let expected = self.keys.and_then(|keys| keys.expected(self.before).map(|key| (key, keys.get(key))));
        // No object in JSON is the beginning of another one.
        let is_here = |text: &str| text.starts_with('{') && self.rest().as_bytes().starts_with(text.as_bytes());
        if let Some((key, text)) = expected.filter(|(_, text)| is_here(text)) {
            let metric = &self.rest()[..text.len()];
            self.at += text.len();
            self.before = Some(key);
            return Some((metric, Some(key)));
        }
        let metric = &self.rest()[..object_length(self.rest().as_bytes())?];
        let known = self.recognise(metric);
        if known.is_none() {
            serde_json::from_str::<IgnoredAny>(metric).ok()?;
        }
        self.at += metric.len();
        Some((metric, known))
    }

    fn recognise(&mut self, metric: &str) -> Option<KeyIndex> {
        let known = self.keys?.find(metric, self.before);
        self.before = known.or(self.before);
        known
    }

    /// `[1700000000.123,"4.5"]`
    fn point(&mut self) -> Option<Point> {
        self.eat("[")?;
        let (time, length) = decimal(self.rest().as_bytes())?;
        self.at += length;
        self.eat(",\"")?;
        let (value, length) = quoted_number(self.rest())?;
        self.at += length;
        self.eat("\"]")?;
        Some(Point(time, value))
    }

    fn eat(&mut self, literal: &str) -> Option<()> {
        self.text.as_bytes()[self.at..].starts_with(literal.as_bytes()).then(|| self.at += literal.len())
    }

    fn next_byte(&mut self) -> Option<u8> {
        let byte = self.peek_byte()?;
        self.at += 1;
        Some(byte)
    }

    fn peek_byte(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let blank = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.at += blank;
        rest.get(blank).copied()
    }
}

/// Length of the object that `text` begins with; `None` if there is none, or one within it.
fn object_length(text: &[u8]) -> Option<usize> {
    if text.first() != Some(&b'{') {
        return None;
    }
    let (mut is_text, mut at) = (false, 1);
    loop {
        match (*text.get(at)?, is_text) {
            (b'"', _) => is_text = !is_text,
            (b'\\', true) => at += 1,
            (b'}', false) => return Some(at + 1),
            (b'{', false) => return None,
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vector<'a>(text: &'a str, keys: Option<&Keys>) -> Vec<(&'a str, Option<KeyIndex>, Option<Point>)> {
        let mut reader = Reader::new(text, 0, keys);
        let rows = reader.vector().expect("a list");
        assert_eq!(reader.rest(), "");
        rows.into_iter().map(|row| (row.metric, row.known, row.value)).collect()
    }

    #[test]
    fn rows_that_are_written_otherwise_are_read_all_the_same() {
        let table = [
            r#"[{"metric":{"a":"}\"{"},"value":[1.5,"2"]}]"#,
            r#"[{"value":[1.5,"2"],"metric":{"a":"}\"{"}}]"#,
            r#" [ {"metric" : {"a":"}\"{"}, "value": [15e-1, "2e0"], "x": [{}]} ] "#.trim_end(),
            r#"[{"metric":{"a":"}\"{"},"value":[1.5,"\u0032"]}]"#,
        ];
        for text in table {
            assert_eq!(vector(text, None), [(r#"{"a":"}\"{"}"#, None, Some(Point(1.5, 2.0)))], "{text}");
        }
        assert_eq!(vector("[]", None), []);
    }

    #[test]
    fn what_is_cut_or_no_row_is_an_error() {
        let whole = r#"[{"metric":{"a":"b"},"value":[1.5,"2"]},{"metric":{},"value":[1,"2"]}]"#;
        for end in 0..whole.len() {
            assert!(Reader::new(&whole[..end], 0, None).vector().is_err(), "{}", &whole[..end]);
        }
        for row in ["1", "{}", r#"{"metric":{a},"value":[1,"2"]}"#, r#"{"metric":{},"value":[1,2]}"#, "{},"] {
            assert!(Reader::new(&format!("[{row}]"), 0, None).vector().is_err(), "{row}");
        }
    }

    #[test]
    fn expected_labels_are_recognised_where_they_stand_and_others_by_look_up() {
        let mut keys = Keys::default();
        let texts = [r#"{"a":"1"}"#, r#"{"a":"12"}"#, "{}"];
        let mut before = None;
        for text in texts {
            let key = keys.insert(text);
            keys.follow(before.replace(key), key);
        }
        let answer = |order: &[usize]| {
            let rows: Vec<_> =
                order.iter().map(|i| format!(r#"{{"metric":{},"value":[1,"{i}"]}}"#, texts[*i])).collect();
            format!("[{}]", rows.join(","))
        };
        for order in [&[0, 1, 2][..], &[2, 1, 0], &[1], &[0, 2], &[0, 0, 1]] {
            let text = answer(order);
            let known: Vec<_> = vector(&text, Some(&keys)).iter().filter_map(|row| row.1).collect();
            assert_eq!(known, order);
        }
        let text = r#"[{"metric":{"a":"3"},"value":[1,"2"]}]"#;
        assert_eq!(vector(text, Some(&keys)), [(r#"{"a":"3"}"#, None, Some(Point(1.0, 2.0)))]);
    }

    #[test]
    fn a_matrix_keeps_the_points_of_all_rows_in_one_list() {
        let text = r#"[{"metric":{},"values":[[1,"1"],[2.25,"-3"]]},{"metric":{"h":""},"histograms":[[4,{}]]},
            {"metric":{"a":""},"values":[[3,"1e3"]]}]"#;
        let mut reader = Reader::new(text, 0, None);
        let rows: Vec<_> = reader.matrix().expect("rows").into_iter().map(|r| (r.points, r.has_histograms)).collect();
        assert_eq!(rows, [(0..2, false), (2..2, true), (2..3, false)]);
        assert_eq!(reader.into_points(), [Point(1.0, 1.0), Point(2.25, -3.0), Point(3.0, 1000.0)]);
    }

    proptest! {
        #[test]
        fn any_text_is_rows_or_an_error(text in "\\[?[\\[\\]{}\",:a1. metricvalus]{0,60}") {
            let _ = Reader::new(&text, 0, None).vector();
            let _ = Reader::new(&text, 0, None).matrix();
        }
    }
}
