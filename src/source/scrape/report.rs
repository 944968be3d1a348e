//! Scrapes once and says what each query finds, for `check --online`.

use super::exposition::{Line, parse};
use super::target::{Scraped, Target, labels_of};
use crate::error_chain::chain;
use crate::source::error::QueryError;
use crate::source::report::{OnlineQuery, OnlineReading, OnlineReport, OnlineResult};
use crate::source::selector::Selector;
use crate::source::signals::{Query, Signals};

pub(super) fn ask(signals: &Signals, targets: &[Target], scraped: &[Result<Scraped, QueryError>]) -> OnlineReport {
    let down: Vec<String> = targets.iter().zip(scraped).filter_map(|(t, s)| down(t, s.as_ref().err()?)).collect();
    let asked = signals.queries().into_iter().filter(|(_, query)| !query.is_pushed());
    let queries = asked.map(|(signal, query)| {
        let (promql, reading) = match query {
            Query::Counter(counter) | Query::Pushed(counter) => (counter.rate_expression(), OnlineReading::Raw),
            Query::Opaque { promql, .. } => (promql.clone(), OnlineReading::Opaque),
        };
        let result = Selector::new(query).and_then(|selector| find(&selector, targets, scraped));
        OnlineQuery { signal, promql, reading, result, hints: down.clone() }
    });
    OnlineReport { queries: queries.collect() }
}

fn down(target: &Target, error: &QueryError) -> Option<String> {
    Some(format!("{} cannot be scraped: {}.", target.instance, chain(error)))
}

fn find(
    selector: &Selector,
    targets: &[Target],
    scraped: &[Result<Scraped, QueryError>],
) -> Result<OnlineResult, QueryError> {
    if scraped.iter().all(Result::is_err) {
        return Err(super::all_down(scraped));
    }
    let mut found = OnlineResult { series: 0, sample: None, warnings: 0 };
    for (target, scraped) in targets.iter().zip(scraped).filter_map(|(t, s)| Some((t, s.as_ref().ok()?))) {
        let count = |line: Line<'_>| {
            if line.name == selector.metric && selector.matches(&labels_of(&line, &target.instance)) {
                found.series += 1;
                found.sample.get_or_insert_with(|| format!("{} {}", line.series, line.value));
            }
        };
        let parsed = parse(scraped.text().unwrap_or_default(), scraped.format, count);
        debug_assert!(parsed.is_ok(), "a scraped body was parsed when it came");
    }
    Ok(found)
}
