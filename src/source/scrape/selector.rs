//! Which of a target's series a counter means: PromQL's matchers, evaluated here.

use std::borrow::Cow;

use regex::Regex;

use super::exposition::Line;
use crate::source::error::QueryError;
use crate::source::labels::Labels;
use crate::source::signals::{MatchOp, Matcher, Query};

/// The `job` of series that name none themselves.
const JOB: &str = "scrape";

/// A counter's selector, its regular expressions compiled.
#[derive(Debug)]
pub(super) struct Selector {
    pub(super) metric: String,
    matchers: Vec<(Matcher, Option<Regex>)>,
}

impl Selector {
    /// An opaque query is refused: nobody here can evaluate it.
    pub(super) fn new(query: &Query) -> Result<Self, QueryError> {
        let counter = match query {
            Query::Counter(counter) => counter,
            Query::Opaque { promql, .. } => return Err(QueryError::NeedsServer { query: promql.clone() }),
        };
        let compiled = |matcher: &Matcher| match matcher.compile() {
            Ok(regex) => Ok((matcher.clone(), regex)),
            Err(source) => Err(QueryError::Matcher { matcher: matcher.to_string(), source: Box::new(source) }),
        };
        let matchers = counter.matchers.iter().map(compiled).collect::<Result<_, _>>()?;
        Ok(Self { metric: counter.metric.clone(), matchers })
    }

    /// Whether a series with these labels is meant.
    pub(super) fn matches(&self, labels: &Labels<'_>) -> bool {
        self.matchers.iter().all(|(matcher, regex)| {
            let value = labels.get(&matcher.label);
            let is_match = regex.as_ref().map_or(value == matcher.value, |r| r.is_match(value));
            is_match == matches!(matcher.op, MatchOp::Equal | MatchOp::Regex)
        })
    }
}

/// A line's labels and those that the target adds: `instance`, its host and port, and `job`. The line's own win.
pub(super) fn labels_of<'a>(line: &Line<'a>, instance: &'a str) -> Labels<'a> {
    let mut labels = line.labels();
    for (label, value) in [("instance", instance), ("job", JOB)] {
        if labels.get(label).is_empty() {
            labels.0.push((Cow::Borrowed(label), Cow::Borrowed(value)));
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::promql::recognise;
    use crate::source::scrape::exposition::{Format, parse};

    fn matches(query: &str, line: &str) -> bool {
        let selector = Selector::new(&recognise(query).expect("PromQL")).expect("a counter");
        let mut is_match = false;
        parse(line, Format::Prometheus, |line| is_match = selector.matches(&labels_of(&line, "host:1")))
            .expect("a line");
        is_match
    }

    #[test]
    fn matchers_mean_what_they_mean_in_promql() {
        let line = r#"a{x="one",y="two"} 1"#;
        let table = [
            (r#"x="one""#, true),
            (r#"x="on""#, false),
            (r#"x!="one""#, false),
            (r#"z="""#, true),
            (r#"z!="""#, false),
            (r#"x=~"on""#, false),
            (r#"x=~"on.|two""#, true),
            (r#"x!~"on""#, true),
            (r#"z=~".*""#, true),
            (r#"z=~".+""#, false),
            (r#"x="one",y="one""#, false),
            (r#"instance="host:1",job="scrape""#, true),
        ];
        for (matchers, expected) in table {
            assert_eq!(matches(&format!("sum(rate(a{{{matchers}}}[1m]))"), line), expected, "{matchers}");
        }
        assert!(matches(r#"sum(rate(a{job="own"}[1m]))"#, r#"a{job="own"} 1"#), "a series' own job wins");
    }

    #[test]
    fn what_needs_a_server_is_refused() {
        let query = recognise("max(rate(a[1m]))").expect("PromQL");
        assert!(matches!(Selector::new(&query), Err(QueryError::NeedsServer { .. })));
    }
}
