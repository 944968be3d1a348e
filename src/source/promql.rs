//! Which queries can be read better than by asking for their value.
//!
//! `sum by (L) (rate(SELECTOR[W]))` evaluated by the server hides how old its samples are, delays by W, and never shows
//! a counter's first increment. The same sentence names a counter, and a counter can be read raw. So the form is
//! recognised, in any of its spellings, and everything else that parses stays opaque. `increase` differs from `rate` by
//! the constant W only and is read as the same counter, in units a second.
//!
//! Limits: one metric by its exact name, no `offset`, no `@`, no `or` between matchers; the parser gives no positions,
//! so that an error's column is where the longest prefix ends that can be understood.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use promql_parser::label::{METRIC_NAME, MatchOp as ParsedOp};
use promql_parser::parser::token::T_SUM;
use promql_parser::parser::{AggregateExpr, Expr, LabelModifier, MatrixSelector, VectorSelector, parse};

use super::signals::{Counter, MatchOp, Matcher, Query};

/// Longest expression. The parser's trees are walked by recursion: this bounds its depth.
const LENGTH_MAX_BYTES: usize = 4096;
/// Deepest nesting of brackets.
const DEPTH_MAX: usize = 64;
/// Prefixes tried to place an error.
const PREFIXES_MAX: usize = 200;

/// Why an expression is not PromQL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not PromQL from column {column} on: {message}")]
pub struct PromqlError {
    /// Counted in characters, from 1.
    pub column: usize,
    /// What the parser said.
    pub message: String,
}

/// Reads an expression: a [`Query::Counter`] where the form is recognised, [`Query::Opaque`] for all else that parses.
pub fn recognise(promql: &str) -> Result<Query, PromqlError> {
    check_size(promql)?;
    let expression =
        parse_safely(promql).map_err(|message| PromqlError { column: column_of_error(promql), message })?;
    Ok(counter(&expression).map_or_else(
        || Query::Opaque { promql: promql.trim().to_owned(), window: longest_range(&expression) },
        Query::Counter,
    ))
}

/// The metrics that an expression names, as far as it names them exactly; none where it is not PromQL.
pub fn metrics_of(promql: &str) -> Vec<String> {
    let mut metrics = Vec::new();
    if let Some(expression) = check_size(promql).ok().and_then(|()| parse_safely(promql).ok()) {
        name_metrics(&expression, &mut metrics);
    }
    metrics
}

fn check_size(promql: &str) -> Result<(), PromqlError> {
    if promql.len() > LENGTH_MAX_BYTES {
        let message = format!("longer than {LENGTH_MAX_BYTES} bytes; put it into a recording rule");
        return Err(PromqlError { column: promql.chars().count(), message });
    }
    let mut depth = 0usize;
    for (at, c) in promql.chars().enumerate() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            let message = format!("more than {DEPTH_MAX} brackets within each other");
            return Err(PromqlError { column: at + 1, message });
        }
    }
    Ok(())
}

/// The parser panics on some numbers that are no durations (`a[1e99]`): that is an error of the expression as well.
fn parse_safely(promql: &str) -> Result<Expr, String> {
    catch_unwind(AssertUnwindSafe(|| parse(promql))).unwrap_or_else(|_| Err("a number out of range".to_owned()))
}

/// The end of the longest prefix that parses once its open brackets are closed.
fn column_of_error(promql: &str) -> usize {
    let mut ends = token_ends(promql);
    ends.truncate(PREFIXES_MAX);
    let understood = ends.into_iter().rev().find(|(end, closers)| {
        let prefix = format!("{}{closers}", &promql[..*end]);
        prefix != promql && parse_safely(&prefix).is_ok()
    });
    understood.map_or(1, |(end, _)| {
        let rest = &promql[end..];
        let blank = rest.chars().take_while(|c| c.is_whitespace()).count();
        promql[..end].chars().count() + blank + 1
    })
}

/// Where words and brackets end outside strings, each with what would close the brackets open there.
fn token_ends(promql: &str) -> Vec<(usize, String)> {
    let (mut ends, mut open, mut quote) = (Vec::new(), Vec::new(), None);
    let mut chars = promql.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (Some('"' | '\''), '\\') => drop(chars.next()),
            (Some(q), c) if q == c => quote = None,
            (Some(_), _) => continue,
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '(') => open.push(')'),
            (None, '[') => open.push(']'),
            (None, '{') => open.push('}'),
            (None, ')' | ']' | '}') => drop(open.pop()),
            _ => {}
        }
        let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '.');
        let ends_here = !is_word(c) || chars.peek().is_none_or(|(_, next)| !is_word(*next));
        if quote.is_none() && ends_here {
            ends.push((at + c.len_utf8(), open.iter().rev().collect()));
        }
    }
    ends
}

fn counter(expression: &Expr) -> Option<Counter> {
    let Expr::Aggregate(AggregateExpr { op, expr, param: None, modifier }) = without_parentheses(expression) else {
        return None;
    };
    let by = match modifier {
        None => Vec::new(),
        Some(LabelModifier::Include(labels)) => labels.labels.clone(),
        Some(LabelModifier::Exclude(_)) => return None,
    };
    let Expr::Call(call) = without_parentheses(expr) else { return None };
    let [argument] = call.args.args.as_slice() else { return None };
    let Expr::MatrixSelector(MatrixSelector { vs, range }) = without_parentheses(argument) else { return None };
    let is_rate = op.id() == T_SUM && matches!(call.func.name, "rate" | "increase");
    let (metric, matchers) = selected(vs).filter(|_| is_rate)?;
    Some(Counter { metric, matchers, by, window: *range })
}

/// One metric by its exact name, and the conditions on its other labels.
fn selected(selector: &VectorSelector) -> Option<(String, Vec<Matcher>)> {
    if selector.offset.is_some() || selector.at.is_some() || !selector.matchers.or_matchers.is_empty() {
        return None;
    }
    let mut metric = selector.name.clone();
    let mut matchers = Vec::new();
    for matcher in &selector.matchers.matchers {
        match (&matcher.op, matcher.name.as_str()) {
            (ParsedOp::Equal, METRIC_NAME) if metric.as_ref().is_none_or(|m| *m == matcher.value) => {
                metric = Some(matcher.value.clone());
            }
            (_, METRIC_NAME) => return None,
            (op, label) => {
                matchers.push(Matcher { label: label.to_owned(), op: match_op(op), value: matcher.value.clone() });
            }
        }
    }
    let are_ours = matchers.iter().all(|m| m.compile().is_ok());
    metric.filter(|m| !m.is_empty() && are_ours).map(|m| (m, matchers))
}

fn match_op(op: &ParsedOp) -> MatchOp {
    match op {
        ParsedOp::Equal => MatchOp::Equal,
        ParsedOp::NotEqual => MatchOp::NotEqual,
        ParsedOp::Re(_) => MatchOp::Regex,
        ParsedOp::NotRe(_) => MatchOp::NotRegex,
    }
}

fn without_parentheses(mut expression: &Expr) -> &Expr {
    while let Expr::Paren(inner) = expression {
        expression = &inner.expr;
    }
    expression
}

fn name_metrics(expression: &Expr, metrics: &mut Vec<String>) {
    match expression {
        Expr::Aggregate(e) => {
            name_metrics(&e.expr, metrics);
            e.param.iter().for_each(|parameter| name_metrics(parameter, metrics));
        }
        Expr::Unary(e) => name_metrics(&e.expr, metrics),
        Expr::Paren(e) => name_metrics(&e.expr, metrics),
        Expr::Binary(e) => {
            name_metrics(&e.lhs, metrics);
            name_metrics(&e.rhs, metrics);
        }
        Expr::Subquery(e) => name_metrics(&e.expr, metrics),
        Expr::MatrixSelector(e) => metrics.extend(name_of(&e.vs)),
        Expr::VectorSelector(e) => metrics.extend(name_of(e)),
        Expr::Call(e) => e.args.args.iter().for_each(|argument| name_metrics(argument, metrics)),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
    }
}

/// By its name, or by `{__name__="..."}`.
fn name_of(selector: &VectorSelector) -> Option<String> {
    let is_name = |m: &&promql_parser::label::Matcher| m.name == METRIC_NAME && m.op == ParsedOp::Equal;
    selector.name.clone().or_else(|| selector.matchers.matchers.iter().find(is_name).map(|m| m.value.clone()))
}

fn longest_range(expression: &Expr) -> Duration {
    let longest = |a: &Expr, b: &Expr| longest_range(a).max(longest_range(b));
    match expression {
        Expr::Aggregate(e) => e.param.as_ref().map_or_else(|| longest_range(&e.expr), |p| longest(&e.expr, p)),
        Expr::Unary(e) => longest_range(&e.expr),
        Expr::Paren(e) => longest_range(&e.expr),
        Expr::Binary(e) => longest(&e.lhs, &e.rhs),
        // A range over ranges looks back by the sum of both.
        Expr::Subquery(e) => longest_range(&e.expr).saturating_add(e.range),
        Expr::MatrixSelector(e) => e.range,
        Expr::Call(e) => e.args.args.iter().map(|a| longest_range(a)).max().unwrap_or_default(),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::VectorSelector(_) | Expr::Extension(_) => {
            Duration::ZERO
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn recognised(promql: &str) -> Counter {
        match recognise(promql) {
            Ok(Query::Counter(counter)) => counter,
            other => panic!("{promql}: {other:?}"),
        }
    }

    #[test]
    fn every_spelling_of_a_summed_rate_is_the_same_counter() {
        let expected = recognised(r#"sum by (service, operation) (rate(r_total{job="shop"}[1m]))"#);
        assert_eq!(expected.selector(), r#"r_total{job="shop"}"#);
        assert_eq!((expected.by.len(), expected.window), (2, Duration::from_secs(60)));
        for other in [
            r#"sum(rate(r_total{job="shop"}[1m])) by (service, operation)"#,
            r#"sum by(service,operation)(increase(r_total{job='shop'}[60s]))"#,
            r#"((sum by (service, operation) ((rate((r_total{job="shop"}[1m]))))))"#,
            r#"sum by (service, operation) (rate({__name__="r_total", job="shop"}[1m]))"#,
            r#"sum by (service, operation) (rate({"r_total", job="shop"}[1m]))"#,
            "sum by (service, operation) (\n  rate(r_total{job=\"shop\"}[1m]) # comment\n)",
        ] {
            assert_eq!(recognised(other), expected, "{other}");
        }
    }

    #[test]
    fn what_only_a_server_can_evaluate_is_opaque_with_its_longest_range() {
        let table = [
            ("sum(rate(a[1m] offset 5m))", 60),
            ("sum(rate(a[1m] @ 1700000000))", 60),
            ("sum without (pod) (rate(a[1m]))", 60),
            ("avg(rate(a[2m]))", 120),
            ("sum(irate(a[1m]))", 60),
            ("sum(rate(a[1m])) + sum(rate(b[5m]))", 300),
            ("rate(a[1m])", 60),
            (r#"sum(rate({__name__=~"a|b"}[1m]))"#, 60),
            ("max_over_time(sum(rate(a[1m]))[10m:])", 660),
            ("topk(3, sum by (x) (rate(a[30s])))", 30),
            ("time()", 0),
            ("a", 0),
        ];
        for (promql, seconds) in table {
            let window = Duration::from_secs(seconds);
            assert_eq!(recognise(promql), Ok(Query::Opaque { promql: promql.to_owned(), window }), "{promql}");
        }
    }

    #[test]
    fn every_metric_of_an_expression_is_named() {
        let table: [(&str, &[&str]); 5] = [
            ("sum(rate(a[1m])) + on() (sum(rate(b[5m])) or vector(0))", &["a", "b"]),
            (r#"max_over_time(sum(rate({__name__="c"}[1m]))[10m:])"#, &["c"]),
            ("-topk(scalar(d), sum by (e) (f))", &["f", "d"]),
            ("time()", &[]),
            ("sum(", &[]),
        ];
        for (promql, expected) in table {
            assert_eq!(metrics_of(promql), expected, "{promql}");
        }
    }

    #[test]
    fn an_error_points_to_where_understanding_ends() {
        let table = [
            ("sum(rate(a[1m])", 16),
            ("sum(rate(a[1m])) by", 18),
            ("sum(rate(a[1m]) x)", 17),
            ("a{job=}", 3),
            ("", 1),
            ("a +", 3),
        ];
        for (promql, column) in table {
            assert_eq!(recognise(promql).map_err(|e| e.column), Err(column), "{promql}");
        }
    }

    #[test]
    fn selectors_survive_the_way_back() {
        for promql in [r#"sum(rate(a{p=~"\\d+\"x",q!="é\n"}[1m]))"#, r#"sum(rate({"http.requests"}[1m]))"#] {
            let counter = recognised(promql);
            assert_eq!(recognised(&counter.rate_expression()), counter, "{promql}");
        }
    }

    #[test]
    fn hostile_sizes_are_refused() {
        for hostile in ["(".repeat(4000), "-".repeat(5000), format!("a{}", "+a".repeat(3000)), "a[1e99]".to_owned()] {
            assert!(recognise(&hostile).is_err());
        }
        let _ = recognise(&format!("{}a", "-".repeat(LENGTH_MAX_BYTES - 1)));
        let _ = recognise(&format!("a{}", "+a".repeat(LENGTH_MAX_BYTES / 2 - 1)));
    }

    proptest! {
        #[test]
        fn no_input_panics(promql in "[a-z(){}\\[\\]\"'`=~!,.0-9é @+*/ -]{0,40}") {
            let _ = recognise(&promql);
        }
    }
}
