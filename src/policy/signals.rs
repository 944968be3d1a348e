//! The keys under `signals`: what to ask the source, checked as far as that is possible without asking.

use std::collections::BTreeMap;
use std::time::Duration;

use super::raw::{RawDemand, RawFreshness, RawFrom, RawReceived, RawSignal, RawSignals, RawUnit};
use super::{SourceKind, SourceKinds};
use crate::document::check::Check;
use crate::document::values::DurationText;
use crate::source::promql::{metrics_of, recognise};
use crate::source::sampled::counts_sampled_spans;
use crate::source::{Counter, DemandSignal, MatchOp, Matcher, Query, Signals, Unit};

const WINDOW: Duration = Duration::from_secs(60);
const WINDOW_MIN: Duration = Duration::from_secs(5);
const WINDOW_MAX: Duration = Duration::from_secs(3600);
/// Longest PromQL expression, in bytes.
const QUERY_MAX_BYTES: usize = 8192;
/// Longest name of an instrument (OpenTelemetry metrics API, "Instrument name syntax") or an attribute.
const NAME_MAX_BYTES: usize = 255;
const SERVICE_LABEL: &str = "service";
const OPERATION_LABEL: &str = "operation";

/// The signals; `None` only where `check` holds an error.
pub(super) fn signals(raw: RawSignals, sources: SourceKinds, check: &mut Check<'_>) -> Option<Signals> {
    for (name, what) in [
        ("demand", "root requests/s by service"),
        ("received", "what is offered to the tracing backend"),
        ("dropped", "what the tracing backend drops"),
    ] {
        check.require(&format!("signals.{name}"), format_args!("needs {what}: {{query: PROMQL}} or {{counter: NAME}}"));
    }
    let demand = raw.demand.and_then(|raw| demand(raw, sources, check));
    let unit = match raw.received.as_ref().and_then(|received| received.unit) {
        None | Some(RawUnit::Spans) => Unit::Spans,
        Some(RawUnit::Traces) => Unit::Traces,
    };
    let received = raw.received.and_then(|raw| total("signals.received", question_of_received(raw), sources, check));
    let dropped = raw.dropped.and_then(|raw| total("signals.dropped", question_of_dropped(raw), sources, check));
    let freshness = raw.freshness.and_then(|raw| freshness(raw, demand.as_ref(), sources, check));
    Some(Signals { demand: demand?, received: received?, dropped: dropped?, freshness, unit })
}

/// The keys that all signals have.
struct Question {
    query: Option<String>,
    counter: Option<String>,
    matchers: Option<BTreeMap<String, String>>,
    by: Vec<String>,
    window: Option<DurationText>,
    from: Option<RawFrom>,
}

fn question_of_received(raw: RawReceived) -> Question {
    let RawReceived { query, counter, matchers, window, from, unit: _ } = raw;
    Question { query, counter, matchers, by: Vec::new(), window, from }
}

fn question_of_dropped(raw: RawSignal) -> Question {
    let RawSignal { query, counter, matchers, window, from } = raw;
    Question { query, counter, matchers, by: Vec::new(), window, from }
}

fn demand(raw: RawDemand, sources: SourceKinds, check: &mut Check<'_>) -> Option<DemandSignal> {
    const KEY: &str = "signals.demand";
    let RawDemand { query, counter, matchers, by, window, from, adjusted, service_label, operation_label } = raw;
    let question = Question { query, counter, matchers, by: by.unwrap_or_default(), window, from };
    let query = ask(KEY, question, sources, check)?;
    let is_adjusted = adjusted.unwrap_or(false);
    if !is_adjusted {
        refuse_sampled(&query, check);
    }
    let (service_label, operation_label) = match &query {
        Query::Opaque { .. } => (service_label.unwrap_or_else(|| SERVICE_LABEL.to_owned()), operation_label),
        Query::Counter(counter) | Query::Pushed(counter) => labels(counter, service_label, operation_label, check)?,
    };
    Some(DemandSignal { query, service_label, operation_label, is_adjusted })
}

/// Demand that falls with the probability makes the next probability too high, and the loop chases itself.
fn refuse_sampled(query: &Query, check: &mut Check<'_>) {
    let metrics = match query {
        Query::Counter(counter) | Query::Pushed(counter) => vec![counter.metric.clone()],
        Query::Opaque { promql, .. } => metrics_of(promql),
    };
    let Some(metric) = metrics.iter().find(|metric| counts_sampled_spans(metric)) else { return };
    let key = if check.is_written("signals.demand.counter") { "counter" } else { "query" };
    let message = format!(
        "{metric} counts spans after sampling, so as demand it would fall with the probability that it sets; count the \
         services' own requests (http.server.request.duration), or say `adjusted: true` if its counts are made before \
         the sampling or scaled back by it"
    );
    check.fail(&format!("signals.demand.{key}"), message);
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
fn total(key: &str, question: Question, sources: SourceKinds, check: &mut Check<'_>) -> Option<Query> {
    let query = ask(key, question, sources, check)?;
    Some(match query {
        Query::Counter(counter) => Query::Counter(Counter { by: Vec::new(), ..counter }),
        Query::Pushed(counter) => Query::Pushed(Counter { by: Vec::new(), ..counter }),
        opaque @ Query::Opaque { .. } => opaque,
    })
}

/// Who is to answer a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answerer {
    Asked(SourceKind),
    Otlp,
}

/// `None`: there is nobody, and `check` holds the error.
fn answerer(key: &str, from: Option<RawFrom>, sources: SourceKinds, check: &mut Check<'_>) -> Option<Answerer> {
    match (from, sources.asked) {
        (Some(RawFrom::Otlp), _) if sources.has_otlp => Some(Answerer::Otlp),
        (Some(RawFrom::Otlp), _) => {
            let message = "the configuration has no source.otlp: set source.otlp.listen (127.0.0.1:4317), or leave \
                           `from` out";
            check.fail(&format!("{key}.from"), message);
            None
        }
        (None, Some(asked)) => Some(Answerer::Asked(asked)),
        (None, None) if check.has_errors_under(&format!("{key}.from")) => None,
        (None, None) => {
            let message = "nobody can answer it: source.otlp is the only source; say `from: otlp`, or set \
                           source.prometheus.url or source.scrape.targets";
            check.fail(key, message);
            None
        }
    }
}

fn ask(key: &str, question: Question, sources: SourceKinds, check: &mut Check<'_>) -> Option<Query> {
    let answerer = answerer(key, question.from, sources, check)?;
    match (question.query, question.counter) {
        (Some(promql), None) => {
            for other in ["match", "by", "window"] {
                let other = format!("{key}.{other}");
                if check.is_written(&other) {
                    check.fail(&other, "belongs to `counter`; in a query it is part of the expression");
                }
            }
            query(&format!("{key}.query"), &promql, answerer, check)
        }
        (None, Some(metric)) => {
            let window = check.duration(&format!("{key}.window"), question.window, WINDOW, WINDOW_MIN..=WINDOW_MAX);
            let matchers = question.matchers.unwrap_or_default().iter().map(|(l, v)| matcher(l, v)).collect();
            let counter = Counter { metric, matchers, by: question.by, window };
            match answerer {
                Answerer::Asked(_) => self::counter(key, counter, check),
                Answerer::Otlp => pushed(key, counter, check),
            }
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

fn query(key: &str, promql: &str, answerer: Answerer, check: &mut Check<'_>) -> Option<Query> {
    if promql.len() > QUERY_MAX_BYTES {
        check.fail_hidden(key, format_args!("longer than {QUERY_MAX_BYTES} bytes"));
        return None;
    }
    match recognise(promql) {
        Err(error) => {
            check.fail(key, error);
            None
        }
        Ok(Query::Counter(counter)) if answerer == Answerer::Otlp => Some(Query::Pushed(counter)),
        Ok(Query::Opaque { .. }) if answerer == Answerer::Otlp => {
            check.fail(
                key,
                "what is pushed is read only as sum [by (labels)] (rate(SELECTOR[window])); write it so, or as a counter",
            );
            None
        }
        Ok(Query::Opaque { .. }) if answerer == Answerer::Asked(SourceKind::Scrape) => {
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

/// A counter under OTLP's names: dots and slashes are allowed in them.
fn pushed(key: &str, counter: Counter, check: &mut Check<'_>) -> Option<Query> {
    let is_instrument = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | ':');
    let metric = &counter.metric;
    if metric.is_empty() || metric.len() > NAME_MAX_BYTES || !metric.chars().all(is_instrument) {
        let message = format!("not an instrument's name: 1 to {NAME_MAX_BYTES} characters of A-Z a-z 0-9 _ . - / :");
        check.fail(&format!("{key}.counter"), message);
        return None;
    }
    let is_attribute = |name: &str| !name.is_empty() && name.len() <= NAME_MAX_BYTES;
    let matched = counter.matchers.iter().map(|matcher| ("match", &matcher.label));
    let mut names = counter.by.iter().map(|label| ("by", label)).chain(matched);
    if let Some((place, name)) = names.find(|(_, name)| !is_attribute(name)) {
        let message = format!("{name:?} is not an attribute's name: 1 to {NAME_MAX_BYTES} bytes");
        check.fail(&format!("{key}.{place}"), message);
        return None;
    }
    for matcher in &counter.matchers {
        if let Err(error) = matcher.compile() {
            check.fail(&format!("{key}.match"), regex_problem(&error));
            return None;
        }
    }
    Some(Query::Pushed(counter))
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

fn freshness(
    raw: RawFreshness,
    demand: Option<&DemandSignal>,
    sources: SourceKinds,
    check: &mut Check<'_>,
) -> Option<String> {
    const KEY: &str = "signals.freshness.query";
    check.require(KEY, "needs PromQL whose value is an age in seconds");
    let promql = raw.query?;
    let knows_age = match (demand.map(|demand| &demand.query), sources.asked) {
        (Some(Query::Pushed(_)), _) | (_, None) => Some("source.otlp"),
        (_, Some(SourceKind::Scrape)) => Some("source.scrape"),
        (_, Some(SourceKind::Prometheus)) => None,
    };
    if let Some(source) = knows_age {
        check.fail(KEY, format_args!("{source} knows the age of its samples; leave freshness out"));
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
