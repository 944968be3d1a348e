//! Asks a policy's queries once and says how each is read, for `check --online`.

use super::answer::{QueryResult, decode};
use super::client::Client;
use super::signal::count;
use crate::source::error::QueryError;
use crate::source::report::{OnlineQuery, OnlineReading, OnlineReport, OnlineResult};
use crate::source::signals::{Counter, Query, Signals};

/// Longest sample that is shown.
const SAMPLE_MAX_CHARS: usize = 200;

pub(super) async fn ask(client: &Client, signals: &Signals, raw_series_max: usize) -> OnlineReport {
    let mut queries = Vec::with_capacity(4);
    for (signal, query) in signals.queries() {
        let mut report = match query {
            Query::Pushed(_) => continue,
            Query::Counter(counter) => ask_counter(client, signal, counter, raw_series_max).await,
            Query::Opaque { promql, .. } => ask_opaque(client, signal, promql).await,
        };
        let has_age = signals.freshness.is_some() || matches!(query, Query::Counter(_));
        if signal == "demand" && !has_age {
            report.hints.push(
                "Nothing tells how old this query's samples are: add `freshness: {query: 'time() - max(timestamp(…))'}`."
                    .to_owned(),
            );
        }
        queries.push(report);
    }
    if let Some(promql) = &signals.freshness {
        queries.push(ask_opaque(client, "freshness", promql).await);
    }
    OnlineReport { queries }
}

async fn ask_counter(client: &Client, signal: &'static str, counter: &Counter, raw_series_max: usize) -> OnlineQuery {
    let selector = counter.selector();
    let result = async {
        let series = count(client, counter).await? as usize;
        // One series is enough to show, however many there are.
        let shown = answered(client, &format!("topk(1, {selector})")).await?;
        Ok::<_, QueryError>(OnlineResult { series, ..shown })
    };
    let result = result.await;
    let series = result.as_ref().map_or(0, |r| r.series);
    let reading = if series > raw_series_max { OnlineReading::ServerRate } else { OnlineReading::Raw };
    let mut hints = absent(&result);
    if reading == OnlineReading::ServerRate {
        hints.push(format!(
            "{series} series are more than `raw_series_max` ({raw_series_max}): the window of {:?} delays each decision \
             and the first increments are not seen. A recording rule makes it cheap: {{record: flyball:{signal}:rate, \
             expr: '{}'}}.",
            counter.window,
            counter.rate_expression(),
        ));
    }
    OnlineQuery { signal, promql: counter.rate_expression(), reading, result, hints }
}

async fn ask_opaque(client: &Client, signal: &'static str, promql: &str) -> OnlineQuery {
    let result = answered(client, promql).await;
    let hints = absent(&result);
    OnlineQuery { signal, promql: promql.to_owned(), reading: OnlineReading::Opaque, result, hints }
}

async fn answered(client: &Client, promql: &str) -> Result<OnlineResult, QueryError> {
    let body = client.query(promql).await?;
    let answer = decode(&body, None)?;
    let (series, sample) = match &answer.result {
        QueryResult::Vector(rows) => {
            let text = |metric: &str, value: f64| format!("{metric} {value}");
            let sample = rows.first().map(|row| text(row.metric, row.value.map_or(f64::NAN, |p| p.1)));
            (rows.len(), sample)
        }
        QueryResult::Scalar(point) => (1, Some(point.1.to_string())),
        other => return Err(super::rates::wrong_type(other, "a vector or a scalar")),
    };
    let sample = sample.map(|s| s.chars().take(SAMPLE_MAX_CHARS).collect());
    Ok(OnlineResult { series, sample, warnings: answer.warnings })
}

fn absent(result: &Result<OnlineResult, QueryError>) -> Vec<String> {
    let is_absent = result.as_ref().is_ok_and(|r| r.series == 0);
    let hint = "No series: a counter that has not counted yet may be absent, a misspelt name always is.";
    if is_absent { vec![hint.to_owned()] } else { Vec::new() }
}
