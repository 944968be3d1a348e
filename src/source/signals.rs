//! What one policy asks a source: its signals, each a counter that we read ourselves or an expression that only the
//! server can evaluate.

use std::fmt;
use std::time::Duration;

use regex::Regex;

/// The signals of one policy, validated: what to ask a source.
#[derive(Debug, Clone, PartialEq)]
pub struct Signals {
    /// Root demand by service and operation.
    pub demand: DemandSignal,
    /// Everything offered to the tracing backend, dropped included.
    pub received: Query,
    /// What of that was dropped.
    pub dropped: Query,
    /// Age of the newest sample, in seconds, for queries that cannot tell it themselves.
    pub freshness: Option<String>,
    /// What `received` and `dropped` count.
    pub unit: Unit,
}

/// Root demand: a query and the labels that name what it counts.
#[derive(Debug, Clone, PartialEq)]
pub struct DemandSignal {
    /// What to ask.
    pub query: Query,
    /// Label that names the service.
    pub service_label: String,
    /// Label that names the operation, where there is one.
    pub operation_label: Option<String>,
    /// Whether a metric that counts sampled spans is taken, because its counts are adjusted.
    pub is_adjusted: bool,
}

/// What `received` and `dropped` count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Spans.
    Spans,
    /// Whole traces.
    Traces,
}

/// One question to a source.
#[derive(Debug, Clone, PartialEq)]
pub enum Query {
    /// A counter, read as raw samples with their own timestamps.
    Counter(Counter),
    /// A counter that is pushed over OTLP.
    Pushed(Counter),
    /// PromQL that only the server can evaluate: no freshness of its own, and `window` of dead time.
    Opaque {
        /// The expression.
        promql: String,
        /// The longest range in it; zero where there is none.
        window: Duration,
    },
}

impl Query {
    /// Whether it is pushed to us, so that nobody is asked.
    pub const fn is_pushed(&self) -> bool {
        matches!(self, Self::Pushed(_))
    }

    /// How far back a rate looks that the server computes for it.
    pub fn window(&self) -> Duration {
        match self {
            Self::Counter(counter) | Self::Pushed(counter) => counter.window,
            Self::Opaque { window, .. } => *window,
        }
    }
}

impl Signals {
    /// The three that are summed, each with its key in the policy file.
    pub fn queries(&self) -> [(&'static str, &Query); 3] {
        [("demand", &self.demand.query), ("received", &self.received), ("dropped", &self.dropped)]
    }
}

/// A counter and how to sum its rates.
#[derive(Debug, Clone, PartialEq)]
pub struct Counter {
    /// The metric's name.
    pub metric: String,
    /// Which of its series.
    pub matchers: Vec<Matcher>,
    /// Labels to sum by.
    pub by: Vec<String>,
    /// Window of the rate where the server has to compute it.
    pub window: Duration,
}

/// A condition on one label, with PromQL's meaning: an absent label is the empty string, a regex matches whole values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matcher {
    /// The label.
    pub label: String,
    /// How to compare.
    pub op: MatchOp,
    /// With what.
    pub value: String,
}

/// How a [`Matcher`] compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl Counter {
    /// The series as a PromQL instant selector: `name{label="value",…}`.
    pub fn selector(&self) -> String {
        let mut selector = Vec::with_capacity(self.matchers.len() + 1);
        let is_plain = is_identifier(&self.metric, true);
        if !is_plain {
            selector.push(format!("__name__={}", quoted(&self.metric)));
        }
        selector.extend(self.matchers.iter().map(Matcher::to_string));
        let name = if is_plain { self.metric.as_str() } else { "" };
        if selector.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", selector.join(",")) }
    }

    /// The rate as the server computes it: `sum by (…) (rate(selector[window]))`.
    pub fn rate_expression(&self) -> String {
        let rate = format!("(rate({}[{}]))", self.selector(), promql_duration(self.window));
        if self.by.is_empty() { format!("sum{rate}") } else { format!("sum by ({}) {rate}", self.by_list()) }
    }

    /// The age in seconds of the newest sample of any of the series.
    pub fn freshness_expression(&self) -> String {
        format!("time() - max(timestamp({}))", self.selector())
    }

    fn by_list(&self) -> String {
        let labels = self.by.iter().map(|l| if is_identifier(l, false) { l.clone() } else { quoted(l) });
        labels.collect::<Vec<_>>().join(", ")
    }
}

impl Matcher {
    /// The regex as PromQL anchors it; `None` for `=` and `!=`. The error is the regex's own.
    pub fn compile(&self) -> Result<Option<Regex>, regex::Error> {
        match self.op {
            MatchOp::Equal | MatchOp::NotEqual => Ok(None),
            // `(?s)`: Prometheus lets `.` match a newline as well.
            MatchOp::Regex | MatchOp::NotRegex => Regex::new(&format!("^(?s:{})$", self.value)).map(Some),
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_identifier(&self.label, false) {
            f.write_str(&self.label)?;
        } else {
            f.write_str(&quoted(&self.label))?;
        }
        write!(f, "{}{}", self.op.as_str(), quoted(&self.value))
    }
}

impl MatchOp {
    /// As PromQL writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// A duration as PromQL accepts it in brackets: whole milliseconds, at least one.
pub(super) fn promql_duration(duration: Duration) -> String {
    let ms = duration.as_millis().max(1);
    if ms.is_multiple_of(1000) { format!("{}s", ms / 1000) } else { format!("{ms}ms") }
}

fn is_identifier(text: &str, may_have_colons: bool) -> bool {
    let is_start = |c: char| c.is_ascii_alphabetic() || c == '_' || (may_have_colons && c == ':');
    text.starts_with(is_start) && text.chars().all(|c| is_start(c) || c.is_ascii_digit())
}

fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(metric: &str, matchers: &[(&str, MatchOp, &str)], by: &[&str]) -> Counter {
        let matcher = |(label, op, value): &(&str, MatchOp, &str)| Matcher {
            label: (*label).to_owned(),
            op: *op,
            value: (*value).to_owned(),
        };
        Counter {
            metric: metric.to_owned(),
            matchers: matchers.iter().map(matcher).collect(),
            by: by.iter().map(|l| (*l).to_owned()).collect(),
            window: Duration::from_millis(1500),
        }
    }

    #[test]
    fn selectors_escape_what_promql_would_misread() {
        let table = [
            (counter("a_total", &[], &[]), "a_total"),
            (counter("a:b", &[("job", MatchOp::Equal, "x")], &[]), r#"a:b{job="x"}"#),
            (counter("http.requests", &[], &[]), r#"{__name__="http.requests"}"#),
            (
                counter("a", &[("p", MatchOp::Regex, r#"\d"+"#), ("q", MatchOp::NotEqual, "\n")], &[]),
                r#"a{p=~"\\d\"+",q!="\n"}"#,
            ),
            (counter("a", &[("k8s.pod", MatchOp::NotRegex, "é")], &[]), r#"a{"k8s.pod"!~"é"}"#),
        ];
        for (counter, expected) in table {
            assert_eq!(counter.selector(), expected);
        }
    }

    #[test]
    fn the_servers_rate_sums_by_the_same_labels() {
        assert_eq!(counter("a", &[], &["s", "o"]).rate_expression(), "sum by (s, o) (rate(a[1500ms]))");
        assert_eq!(counter("a", &[], &[]).rate_expression(), "sum(rate(a[1500ms]))");
    }

    #[test]
    fn a_regex_matches_whole_values_only() {
        let matcher = Matcher { label: "a".into(), op: MatchOp::Regex, value: "b|c".into() };
        let regex = matcher.compile().expect("valid").expect("a regex");
        assert!(regex.is_match("c") && !regex.is_match("bc") && !regex.is_match("c\n"));
        assert!(Matcher { value: "(".into(), ..matcher }.compile().is_err());
    }
}
