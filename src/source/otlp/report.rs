//! What comes within a few seconds, for `check --online`. The port may be another process's, most likely the running
//! Flyball's: that is said, and is no failure.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::OtlpSource;
use super::parcel::{Parcel, Wanted};
use super::policy::Counter;
use crate::source::labels::Grouping;
use crate::source::report::{OnlineQuery, OnlineReading, OnlineReport, OnlineResult};
use crate::source::signals::{Query, Signals};

/// SDKs that export more slowly are not waited for: nobody would wait a minute for a check.
const WAIT_MAX: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(100);

/// What was heard for all policies that are asked about.
#[derive(Debug, Default)]
pub(super) struct Online {
    listening: Option<Listening>,
    heard: Vec<Parcel>,
}

#[derive(Debug)]
struct Listening {
    until: Instant,
    /// Why nothing can be heard.
    failure: Option<String>,
    _stop: Option<DropGuard>,
}

pub(super) async fn ask(source: &mut OtlpSource, signals: &Arc<Signals>) -> OnlineReport {
    let mut counters: Vec<(&'static str, Counter)> = counters(signals);
    // Of every policy: one request may hold the points of all.
    let wanted = source.inbox.wanted();
    let mut all: Vec<_> = counters.iter().map(|(_, counter)| counter.wanted()).collect();
    all.extend(wanted.0.iter().cloned());
    source.inbox.want(Wanted(all));
    let listening = source.online.listening.take().unwrap_or_else(|| listen(source));
    let until = source.online.listening.insert(listening).until;
    loop {
        let new = source.inbox.take();
        source.online.heard.extend(new);
        let has_all = counters.iter_mut().all(|(_, counter)| found(counter, &source.online.heard).series > 0);
        if has_all || Instant::now() >= until {
            break;
        }
        sleep(LOOK).await;
    }
    let hints = hints(source);
    let heard = &source.online.heard;
    let queries = counters.iter_mut().map(|(signal, counter)| query(signal, counter, heard, &hints));
    OnlineReport { queries: queries.collect() }
}

fn counters(signals: &Signals) -> Vec<(&'static str, Counter)> {
    let grouping =
        |signal: &str| if signal == "demand" { Grouping::of_demand(&signals.demand) } else { Grouping::Total };
    let refuses_spans = |signal: &str| signal == "demand" && !signals.demand.is_adjusted;
    let pushed = signals.queries().into_iter().filter_map(|(signal, query): (&'static str, &Query)| {
        Some((signal, Counter::new(query, grouping(signal), refuses_spans(signal))?))
    });
    pushed.collect()
}

/// Binds and answers until the source is dropped.
fn listen(source: &OtlpSource) -> Listening {
    match source.listen() {
        Ok(receiver) => {
            let stop = CancellationToken::new();
            tokio::spawn(receiver.run(stop.clone()));
            Listening { until: Instant::now() + WAIT_MAX, failure: None, _stop: Some(stop.drop_guard()) }
        }
        Err(error) => {
            let failure = format!("{error}. If a Flyball runs there, `/status` and `/metrics` say what it is sent.");
            Listening { until: Instant::now(), failure: Some(failure), _stop: None }
        }
    }
}

fn query(signal: &'static str, counter: &mut Counter, heard: &[Parcel], hints: &[String]) -> OnlineQuery {
    let result = found(counter, heard);
    let hints = if result.series > 0 { Vec::new() } else { hints.to_vec() };
    OnlineQuery { signal, promql: counter.wanted().metric, reading: OnlineReading::Pushed, result: Ok(result), hints }
}

fn found(counter: &mut Counter, heard: &[Parcel]) -> OnlineResult {
    let (mut series, mut sample) = (HashSet::new(), None);
    for parcel in heard {
        if !counter.means(parcel) {
            continue;
        }
        for point in &parcel.points {
            let Some(labels) = counter.labels_of(parcel, point) else { continue };
            series.insert(counter.series(parcel, point));
            sample.get_or_insert_with(|| {
                let pairs: Vec<String> = labels.iter().map(|(label, value)| format!("{label}={value:?}")).collect();
                format!("{}{{{}}} {}", parcel.name, pairs.join(","), point.value)
            });
        }
    }
    OnlineResult { series: series.len(), sample, warnings: 0 }
}

/// What to say where nothing came.
fn hints(source: &OtlpSource) -> Vec<String> {
    if let Some(failure) = source.online.listening.as_ref().and_then(|listening| listening.failure.as_ref()) {
        return vec![failure.clone()];
    }
    let refused = source.door.refusals().into_iter();
    let mut hints: Vec<String> =
        refused.map(|(refusal, metric)| format!("Refused: {metric} {}.", refusal.advice())).collect();
    if hints.is_empty() {
        let (wait, address) = (WAIT_MAX.as_secs(), source.config.listen);
        hints.push(format!(
            "No point of it came to {address} within {wait} s: SDKs push every 60 s unless OTEL_METRIC_EXPORT_INTERVAL (in ms) \
             says otherwise; a misspelt name never comes."
        ));
    }
    hints
}
