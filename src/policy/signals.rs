//! The keys under `signals`: what to ask the source, checked as far as that is possible without asking.

use std::collections::BTreeMap;
use std::time::Duration;

use super::SourceKind;
use super::raw::{RawDemand, RawFreshness, RawReceived, RawSignal, RawSignals, RawUnit};
use crate::document::check::Check;
use crate::document::values::DurationText;
use crate::source::promql::recognise;
use crate::source::{Counter, DemandSignal, MatchOp, Matcher, Query, Signals, Unit};

const WINDOW: Duration = Duration::from_secs(60);
const WINDOW_MIN: Duration = Duration::from_secs(5);
const WINDOW_MAX: Duration = Duration::from_secs(3600);
/// Longest PromQL expression, in bytes.
const QUERY_MAX_BYTES: usize = 8192;
const SERVICE_LABEL: &str = "service";
const OPERATION_LABEL: &str = "operation";

/// The signals; `None` only where `check` holds an error.
pub(super) fn signals(raw: RawSignals, source: SourceKind, check: &mut Check<'_>) -> Option<Signals> {
    for (name, what) in [
        ("demand", "root requests/s by service"),
        ("received", "what is offered to the tracing backend"),
        ("dropped", "what the tracing backend drops"),
    ] {
        check.require(&format!("signals.{name}"), format_args!("needs {what}: {{query: PROMQL}} or {{counter: NAME}}"));
    }
    let demand = raw.demand.and_then(|raw| demand(raw, source, check));
    let unit = match raw.received.as_ref().and_then(|received| received.unit) {
        None | Some(RawUnit::Spans) => Unit::Spans,
        Some(RawUnit::Traces) => Unit::Traces,
    };
    let received = raw.received.and_then(|raw| total("signals.received", question_of_received(raw), source, check));
    let dropped = raw.dropped.and_then(|raw| total("signals.dropped", question_of_dropped(raw), source, check));
    let freshness = raw.freshness.and_then(|raw| freshness(raw, source, check));
    Some(Signals { demand: demand?, received: received?, dropped: dropped?, freshness, unit })
}

/// The keys that all signals have.
struct Question {
    query: Option<String>,
    counter: Option<String>,
    matchers: Option<BTreeMap<String, String>>,
    by: Vec<String>,
    window: Option<DurationText>,
}

fn question_of_received(raw: RawReceived) -> Question {
    Question { query: raw.query, counter: raw.counter, matchers: raw.matchers, by: Vec::new(), window: raw.window }
}

fn question_of_dropped(raw: RawSignal) -> Question {
    Question { query: raw.query, counter: raw.counter, matchers: raw.matchers, by: Vec::new(), window: raw.window }
}

fn demand(raw: RawDemand, source: SourceKind, check: &mut Check<'_>) -> Option<DemandSignal> {
    const KEY: &str = "signals.demand";
    let by = raw.by.unwrap_or_default();
    let question = Question { query: raw.query, counter: raw.counter, matchers: raw.matchers, by, window: raw.window };
    let query = ask(KEY, question, source, check)?;
    let (service_label, operation_label) = match &query {
        Query::Opaque { .. } => (raw.service_label.unwrap_or_else(|| SERVICE_LABEL.to_owned()), raw.operation_label),
        Query::Counter(counter) => labels(counter, raw.service_label, raw.operation_label, check)?,
    };
    Some(DemandSignal { query, service_label, operation_label })
}

/// Which of a counter's labels is the service and which the operation. Each label of `by` must be one of the two:
/// another would split a service into rows that nobody adds up.
fn labels(
    counter: &Counter,
    service: Option<String>,
    operation: Option<String>,
    check: &mut Check<'_>,
) -> Option<(String, Option<String>)> {
    let by = &counter.by;
    let place = if check.is_written("signals.demand.by") { "signals.demand.by" } else { "signals.demand.query" };
    let listed = |label: &str| by.iter().any(|known| known == label);
    for (key, label) in [("service_label", &service), ("operation_label", &operation)] {
        if let Some(label) = label.as_deref().filter(|label| !listed(label)) {
            let message = format!("the query sums by ({}), which has no label {label}", by.join(", "));
            check.fail(&format!("signals.demand.{key}"), message);
            return None;
        }
    }
    let service = service.or_else(|| match by.as_slice() {
        [only] if operation.is_none() => Some(only.clone()),
        _ => listed(SERVICE_LABEL).then(|| SERVICE_LABEL.to_owned()),
    });
    let Some(service) = service else {
        let message = match by.len() {
            0 => "demand must be summed by the label that names the service: sum by (service) (...), or by: [service]",
            _ => "none of the labels it sums by is called service; say which is, with service_label",
        };
        check.fail(place, message);
        return None;
    };
    let by_default = (service != OPERATION_LABEL && listed(OPERATION_LABEL)).then(|| OPERATION_LABEL.to_owned());
    let operation = operation.or(by_default);
    if operation.as_ref() == Some(&service) {
        check.fail("signals.demand.operation_label", "the same label as service_label");
        return None;
    }
    if let Some(other) = by.iter().find(|label| **label != service && Some(*label) != operation.as_ref()) {
        let message = format!(
            "sums by {other}, which names neither the service nor the operation; name it as \
                               operation_label, or do not sum by it"
        );
        check.fail(place, message);
        return None;
    }
    Some((service, operation))
}

/// A signal that is one number: labels that it sums by are of no use.
fn total(key: &str, question: Question, source: SourceKind, check: &mut Check<'_>) -> Option<Query> {
    let query = ask(key, question, source, check)?;
    Some(match query {
        Query::Counter(counter) => Query::Counter(Counter { by: Vec::new(), ..counter }),
        opaque @ Query::Opaque { .. } => opaque,
    })
}

fn ask(key: &str, question: Question, source: SourceKind, check: &mut Check<'_>) -> Option<Query> {
    match (question.query, question.counter) {
        (Some(promql), None) => {
            for other in ["match", "by", "window"] {
                let other = format!("{key}.{other}");
                if check.is_written(&other) {
                    check.fail(&other, "belongs to `counter`; in a query it is part of the expression");
                }
            }
            query(&format!("{key}.query"), &promql, source, check)
        }
        (None, Some(metric)) => {
            let window = check.duration(&format!("{key}.window"), question.window, WINDOW, WINDOW_MIN..=WINDOW_MAX);
            let matchers = question.matchers.unwrap_or_default().iter().map(|(l, v)| matcher(l, v)).collect();
            counter(key, Counter { metric, matchers, by: question.by, window }, check)
        }
        (Some(_), Some(_)) => {
            check.fail(key, "only one of query and counter");
            None
        }
        (None, None) => {
            if !check.has_errors_under(key) {
                check.fail(key, "needs query or counter");
            }
            None
        }
    }
}

fn query(key: &str, promql: &str, source: SourceKind, check: &mut Check<'_>) -> Option<Query> {
    if promql.len() > QUERY_MAX_BYTES {
        check.fail_hidden(key, format_args!("longer than {QUERY_MAX_BYTES} bytes"));
        return None;
    }
    match recognise(promql) {
        Err(error) => {
            check.fail(key, error);
            None
        }
        Ok(Query::Opaque { .. }) if source == SourceKind::Scrape => {
            check.fail(
                key,
                "source.scrape evaluates only sum [by (labels)] (rate(SELECTOR[window])); \
                 write it so, or as a counter, or use source.prometheus",
            );
            None
        }
        Ok(query) => Some(query),
    }
}

fn counter(key: &str, counter: Counter, check: &mut Check<'_>) -> Option<Query> {
    if !is_metric_name(&counter.metric) {
        check.fail(&format!("{key}.counter"), "not a metric's name: letters, digits, _ and :");
        return None;
    }
    if let Some(label) = counter.by.iter().find(|label| !is_label_name(label)) {
        check.fail(&format!("{key}.by"), format_args!("{label:?} is not a label's name: letters, digits and _"));
        return None;
    }
    if let Some(matcher) = counter.matchers.iter().find(|matcher| !is_label_name(&matcher.label)) {
        let message = format!("{:?} is not a label's name: letters, digits and _", matcher.label);
        check.fail(&format!("{key}.match"), message);
        return None;
    }
    if let Err(error) = check_matchers(&counter) {
        check.fail(&format!("{key}.match"), error);
        return None;
    }
    Some(Query::Counter(counter))
}

/// Regexes must compile here too: a source without a server compares by itself.
fn check_matchers(counter: &Counter) -> Result<(), String> {
    for matcher in &counter.matchers {
        matcher.compile().map_err(|error| regex_problem(&error))?;
    }
    recognise(&counter.selector()).map(|_| ()).map_err(|error| error.message)
}

/// The last of the lines in which the regex crate draws its error: what is wrong.
fn regex_problem(error: &regex::Error) -> String {
    let text = error.to_string();
    let what = text.lines().last().unwrap_or_default().trim();
    format!("not a regex: {}", what.strip_prefix("error: ").unwrap_or(what))
}

/// `shop`, `=shop`, `!=shop`, `=~shop|cart`, `!~test.*`.
fn matcher(label: &str, value: &str) -> Matcher {
    let operators =
        [("=~", MatchOp::Regex), ("!~", MatchOp::NotRegex), ("!=", MatchOp::NotEqual), ("=", MatchOp::Equal)];
    let found = operators.iter().find_map(|(sign, op)| Some((*op, value.strip_prefix(sign)?)));
    let (op, value) = found.unwrap_or((MatchOp::Equal, value));
    Matcher { label: label.to_owned(), op, value: value.to_owned() }
}

fn freshness(raw: RawFreshness, source: SourceKind, check: &mut Check<'_>) -> Option<String> {
    const KEY: &str = "signals.freshness.query";
    check.require(KEY, "needs PromQL whose value is an age in seconds");
    let promql = raw.query?;
    if source == SourceKind::Scrape {
        check.fail(KEY, "source.scrape knows the age of its samples; leave freshness out");
        return None;
    }
    match recognise(&promql) {
        Ok(_) => Some(promql),
        Err(error) => {
            check.fail(KEY, error);
            None
        }
    }
}

fn is_metric_name(name: &str) -> bool {
    let is_start = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    name.starts_with(is_start) && name.chars().all(|c| is_start(c) || c.is_ascii_digit())
}

fn is_label_name(name: &str) -> bool {
    is_metric_name(name) && !name.contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_before_the_value_says_how_to_compare() {
        let table = [
            ("shop", MatchOp::Equal, "shop"),
            ("=shop", MatchOp::Equal, "shop"),
            ("==~x", MatchOp::Equal, "=~x"),
            ("!=shop", MatchOp::NotEqual, "shop"),
            ("=~a|b", MatchOp::Regex, "a|b"),
            ("!~a.*", MatchOp::NotRegex, "a.*"),
            ("", MatchOp::Equal, ""),
        ];
        for (written, op, value) in table {
            let expected = Matcher { label: "job".to_owned(), op, value: value.to_owned() };
            assert_eq!(matcher("job", written), expected, "{written:?}");
        }
    }
}
