//! Which series a counter means: PromQL's matchers, evaluated here.

use regex::Regex;

use crate::source::error::QueryError;
use crate::source::labels::Labels;
use crate::source::signals::{MatchOp, Matcher, Query};

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
            Query::Counter(counter) | Query::Pushed(counter) => counter,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::promql::recognise;

    #[test]
    fn what_needs_a_server_is_refused() {
        let query = recognise("max(rate(a[1m]))").expect("PromQL");
        assert!(matches!(Selector::new(&query), Err(QueryError::NeedsServer { .. })));
    }
}
