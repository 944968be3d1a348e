//! One value of one query, for who judges by it: the same server that policies are read from, asked by itself.

use std::time::Duration;

use super::error::{QueryError, SourceError};
use super::prometheus::Instant;
use crate::config::{SourceConfig, Sources};
use crate::telemetry::metrics::Metrics;

/// Asks a Prometheus-compatible server for single values.
#[derive(Debug, Clone)]
pub struct Asker {
    instant: Instant,
    timeout: Duration,
}

impl Asker {
    /// Of the configured server; `None` where the source is another one.
    ///
    /// # Errors
    /// Its settings cannot be used.
    pub fn new(config: &Sources, metrics: Metrics) -> Result<Option<Self>, SourceError> {
        let Some(SourceConfig::Prometheus(config)) = &config.asked else { return Ok(None) };
        Ok(Some(Self { instant: Instant::new(config, metrics)?, timeout: config.timeout }))
    }

    /// The value of a query that has one: a scalar, or a vector of one series. `None` where it has none, or several.
    ///
    /// # Errors
    /// The server did not answer in time, or refused.
    pub async fn value(&self, promql: &str) -> Result<Option<f64>, QueryError> {
        let asked = tokio::time::timeout(self.timeout, self.instant.value(promql));
        asked.await.unwrap_or(Err(QueryError::Timeout(self.timeout)))
    }
}
