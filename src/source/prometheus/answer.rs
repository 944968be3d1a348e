//! The body of an instant query's answer, decoded where it lies.
//!
//! A series' labels stay the text that they came as: known series are told by that text, so that in the steady state
//! no label is parsed and nothing is allocated for a row. Native histograms are seen and left out, one by one; warnings
//! are kept, because a partial answer looks complete without them.
//!
//! Limits: two servers that order labels differently behind one address make two series of one.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::source::error::QueryError;
use crate::source::increase::Sample;
use crate::source::labels::Labels;

/// An annotation of the server's own about a query begins like this; it does not say that the answer is partial.
const ANNOTATION: &str = "PromQL ";
/// Longest part of a foreign message that is kept.
const MESSAGE_MAX_CHARS: usize = 300;

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) result: QueryResult<'a>,
    pub(super) warnings: usize,
    /// Some store was not asked, or did not answer.
    pub(super) is_partial: bool,
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

/// One value of one series. Without a value: a native histogram.
#[derive(Debug, Deserialize)]
pub(super) struct VectorRow<'a> {
    #[serde(borrow)]
    pub(super) metric: &'a RawValue,
    pub(super) value: Option<Point>,
}

/// The samples of one series.
#[derive(Debug, Deserialize)]
pub(super) struct MatrixRow<'a> {
    #[serde(borrow)]
    pub(super) metric: &'a RawValue,
    #[serde(borrow)]
    values: Option<&'a RawValue>,
    histograms: Option<IgnoredAny>,
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

#[derive(Deserialize)]
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

impl MatrixRow<'_> {
    /// Replaces `samples` by the row's, oldest first; returns how many of them cannot be a counter's.
    pub(super) fn read_samples(&self, samples: &mut Vec<Sample>) -> Result<u64, QueryError> {
        samples.clear();
        let mut rejected = u64::from(self.histograms.is_some());
        let Some(values) = self.values else { return Ok(rejected) };
        let mut deserializer = serde_json::Deserializer::from_str(values.get());
        let sink = EachPoint(|point: Point| match point.sample() {
            Some(sample) => samples.push(sample),
            None => rejected += 1,
        });
        deserializer.deserialize_seq(sink).map_err(malformed)?;
        Ok(rejected)
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

/// Decodes the body of a 200.
pub(super) fn decode(body: &[u8]) -> Result<Answer<'_>, QueryError> {
    let text = std::str::from_utf8(body).map_err(|e| malformed(de::Error::custom(e)))?;
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(malformed)?;
    let data = match (&*envelope.status, envelope.data) {
        ("success", Some(data)) => data,
        _ => return Err(QueryError::Refused(shortened(envelope.error.as_deref().unwrap_or("without a reason")))),
    };
    let warnings = envelope.warnings.unwrap_or_default();
    let is_partial = envelope.is_partial == Some(true) || warnings.iter().any(|w| !w.starts_with(ANNOTATION));
    let result = decode_result(&data.result_type, data.result)?;
    Ok(Answer { result, warnings: warnings.len(), is_partial })
}

fn decode_result<'a>(result_type: &str, result: &'a RawValue) -> Result<QueryResult<'a>, QueryError> {
    let json = result.get();
    match result_type {
        "vector" => serde_json::from_str(json).map(QueryResult::Vector).map_err(malformed),
        "matrix" => serde_json::from_str(json).map(QueryResult::Matrix).map_err(malformed),
        "scalar" => serde_json::from_str(json).map(QueryResult::Scalar).map_err(malformed),
        "string" => Ok(QueryResult::Text),
        other => Err(malformed(de::Error::custom(format!("unknown resultType {:?}", shortened(other))))),
    }
}

/// The labels in a row's `metric`; `None` where it is no object of strings.
pub(super) fn labels(metric: &RawValue) -> Option<Labels<'_>> {
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
    serde_json::Deserializer::from_str(metric.get()).deserialize_map(Pairs).ok()
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

/// Hands each element of a list on without keeping the list.
struct EachPoint<F>(F);

impl<'de, F: FnMut(Point)> Visitor<'de> for EachPoint<F> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of [time, value]")
    }
    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(point) = list.next_element()? {
            (self.0)(point);
        }
        Ok(())
    }
}

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
            assert_eq!(decode(body.as_bytes()).expect(name).result.type_name(), name);
        }
    }

    #[test]
    fn values_that_are_no_numbers_and_native_histograms_become_no_sample() {
        let body = vector(
            r#"[{"metric":{"a":"1"},"value":[1,"NaN"]},{"metric":{},"value":[1,"+Inf"]},{"metric":{},"value":[1,"-1"]},
               {"metric":{},"value":[1,"x"]},{"metric":{},"histogram":[1,{"count":"3","buckets":[[0,"1","2","3"]]}]},
               {"metric":{},"value":[1e300,"1"]},{"metric":{},"value":[1.25,"7.5"]}]"#,
        );
        let answer = decode(body.as_bytes()).expect("decodes");
        let QueryResult::Vector(rows) = answer.result else { panic!("no vector") };
        let samples: Vec<_> = rows.iter().map(|r| r.value.and_then(Point::sample)).collect();
        assert_eq!(samples[..6], [None; 6]);
        assert_eq!(samples[6], Some(Sample { at_ms: 1250, value: 7.5 }));
    }

    #[test]
    fn a_series_keeps_its_good_samples_and_counts_the_rest() {
        let body = r#"{"status":"success","data":{"resultType":"matrix","result":
            [{"metric":{"a":"é\"\u0041"},"values":[[1,"1"],[2,"NaN"],[3.001,"4"]],"histograms":[[4,{"count":"1"}]]}]}}"#;
        let answer = decode(body.as_bytes()).expect("decodes");
        let QueryResult::Matrix(rows) = answer.result else { panic!("no matrix") };
        let mut samples = vec![Sample { at_ms: 0, value: 0.0 }];
        assert_eq!(rows[0].read_samples(&mut samples).expect("a list"), 2);
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
            let answer = decode(body.as_bytes()).expect(extra);
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
            assert_eq!(decode(body).map(|_| ()).map_err(|e| e.kind()), Err(kind));
        }
    }

    #[test]
    fn a_refusals_message_is_kept_short() {
        assert_eq!(error_message(br#"{"status":"error","error":"too many\n samples"}"#), "too many samples");
        assert_eq!(error_message("<é>".repeat(1000).as_bytes()).chars().count(), MESSAGE_MAX_CHARS);
    }
}
