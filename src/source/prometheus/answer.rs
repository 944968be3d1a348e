//! The body of an instant query's answer, decoded where it lies.
//!
//! A series' labels stay the text that they came as: known series are told by that text, so that in the steady state
//! no label is parsed and nothing is allocated for a row. The rows, which are nearly all of it, are read by hand in one
//! pass; what stands around them by `serde_json`. Native histograms are seen and left out, one by one; warnings are kept,
//! because a partial answer looks complete without them.
//!
//! Limits: two servers that order labels differently behind one address make two series of one.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::rows::{MatrixRow, Reader, VectorRow};
use crate::source::error::QueryError;
use crate::source::increase::Sample;
use crate::source::keys::Keys;
use crate::source::labels::Labels;

/// An annotation of the server's own about a query begins like this; it does not say that the answer is partial.
const ANNOTATION: &str = "PromQL ";
/// Longest part of a foreign message that is kept.
const MESSAGE_MAX_CHARS: usize = 300;
/// The rows of a usual answer begin within so many bytes.
const HEAD_MAX_BYTES: usize = 200;

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) result: QueryResult<'a>,
    pub(super) warnings: usize,
    /// Some store was not asked, or did not answer.
    pub(super) is_partial: bool,
    /// Of the rows of a matrix.
    points: Vec<Point>,
}

/// What a query evaluated to.
#[derive(Debug)]
pub(super) enum QueryResult<'a> {
    /// One value a series.
    Vector(Vec<VectorRow<'a>>),
    /// Many samples a series.
    Matrix(Vec<MatrixRow<'a>>),
    /// One value.
    Scalar(Point),
    /// Text.
    Text,
}

/// A time in Unix seconds and a value; NaN where the text was no number.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(super) struct Point(pub(super) f64, #[serde(deserialize_with = "number")] pub(super) f64);

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    data: Option<Data<'a>>,
    error: Option<String>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
    #[serde(default, rename = "isPartial")]
    is_partial: Option<bool>,
}

#[derive(Clone, Deserialize)]
struct Data<'a> {
    #[serde(borrow, rename = "resultType")]
    result_type: Cow<'a, str>,
    #[serde(borrow)]
    result: &'a RawValue,
}

impl QueryResult<'_> {
    /// As PromQL calls it.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Vector(_) => "vector",
            Self::Matrix(_) => "matrix",
            Self::Scalar(_) => "scalar",
            Self::Text => "string",
        }
    }
}

impl Answer<'_> {
    /// Replaces `samples` by the row's, oldest first; returns how many of them cannot be a counter's.
    pub(super) fn read_samples(&self, row: &MatrixRow<'_>, samples: &mut Vec<Sample>) -> u64 {
        let points = &self.points[row.points.clone()];
        samples.clear();
        samples.extend(points.iter().filter_map(|point| point.sample()));
        (points.len() - samples.len()) as u64 + u64::from(row.has_histograms)
    }
}

impl Point {
    /// `None` unless it can be a counter's sample.
    pub(super) fn sample(self) -> Option<Sample> {
        Sample::new(self.at_ms()?, self.1)
    }

    /// The time in Unix milliseconds; `None` unless it is one.
    pub(super) fn at_ms(self) -> Option<i64> {
        crate::time::WallTime::from_unix_seconds(self.0).map(crate::time::WallTime::unix_ms)
    }
}

/// Decodes the body of a 200. Rows whose labels are among `keys` say where.
pub(super) fn decode<'a>(body: &'a [u8], keys: Option<&Keys>) -> Result<Answer<'a>, QueryError> {
    let text = std::str::from_utf8(body).map_err(|e| malformed(de::Error::custom(e)))?;
    if let Some(answer) = usual(text, keys) {
        return Ok(answer);
    }
    let envelope: Envelope<'a> = serde_json::from_str(text).map_err(malformed)?;
    let Data { result_type, result } = envelope.data()?;
    let (result, points) = decode_result(&result_type, result.get(), keys)?;
    Ok(envelope.answer(result, points))
}

/// An answer whose rows come last, behind their type, as servers write it; `None` where it is any other.
fn usual<'a>(text: &'a str, keys: Option<&Keys>) -> Option<Answer<'a>> {
    let start = text.bytes().take(HEAD_MAX_BYTES).position(|byte| byte == b'[')?;
    let head = text[..start].strip_suffix("\"result\":")?;
    let mut reader = Reader::new(text, start, keys);
    let result = if head.contains("\"resultType\":\"vector\"") {
        QueryResult::Vector(reader.vector().ok()?)
    } else {
        QueryResult::Matrix(reader.matrix().ok()?)
    };
    // What stands around the rows must be an answer of that type without them.
    let around = format!("{head}\"result\":[]{}", reader.rest());
    let envelope: Envelope<'_> = serde_json::from_str(&around).ok()?;
    let data = envelope.data().ok()?;
    let is_around = data.result_type == result.type_name() && data.result.get() == "[]";
    is_around.then(|| envelope.answer(result, reader.into_points()))
}

impl<'a> Envelope<'a> {
    fn data(&self) -> Result<Data<'a>, QueryError> {
        match (&*self.status, &self.data) {
            ("success", Some(data)) => Ok(data.clone()),
            _ => Err(QueryError::Refused(shortened(self.error.as_deref().unwrap_or("without a reason")))),
        }
    }

    fn answer<'r>(&self, result: QueryResult<'r>, points: Vec<Point>) -> Answer<'r> {
        let warnings = self.warnings.as_deref().unwrap_or_default();
        let is_partial = self.is_partial == Some(true) || warnings.iter().any(|w| !w.starts_with(ANNOTATION));
        Answer { result, warnings: warnings.len(), is_partial, points }
    }
}

fn decode_result<'a>(
    result_type: &str,
    json: &'a str,
    keys: Option<&Keys>,
) -> Result<(QueryResult<'a>, Vec<Point>), QueryError> {
    let mut reader = Reader::new(json, 0, keys);
    let result = match result_type {
        "vector" => reader.vector().map(QueryResult::Vector),
        "matrix" => reader.matrix().map(QueryResult::Matrix),
        "scalar" => serde_json::from_str(json).map(QueryResult::Scalar),
        "string" => Ok(QueryResult::Text),
        other => Err(de::Error::custom(format!("unknown resultType {:?}", shortened(other)))),
    };
    Ok((result.map_err(malformed)?, reader.into_points()))
}

/// The labels in a row's `metric`; `None` where it is no object of strings.
pub(super) fn labels(metric: &str) -> Option<Labels<'_>> {
    struct Pairs;
    impl<'de> Visitor<'de> for Pairs {
        type Value = Labels<'de>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of strings")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels<'de>, A::Error> {
            let mut pairs = Vec::new();
            while let Some((Text(label), Text(value))) = map.next_entry()? {
                pairs.push((label, value));
            }
            Ok(Labels(pairs))
        }
    }
    serde_json::Deserializer::from_str(metric).deserialize_map(Pairs).ok()
}

/// The error in the body of an answer that was not a 200: Prometheus' own message, or the start of what came.
pub(super) fn error_message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Failure {
        error: String,
    }
    let own = serde_json::from_slice::<Failure>(body).map(|f| f.error);
    shortened(&own.unwrap_or_else(|_| String::from_utf8_lossy(body).into_owned()))
}

fn malformed(error: serde_json::Error) -> QueryError {
    QueryError::Malformed { expected: "a Prometheus API answer", detail: error.to_string() }
}

fn shortened(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().filter(|c| !c.is_control()).take(MESSAGE_MAX_CHARS).collect()
}

/// A string that is borrowed unless it holds escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A sample's value: a number in a string, as Prometheus writes it so that NaN and infinities survive.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    struct Number;
    impl Visitor<'_> for Number {
        type Value = f64;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number in a string")
        }
        fn visit_str<E>(self, text: &str) -> Result<f64, E> {
            Ok(text.parse().unwrap_or(f64::NAN))
        }
    }
    deserializer.deserialize_str(Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(result: &str) -> String {
        format!(r#"{{"status":"success","data":{{"resultType":"vector","result":{result}}}}}"#)
    }

    #[test]
    fn every_result_type_is_told_apart() {
        let table = [
            ("vector", r#"[{"metric":{},"value":[1.5,"2"]}]"#),
            ("matrix", r#"[{"metric":{},"values":[[1.5,"2"]]}]"#),
            ("scalar", r#"[1.5,"2"]"#),
            ("string", r#"[1.5,"text"]"#),
        ];
        for (name, result) in table {
            // `result` may come before `resultType`.
            let body = format!(r#"{{"data":{{"result":{result},"resultType":"{name}"}},"status":"success"}}"#);
            assert_eq!(decode(body.as_bytes(), None).expect(name).result.type_name(), name);
        }
    }

    #[test]
    fn values_that_are_no_numbers_and_native_histograms_become_no_sample() {
        let body = vector(
            r#"[{"metric":{"a":"1"},"value":[1,"NaN"]},{"metric":{},"value":[1,"+Inf"]},{"metric":{},"value":[1,"-1"]},
               {"metric":{},"value":[1,"x"]},{"metric":{},"histogram":[1,{"count":"3","buckets":[[0,"1","2","3"]]}]},
               {"metric":{},"value":[1e300,"1"]},{"metric":{},"value":[1.25,"7.5"]}]"#,
        );
        let answer = decode(body.as_bytes(), None).expect("decodes");
        let QueryResult::Vector(rows) = answer.result else { panic!("no vector") };
        let samples: Vec<_> = rows.iter().map(|r| r.value.and_then(Point::sample)).collect();
        assert_eq!(samples[..6], [None; 6]);
        assert_eq!(samples[6], Some(Sample { at_ms: 1250, value: 7.5 }));
    }

    #[test]
    fn a_series_keeps_its_good_samples_and_counts_the_rest() {
        let body = r#"{"status":"success","data":{"resultType":"matrix","result":
            [{"metric":{"a":"é\"\u0041"},"values":[[1,"1"],[2,"NaN"],[3.001,"4"]],"histograms":[[4,{"count":"1"}]]}]}}"#;
        let answer = decode(body.as_bytes(), None).expect("decodes");
        let QueryResult::Matrix(rows) = &answer.result else { panic!("no matrix") };
        let mut samples = vec![Sample { at_ms: 0, value: 0.0 }];
        assert_eq!(answer.read_samples(&rows[0], &mut samples), 2);
        assert_eq!(samples, [Sample { at_ms: 1000, value: 1.0 }, Sample { at_ms: 3001, value: 4.0 }]);
        assert_eq!(labels(rows[0].metric).expect("labels").get("a"), "é\"A");
    }

    #[test]
    fn warnings_say_that_an_answer_is_partial_and_annotations_do_not() {
        let table = [
            (r#""warnings":["store 10.0.0.1 did not answer"]"#, (1, true)),
            (r#""warnings":["PromQL warning: metric might not be a counter"]"#, (1, false)),
            (r#""infos":["PromQL info: x"]"#, (0, false)),
            (r#""isPartial":true"#, (0, true)),
            (r#""warnings":null"#, (0, false)),
        ];
        for (extra, expected) in table {
            let body = vector("[]").replacen('{', &format!("{{{extra},"), 1);
            let answer = decode(body.as_bytes(), None).expect(extra);
            assert_eq!((answer.warnings, answer.is_partial), expected, "{extra}");
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error_that_says_so() {
        let table: [(&[u8], &str); 7] = [
            (b"<html>Sign in</html>", "malformed"),
            (b"", "malformed"),
            (b"\xff", "malformed"),
            (br#"{"status":"success"}"#, "refused"),
            (br#"{"status":"error","errorType":"bad_data","error":"parse error"}"#, "refused"),
            (br#"{"status":"success","data":{"resultType":"streams","result":[]}}"#, "malformed"),
            (
                br#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":["x"]}]}}"#,
                "malformed",
            ),
        ];
        for (body, kind) in table {
            assert_eq!(decode(body, None).map(|_| ()).map_err(|e| e.kind()), Err(kind));
        }
    }

    #[test]
    fn a_refusals_message_is_kept_short() {
        assert_eq!(error_message(br#"{"status":"error","error":"too many\n samples"}"#), "too many samples");
        assert_eq!(error_message("<é>".repeat(1000).as_bytes()).chars().count(), MESSAGE_MAX_CHARS);
    }
}
