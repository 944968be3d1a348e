//! The two text formats in which targets expose their metrics: Prometheus 0.0.4 and OpenMetrics 1.0.
//!
//! One pass over the body, nothing allocated: a sample is slices of its line. Labels are checked where they stand and
//! unescaped only for whom they concern. A body with any line that is neither format is refused whole, as Prometheus
//! does, because a half-read target would look like falling counters; so is an OpenMetrics body without its `# EOF`,
//! which was cut off.
//!
//! Limits: types and units are not read, so a gauge named as a counter is taken for one; quoted (UTF-8) metric names
//! are skipped, since this scraper does not negotiate them.

use std::borrow::Cow;

use crate::source::labels::Labels;

/// Which of the two formats a body is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus 0.0.4: timestamps in milliseconds, no end mark.
    Prometheus,
    /// OpenMetrics 1.0: timestamps in seconds, exemplars, `# EOF`.
    OpenMetrics,
}

/// One sample's line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Line<'a> {
    /// The metric's name.
    pub(super) name: &'a str,
    /// Name and labels as they stand: the same text is the same series.
    pub(super) series: &'a str,
    /// What stands between the braces.
    labels: &'a str,
    pub(super) value: f64,
    pub(super) at_ms: Option<i64>,
}

/// The first line that is in neither format.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadLine {
    /// Counted from 1.
    pub(super) line: usize,
    /// What is wrong with it.
    pub(super) why: &'static str,
}

impl Format {
    /// By the answer's `Content-Type`; `None` for what is no text exposition (a login page, say).
    pub(super) fn of(content_type: Option<&str>) -> Option<Self> {
        let media_type = content_type.unwrap_or("text/plain").split(';').next().unwrap_or_default().trim();
        match media_type.to_ascii_lowercase().as_str() {
            "application/openmetrics-text" => Some(Self::OpenMetrics),
            // Many small exporters name no type, or a general one.
            "text/plain" | "" | "application/octet-stream" => Some(Self::Prometheus),
            _ => None,
        }
    }
}

impl<'a> Line<'a> {
    /// The labels, unescaped.
    pub(super) fn labels(&self) -> Labels<'a> {
        let (mut pairs, mut rest) = (Vec::new(), self.labels);
        while let Some((label, value, after)) = pair(rest) {
            pairs.push((Cow::Borrowed(label), unescaped(value)));
            rest = after;
        }
        Labels(pairs)
    }
}

/// Calls `sample` for each sample of `body`, in order.
pub(super) fn parse<'a>(body: &'a str, format: Format, mut sample: impl FnMut(Line<'a>)) -> Result<(), BadLine> {
    let (mut has_ended, mut lines) = (false, 0);
    for (at, line) in body.split('\n').enumerate() {
        let line = line.trim_matches([' ', '\t', '\r']);
        lines = at + 1;
        if line.is_empty() {
            continue;
        }
        if has_ended {
            return Err(BadLine { line: lines, why: "text after # EOF" });
        }
        if line.starts_with('#') {
            has_ended = format == Format::OpenMetrics && line == "# EOF";
            continue;
        }
        let read = parse_line(line, format).map_err(|why| BadLine { line: lines, why })?;
        read.into_iter().for_each(&mut sample);
    }
    let is_cut_off = format == Format::OpenMetrics && !has_ended;
    if is_cut_off { Err(BadLine { line: lines, why: "the body ends without # EOF" }) } else { Ok(()) }
}

/// `None` for a series whose name is quoted.
fn parse_line(line: &str, format: Format) -> Result<Option<Line<'_>>, &'static str> {
    let name_end = line.find(|c: char| !is_name_char(c)).unwrap_or(line.len());
    let (name, rest) = line.split_at(name_end);
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("a metric's name begins with a digit");
    }
    let (labels, after) = match rest.trim_start_matches([' ', '\t']).strip_prefix('{') {
        Some(inside) => {
            let length = braces_length(inside, name.is_empty())?;
            (&inside[..length], &inside[length + 1..])
        }
        None if name.is_empty() => return Err("no metric's name"),
        None if rest.starts_with([' ', '\t']) => ("", rest),
        None => return Err("no value after the name"),
    };
    let series = line[..line.len() - after.len()].trim_end();
    let (value, at_ms) = value_and_time(after, format)?;
    Ok((!name.is_empty()).then_some(Line { name, series, labels, value, at_ms }))
}

/// How far it is to the brace that closes; every pair on the way is checked.
fn braces_length(inside: &str, may_be_quoted: bool) -> Result<usize, &'static str> {
    let mut rest = inside;
    loop {
        let trimmed = rest.trim_start_matches([' ', '\t', ',']);
        if trimmed.starts_with('}') {
            return Ok(inside.len() - trimmed.len());
        }
        rest = match pair(trimmed) {
            Some((_, _, after)) => after,
            None if may_be_quoted => &trimmed[1 + quoted_length(trimmed.strip_prefix('"').ok_or("bad labels")?)? + 1..],
            None => return Err("bad labels"),
        };
        if !rest.trim_start_matches([' ', '\t']).starts_with([',', '}']) {
            return Err("no comma between labels");
        }
    }
}

/// The first `label="value"`: the label, the value with its escapes, and what follows.
fn pair(text: &str) -> Option<(&str, &str, &str)> {
    let text = text.trim_start_matches([' ', '\t', ',']);
    let (label, rest) = text.split_once('=')?;
    let label = label.trim_end_matches([' ', '\t']);
    let value = rest.trim_start_matches([' ', '\t']).strip_prefix('"')?;
    let length = quoted_length(value).ok()?;
    let is_label = !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_label.then(|| (label, &value[..length], &value[length + 1..]))
}

/// Bytes before the quote that ends the string.
fn quoted_length(text: &str) -> Result<usize, &'static str> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return Ok(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    Err("a string without its end")
}

/// Unknown escapes stay as they are, as Prometheus leaves them.
fn unescaped(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return Cow::Borrowed(value);
    }
    let (mut text, mut chars) = (String::with_capacity(value.len()), value.chars());
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('n')) => text.push('\n'),
            ('\\', Some(escaped @ ('"' | '\\'))) => text.push(escaped),
            ('\\', Some(other)) => text.extend(['\\', other]),
            (c, _) => text.push(c),
        }
    }
    Cow::Owned(text)
}

fn value_and_time(text: &str, format: Format) -> Result<(f64, Option<i64>), &'static str> {
    let mut words = text.split([' ', '\t']).filter(|w| !w.is_empty());
    let value = words.next().ok_or("no value")?.parse::<f64>().map_err(|_| "the value is no number")?;
    let at_ms = match words.next() {
        None => return Ok((value, None)),
        Some(word) if word.starts_with('#') && format == Format::OpenMetrics => return Ok((value, None)),
        Some(word) => time_ms(word, format).ok_or("the timestamp is no number")?,
    };
    match words.next() {
        None => Ok((value, Some(at_ms))),
        Some(word) if word.starts_with('#') && format == Format::OpenMetrics => Ok((value, Some(at_ms))),
        Some(_) => Err("more than a value and a timestamp"),
    }
}

fn time_ms(word: &str, format: Format) -> Option<i64> {
    match format {
        Format::Prometheus => word.parse().ok(),
        Format::OpenMetrics => crate::time::WallTime::from_unix_seconds(word.parse().ok()?).map(|t| t.unix_ms()),
    }
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(body: &str, format: Format) -> Result<Vec<Line<'_>>, BadLine> {
        let mut lines = Vec::new();
        parse(body, format, |line| lines.push(line)).map(|()| lines)
    }

    fn one(line: &str, format: Format) -> Line<'_> {
        match parse_line(line, format) {
            Ok(Some(line)) => line,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn samples_of_both_formats_are_read() {
        use Format::{OpenMetrics, Prometheus};
        let table = [
            (Prometheus, "a_total 5", "a_total", 5.0, None),
            (
                Prometheus,
                "a:b{x=\"1\",y=\"\",} 1e3\t1700000000123",
                "a:b{x=\"1\",y=\"\",}",
                1000.0,
                Some(1_700_000_000_123),
            ),
            (Prometheus, "a { x = \"}\" , y=\"#\" } +Inf -5", "a { x = \"}\" , y=\"#\" }", f64::INFINITY, Some(-5)),
            (OpenMetrics, "a_total{x=\"1\"} 5 1700000000.123", "a_total{x=\"1\"}", 5.0, Some(1_700_000_000_123)),
            (OpenMetrics, "a_bucket{le=\"1\"} 5 # {trace_id=\"x y\"} 0.5 17", "a_bucket{le=\"1\"}", 5.0, None),
            (OpenMetrics, "a_total 5 2 # {} 0.5", "a_total", 5.0, Some(2000)),
        ];
        for (format, text, series, value, at_ms) in table {
            let line = one(text, format);
            assert_eq!((line.series, line.value, line.at_ms), (series, value, at_ms), "{text}");
        }
        assert!(one("a NaN", Prometheus).value.is_nan());
    }

    #[test]
    fn labels_are_unescaped() {
        let line = one(r#"a{x="q\"b\\n\nz\d é",y="}{,="} 1"#, Format::Prometheus);
        let labels = line.labels();
        assert_eq!((labels.get("x"), labels.get("y"), labels.get("z")), ("q\"b\\n\nz\\d é", "}{,=", ""));
    }

    #[test]
    fn comments_types_and_blank_lines_are_passed_over() {
        let body = "# HELP a Help with \\n.\r\n# TYPE a counter\r\n\r\n  # note\na 1\r\n{\"utf8.name\",x=\"1\"} 5\nb 2";
        let names: Vec<_> = parsed(body, Format::Prometheus).expect("parses").iter().map(|l| l.name).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn a_bad_line_is_named_and_refuses_the_body() {
        let table = [
            (Format::Prometheus, "a 1\n<html>", 2, "no metric's name"),
            (Format::Prometheus, "a", 1, "no value after the name"),
            (Format::Prometheus, "a{x=\"1\"}", 1, "no value"),
            (Format::Prometheus, "a{x=\"1\" 5", 1, "no comma between labels"),
            (Format::Prometheus, "a{x=1} 5", 1, "bad labels"),
            (Format::Prometheus, "a{x=\"1} 5", 1, "bad labels"),
            (Format::Prometheus, "a five", 1, "the value is no number"),
            (Format::Prometheus, "a 5 now", 1, "the timestamp is no number"),
            (Format::Prometheus, "a 5 6 7", 1, "more than a value and a timestamp"),
            (Format::Prometheus, "1a 5", 1, "a metric's name begins with a digit"),
            (Format::OpenMetrics, "a 5\n", 2, "the body ends without # EOF"),
            (Format::OpenMetrics, "# EOF\na 5", 2, "text after # EOF"),
        ];
        for (format, body, line, why) in table {
            assert_eq!(parsed(body, format), Err(BadLine { line, why }), "{body}");
        }
        assert_eq!(parsed("a 5\n# EOF\n", Format::OpenMetrics).map(|l| l.len()), Ok(1));
    }

    #[test]
    fn the_format_is_told_by_the_content_type() {
        let table = [
            (Some("application/openmetrics-text; version=1.0.0; charset=utf-8"), Some(Format::OpenMetrics)),
            (Some("text/plain; version=0.0.4"), Some(Format::Prometheus)),
            (None, Some(Format::Prometheus)),
            (Some("text/html"), None),
            (Some("application/json"), None),
        ];
        for (content_type, expected) in table {
            assert_eq!(Format::of(content_type), expected, "{content_type:?}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(body in "[a-c{}=\",\\\\# .0-9é\\n\\t\"+-]{0,60}", is_open in any::<bool>()) {
            let format = if is_open { Format::OpenMetrics } else { Format::Prometheus };
            let _ = parse(&body, format, |line| drop(line.labels()));
        }

        #[test]
        fn any_label_value_survives(value in any::<String>()) {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let body = format!("a{{x=\"{escaped}\"}} 1");
            let lines = parsed(&body, Format::Prometheus).expect("parses");
            let labels = lines[0].labels();
            prop_assert_eq!(labels.get("x"), value.as_str());
        }
    }
}
