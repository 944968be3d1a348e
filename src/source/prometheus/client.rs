//! One question to a Prometheus-compatible API: paced, authenticated, bounded in time and in bytes.
//!
//! Answers come from a machine that may be slow, a proxy that wants a login, or something else altogether: each such
//! way to fail is an error with a kind, and none of them costs more memory than the bound. Redirects are refused,
//! because they would carry credentials to where nobody sent them, and proxies of the environment are not used.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use prometheus_http_query::{Client as Api, InstantQueryBuilder};

use super::answer;
use crate::config::{Auth, PrometheusConfig};
use crate::source::credentials::authorization;
use crate::source::error::{QueryError, SourceError};
use crate::source::http_body::{self, BodyLimit};
use crate::source::http_client;
use crate::telemetry::metrics::{Metrics, OutcomeLabels};

/// Longer queries go in the body of a POST: some proxies allow 2 KiB of URL, and percent-encoding triples.
const GET_MAX_BYTES: usize = 600;
/// How much of an error's body is read.
const ERROR_BODY_MAX_BYTES: usize = 4096;

/// Asks queries. Cheap to clone: clones share the connections and the pace.
#[derive(Clone)]
pub(super) struct Client {
    api: Api,
    auth: Option<Auth>,
    headers: HeaderMap,
    timeout: Duration,
    body_max_bytes: usize,
    pace: Arc<DefaultDirectRateLimiter>,
    metrics: Metrics,
}

impl Client {
    pub(super) fn new(config: &PrometheusConfig, metrics: Metrics) -> Result<Self, SourceError> {
        let http = http_client::build(&[&config.url], &config.tls)?;
        if config.url.query().is_some() {
            let url = http_client::without_credentials(&config.url);
            return Err(SourceError::Url { url, why: "must end with its path, without `?`" });
        }
        let base = config.url.as_str().trim_end_matches('/');
        let api = Api::from(http, base).map_err(|source| SourceError::Base { url: base.to_owned(), source })?;
        let quota = Quota::per_second(NonZeroU32::new(config.queries_per_second).unwrap_or(NonZeroU32::MIN));
        let mut headers: HeaderMap = config.headers.iter().cloned().collect();
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        Ok(Self {
            api,
            auth: config.auth.clone(),
            headers,
            timeout: config.timeout,
            body_max_bytes: config.body_max_bytes,
            pace: Arc::new(RateLimiter::direct(quota)),
            metrics,
        })
    }

    /// The body of a 200, not decoded yet: how such a query ended is for its reader to [note](Self::note).
    pub(super) async fn query(&self, promql: &str) -> Result<Bytes, QueryError> {
        let answer = tokio::time::timeout(self.timeout, self.paced(promql)).await;
        let answer = answer.unwrap_or(Err(QueryError::Timeout(self.timeout)));
        if answer.is_err() {
            note(&self.metrics, &answer);
        }
        answer
    }

    /// Notes what came of reading a body.
    pub(super) fn note<T>(&self, read: &Result<T, QueryError>) {
        note(&self.metrics, read);
    }

    async fn paced(&self, promql: &str) -> Result<Bytes, QueryError> {
        while let Err(too_early) = self.pace.check() {
            tokio::time::sleep(too_early.wait_time_from(DefaultClock::default().now())).await;
        }
        let request = self.request(promql).await?;
        let sent = if promql.len() <= GET_MAX_BYTES { request.get_raw().await } else { request.post_raw().await };
        let response = sent.map_err(|e| QueryError::Unreachable(Some(Box::new(e))))?;
        let limit = |max_bytes| BodyLimit { max_bytes, advice: "sum by fewer labels, or raise `body_max_bytes`" };
        match response.status().as_u16() {
            200 => http_body::read(response, limit(self.body_max_bytes)).await,
            status => {
                let body = http_body::read_start(response, ERROR_BODY_MAX_BYTES).await;
                Err(QueryError::Status { status, message: answer::error_message(&body) })
            }
        }
    }

    async fn request(&self, promql: &str) -> Result<InstantQueryBuilder, QueryError> {
        let timeout_ms = i64::try_from(self.timeout.as_millis()).unwrap_or(i64::MAX);
        let mut request = self.api.query(promql).timeout(timeout_ms);
        for (name, value) in &self.headers {
            request = request.header(name.clone(), value.clone());
        }
        if let Some(auth) = &self.auth {
            request = request.header(AUTHORIZATION, authorization(auth).await?);
        }
        Ok(request)
    }
}

/// Counts how one query ended. A login page with status 200 is no answer, so this is known only once a body was read.
pub(super) fn note<T>(metrics: &Metrics, ended: &Result<T, QueryError>) {
    let outcome = ended.as_ref().map_or_else(QueryError::kind, |_| "ok");
    metrics.source_queries.get_or_create(&OutcomeLabels { outcome }).inc();
}
