//! A file's devices: one row each, with its wait, and the labels by which it is put to a cohort.
//!
//! Devices that are alike in those labels are a group, so that a million rows are judged by a few look-ups.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{csv, json};
use crate::document::problem::{Problem, Problems};
use crate::document::values::{format_duration, parse_duration};
use crate::document::{Place, SourceFile};
use crate::keepalive::cohort::{Labels, Transport, UNKNOWN};

/// Intervals that make sense to send by.
const INTERVAL: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(30 * 86_400);
/// Errors that are told one by one.
const ERRORS_MAX: usize = 100;
/// Longest id of a device, in bytes.
const DEVICE_MAX_BYTES: usize = 256;
/// Columns that are no labels.
pub(super) const COLUMNS: [&str; 4] = ["device", "interval", "jitter", "transport"];

/// A whole file.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Rows {
    /// In the file's order.
    pub(super) rows: Vec<Row>,
    /// What they have in common, in the order of their first rows.
    pub(super) groups: Vec<Group>,
}

/// One device.
#[derive(Debug, PartialEq)]
pub(super) struct Row {
    pub(super) device: String,
    pub(super) line: usize,
    /// Shortest wait between two beats.
    pub(super) interval: Duration,
    /// Longest, jitter included.
    pub(super) longest: Duration,
    /// Place in the groups.
    pub(super) group: usize,
}

/// Devices that are alike in what tells cohorts apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Group {
    /// Without those that are not told.
    pub(super) labels: Labels,
    pub(super) transport: Transport,
}

/// One value of a row: what its column is called, and where it stands.
pub(super) struct Field<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a str,
    pub(super) column: usize,
}

/// A file on its way to rows.
pub(super) struct Gathering<'a> {
    file: &'a Arc<SourceFile>,
    keys: &'a [Arc<str>],
    rows: Rows,
    groups: HashMap<Group, usize>,
    lines: HashMap<String, usize>,
    errors: Vec<Problem>,
    errors_total: usize,
}

/// Reads a CSV or JSON file; `keys` are the labels that count.
///
/// # Errors
/// Every row that is wrong, with its line and column.
pub(super) fn parse(file: &Arc<SourceFile>, keys: &[Arc<str>]) -> Result<Rows, Problems> {
    let (lines, errors) = (HashMap::new(), Vec::new());
    let mut into =
        Gathering { file, keys, rows: Rows::default(), groups: HashMap::new(), lines, errors, errors_total: 0 };
    let text = file.text.trim_start_matches('\u{feff}');
    if text.trim_start().starts_with(['[', '{']) {
        json::read(text, &mut into);
    } else {
        csv::read(text, &mut into);
    }
    into.finish()
}

impl Gathering<'_> {
    /// The labels that count.
    pub(super) fn keys(&self) -> &[Arc<str>] {
        self.keys
    }

    /// Something is wrong in `column` of a line.
    pub(super) fn fail(&mut self, (line, column): (usize, usize), name: &str, message: impl fmt::Display) {
        self.errors_total += 1;
        if self.errors.len() < ERRORS_MAX {
            let place = Place::File { file: Arc::clone(self.file), line, column };
            self.errors.push(Problem::new(place, name, message.to_string()));
        }
    }

    /// One row, from the values that are written: empty ones are left out.
    pub(super) fn take(&mut self, line: usize, fields: &[Field<'_>]) {
        let errors = self.errors_total;
        let find = |name: &str| fields.iter().find(|field| field.name == name);
        let device = self.device(line, find("device"));
        let interval = self.interval(line, find("interval"));
        let jitter = find("jitter").map_or(Duration::ZERO, |field| self.jitter(line, field, interval));
        let transport = find("transport").map_or(Transport::Udp, |field| self.transport(line, field));
        if self.errors_total > errors {
            return;
        }
        let label = |key: &Arc<str>| Some((Arc::clone(key), find(key)?.text)).filter(|(_, text)| *text != UNKNOWN);
        let labels = self.keys.iter().filter_map(label).map(|(key, text)| (key, text.into())).collect();
        let group = Group { labels, transport };
        let next = self.rows.groups.len();
        let at = *self.groups.entry(group).or_insert_with_key(|group| {
            self.rows.groups.push(group.clone());
            next
        });
        self.rows.rows.push(Row { device, line, interval, longest: interval.saturating_add(jitter), group: at });
    }

    fn device(&mut self, line: usize, field: Option<&Field<'_>>) -> String {
        let Some(field) = field else {
            self.fail((line, 1), "device", "needs the device's id");
            return String::new();
        };
        let place = (line, field.column);
        if field.text.len() > DEVICE_MAX_BYTES {
            self.fail(place, "device", format_args!("longer than {DEVICE_MAX_BYTES} bytes"));
        } else if let Some(earlier) = self.lines.insert(field.text.to_owned(), line) {
            self.fail(place, "device", format_args!("{:?}: is in line {earlier} already: keep one", field.text));
        }
        field.text.to_owned()
    }

    fn interval(&mut self, line: usize, field: Option<&Field<'_>>) -> Duration {
        let Some(field) = field else {
            self.fail(
                (line, 1),
                "interval",
                "needs the time between two heartbeats: seconds, or a duration such as 3m",
            );
            return Duration::ZERO;
        };
        let read = seconds(field.text).or_else(|| parse_duration(field.text));
        match read.filter(|interval| INTERVAL.contains(interval)) {
            Some(interval) => interval,
            None => {
                let (from, to) = (format_duration(*INTERVAL.start()), format_duration(*INTERVAL.end()));
                let hint = format!("{:?}: write seconds (180), or a duration (3m), from {from} to {to}", field.text);
                self.fail((line, field.column), "interval", hint);
                Duration::ZERO
            }
        }
    }

    fn jitter(&mut self, line: usize, field: &Field<'_>, interval: Duration) -> Duration {
        let percent = field.text.strip_suffix('%').map(|number| number.trim().parse::<f64>().map(|n| n / 100.0));
        let part = percent.unwrap_or_else(|| field.text.parse::<f64>()).ok().filter(|part| (0.0..=1.0).contains(part));
        let read = part.map(|part| interval.mul_f64(part)).or_else(|| parse_duration(field.text));
        read.unwrap_or_else(|| {
            let hint = "write what is added at most: a part of the interval (0.25), 25%, or a duration (20s)";
            self.fail((line, field.column), "jitter", format_args!("{:?}: {hint}", field.text));
            Duration::ZERO
        })
    }

    fn transport(&mut self, line: usize, field: &Field<'_>) -> Transport {
        match field.text.to_ascii_lowercase().as_str() {
            "udp" => Transport::Udp,
            "tcp" | "grpc" | "http" | "mqtt" => Transport::Tcp,
            _ => {
                let hint = format!("{:?}: known are udp and tcp (or what runs over it: grpc, http, mqtt)", field.text);
                self.fail((line, field.column), "transport", hint);
                Transport::Udp
            }
        }
    }

    fn finish(mut self) -> Result<Rows, Problems> {
        if self.rows.rows.is_empty() && self.errors.is_empty() {
            self.fail((1, 1), "", "no devices in it");
        }
        if self.errors.is_empty() {
            return Ok(self.rows);
        }
        let more = self.errors_total - self.errors.len();
        if more > 0 {
            let place = Place::start_of(self.file);
            self.errors.push(Problem::without_line(place, "", format!("and {more} more errors in this file")));
        }
        Err(Problems(self.errors))
    }
}

/// `180`, `180.5`: what a spreadsheet writes.
fn seconds(text: &str) -> Option<Duration> {
    let number: f64 = text.parse().ok()?;
    Duration::try_from_secs_f64(number).ok()
}

/// Labels that count and that `written` lacks altogether: then nothing can be known of any device.
pub(super) fn missing_labels(keys: &[Arc<str>], mut is_written: impl FnMut(&str) -> bool) -> Option<String> {
    if keys.iter().any(|key| is_written(key)) {
        return None;
    }
    let names: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
    Some(format!("needs a label that tells NATs apart: {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Result<Rows, String> {
        let file = Arc::new(SourceFile { path: "f".into(), text: text.to_owned() });
        parse(&file, &["carrier".into(), "region".into()]).map_err(|problems| problems.to_string())
    }

    fn waits(text: &str) -> Vec<(u64, u64)> {
        let ms = |wait: Duration| wait.as_millis() as u64;
        rows(text).expect("valid").rows.iter().map(|row| (ms(row.interval), ms(row.longest))).collect()
    }

    #[test]
    fn csv_and_json_say_the_same() {
        let csv = "device,interval,carrier,region,jitter\ng1,180,a,eu,\n\"g,2\",1m30s,a,,20%\ng3,15,b,unknown,2s\n";
        let list = r#"[{"device":"g1","interval":180,"carrier":"a","region":"eu"},
 {"device":"g,2","interval":"1m30s","carrier":"a","jitter":0.2},
 {"device":"g3","interval":15.0,"carrier":"b","region":null,"jitter":"2s"}]"#;
        let lines = list.replace(['[', ']'], "").replace("},", "}");
        let [csv, list, lines] = [csv, list, &lines].map(|text| rows(text).expect("valid"));
        assert_eq!((csv.rows.len(), csv.groups.len()), (3, 3));
        assert_eq!((csv.rows[1].device.as_str(), csv.rows[1].longest), ("g,2", Duration::from_secs(108)));
        assert_eq!(list, lines);
        assert_eq!(csv.groups, list.groups);
        let lines_of = |rows: &Rows| rows.rows.iter().map(|row| row.line).collect::<Vec<_>>();
        assert_eq!((lines_of(&csv), lines_of(&list)), (vec![2, 3, 4], vec![1, 2, 3]));
    }

    #[test]
    fn intervals_are_seconds_or_durations() {
        let text = "device,interval,jitter,carrier\na,180,0.25,x\nb,3m,45s,x\nc,0.5,,x\nd,1e2,100%,x\n";
        assert_eq!(waits(text), [(180_000, 225_000), (180_000, 225_000), (500, 500), (100_000, 200_000)]);
    }

    #[test]
    fn every_error_names_its_line_and_its_column() {
        let text = "device,interval,carrier,transport\n,180,a,\ng1,soon,a,\ng1,-3,a,ipx\ng2,NaN,a\n";
        let shown = rows(text).expect_err("invalid");
        for part in ["f:2:1: device: needs", "f:3:4: interval: \"soon\"", "f:4:1: device: \"g1\": is in line 3"] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        for part in ["f:4:4: interval: \"-3\"", "f:4:9: transport: \"ipx\"", "f:5:4: interval: \"NaN\""] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
    }

    #[test]
    fn a_file_that_is_none_says_what_to_write() {
        for (text, part) in [
            ("", "no devices"),
            ("device,interval,carrier\n", "no devices"),
            ("device;interval;carrier\n", "separate the columns by commas"),
            ("device,intervall,carrier\na,5,x\n", "did you mean"),
            ("device,interval,carier\na,5,x\n", "needs a label"),
            ("device,interval,carrier,carrier\na,5,x,y\n", "twice"),
            ("device,interval,carrier\na,\"5,x\n", "quote"),
            ("[{\"device\": \"a\",", "f:1:"),
            ("{\"device\": [1], \"interval\": 5, \"carrier\": \"x\"}", "text or a number"),
            ("{\"device\": \"a\", \"interval\": 5}", "needs a label"),
            ("[5]", "an object"),
        ] {
            let shown = rows(text).expect_err(text);
            assert!(shown.contains(part), "{part} in {shown}");
        }
    }

    #[test]
    fn errors_beyond_a_hundred_are_counted() {
        let text = format!("device,interval,carrier\n{}", "x,soon,a\n".repeat(500));
        let shown = rows(&text).expect_err("invalid");
        assert!(shown.contains("and 899 more errors"), "{shown}");
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[\\[\\]{}\":,a-z0-9\\n. é%-]{0,200}") {
            let _ = rows(&text);
            let _ = rows(&format!("device,interval,carrier,jitter\n{text}"));
            let _ = rows(&format!("[{text}]"));
        }
    }
}
