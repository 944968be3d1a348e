//! The one place where a policy's PromQL meets the reader of PromQL.

use std::time::Duration;

use promql_parser::label::{MatchOp as Op, Matchers};
use promql_parser::parser::{self, Expr, LabelModifier, token};

use crate::source::{Counter, MatchOp, Matcher, Query};

/// A counter where `promql` is `sum [by (L)] (rate(SELECTOR[W]))`, else opaque.
///
/// # Errors
/// Says what is wrong with the expression.
pub(super) fn recognise(promql: &str) -> Result<Query, String> {
    let expression = parser::parse(promql).map_err(|error| error.trim().to_owned())?;
    Ok(counter(&expression)
        .map(Query::Counter)
        .unwrap_or_else(|| Query::Opaque { promql: promql.to_owned(), window: window(&expression) }))
}

/// A counter's name, labels and regexes, by the rules of PromQL.
///
/// # Errors
/// Says what is wrong with the selector.
pub(super) fn check_selector(metric: &str, matchers: &[Matcher]) -> Result<(), String> {
    let operator = |op: MatchOp| match op {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Regex => "=~",
        MatchOp::NotRegex => "!~",
    };
    let matcher = |m: &Matcher| format!("{}{}{:?}", m.label, operator(m.op), m.value);
    let selector = format!("{metric}{{{}}}", matchers.iter().map(matcher).collect::<Vec<_>>().join(","));
    parser::parse(&selector).map(|_| ()).map_err(|error| error.trim().to_owned())
}

fn counter(expression: &Expr) -> Option<Counter> {
    let Expr::Aggregate(sum) = expression else { return None };
    if sum.op.id() != token::T_SUM || sum.param.is_some() {
        return None;
    }
    let by = match &sum.modifier {
        None => Vec::new(),
        Some(LabelModifier::Include(labels)) => labels.labels.clone(),
        Some(LabelModifier::Exclude(_)) => return None,
    };
    let Expr::Call(call) = unwrap(&sum.expr) else { return None };
    let [argument] = call.args.args.as_slice() else { return None };
    let Expr::MatrixSelector(matrix) = unwrap(argument) else { return None };
    let selector = &matrix.vs;
    if call.func.name != "rate" || selector.offset.is_some() || selector.at.is_some() {
        return None;
    }
    Some(Counter { metric: selector.name.clone()?, matchers: matchers(&selector.matchers)?, by, window: matrix.range })
}

fn unwrap(expression: &Expr) -> &Expr {
    match expression {
        Expr::Paren(paren) => unwrap(&paren.expr),
        other => other,
    }
}

fn matchers(written: &Matchers) -> Option<Vec<Matcher>> {
    if !written.or_matchers.is_empty() {
        return None;
    }
    let matcher = |m: &promql_parser::label::Matcher| {
        let op = match &m.op {
            Op::Equal => MatchOp::Equal,
            Op::NotEqual => MatchOp::NotEqual,
            Op::Re(_) => MatchOp::Regex,
            Op::NotRe(_) => MatchOp::NotRegex,
        };
        Matcher { label: m.name.clone(), op, value: m.value.clone() }
    };
    Some(written.matchers.iter().map(matcher).collect())
}

/// The longest range in the expression.
fn window(expression: &Expr) -> Duration {
    match expression {
        Expr::MatrixSelector(matrix) => matrix.range,
        Expr::Subquery(sub) => sub.range.max(window(&sub.expr)),
        Expr::Aggregate(aggregate) => window(&aggregate.expr),
        Expr::Unary(unary) => window(&unary.expr),
        Expr::Paren(paren) => window(&paren.expr),
        Expr::Binary(binary) => window(&binary.lhs).max(window(&binary.rhs)),
        Expr::Call(call) => call.args.args.iter().map(|arg| window(arg)).max().unwrap_or_default(),
        _ => Duration::ZERO,
    }
}
