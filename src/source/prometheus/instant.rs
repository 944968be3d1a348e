//! Single values, for who judges by them.

use super::answer::{QueryResult, decode};
use super::client::Client;
use crate::config::PrometheusConfig;
use crate::source::error::{QueryError, SourceError};
use crate::telemetry::metrics::Metrics;

/// Asks instant queries.
#[derive(Clone)]
pub(in crate::source) struct Instant(Client);

impl std::fmt::Debug for Instant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Instant").finish()
    }
}

impl Instant {
    /// Of this server. Nothing is asked yet.
    ///
    /// # Errors
    /// The settings cannot be used.
    pub(in crate::source) fn new(config: &PrometheusConfig, metrics: Metrics) -> Result<Self, SourceError> {
        Client::new(config, metrics).map(Self)
    }

    /// The query's value: a scalar, or that of the one series; `None` where there is none, or there are several.
    ///
    /// # Errors
    /// The server did not answer, or refused.
    pub(in crate::source) async fn value(&self, promql: &str) -> Result<Option<f64>, QueryError> {
        let body = self.0.query(promql).await?;
        let value = decode(&body, None).map(|answer| match answer.result {
            QueryResult::Scalar(point) => Some(point.1),
            QueryResult::Vector(rows) => match &rows[..] {
                [row] => row.value.map(|point| point.1),
                _ => None,
            },
            QueryResult::Matrix(_) | QueryResult::Text => None,
        });
        self.0.note(&value);
        value
    }
}
