//! One target: fetched, bounded in time and bytes, and read only if its whole body can be.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use reqwest::Client;
use url::Url;

use super::exposition::{Format, Line, parse};
use crate::config::ScrapeConfig;
use crate::source::error::QueryError;
use crate::source::http_body::{self, BodyLimit};
use crate::source::labels::Labels;
use crate::source::targets::{TargetId, Targets};
use crate::telemetry::metrics::{Metrics, OutcomeLabels};
use crate::time::{Clock, MonoTime};

/// OpenMetrics first: its end mark tells a whole body from a cut one.
const ACCEPTED: &str = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

/// The `job` of series that name none themselves.
const JOB: &str = "scrape";

/// A metrics endpoint.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) url: Url,
    /// Host and port.
    pub(super) instance: String,
}

/// A body that parses.
#[derive(Debug)]
pub(super) struct Scraped {
    pub(super) at: MonoTime,
    pub(super) format: Format,
    body: Bytes,
}

impl Target {
    pub(super) fn new(url: &Url) -> Self {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        Self { url: url.clone(), instance: format!("{host}:{port}") }
    }

    /// As births see it: the endpoint, whatever its series say of themselves.
    pub(super) fn id(&self, targets: &Targets) -> Option<TargetId> {
        targets.id("", self.url.as_str())
    }

    /// Reads the endpoint once.
    pub(super) async fn scrape(
        &self,
        client: &Client,
        config: &ScrapeConfig,
        metrics: &Metrics,
        clock: &Clock,
    ) -> Result<Scraped, QueryError> {
        let fetched = tokio::time::timeout(config.timeout, self.fetch(client, config, clock)).await;
        let scraped = fetched.unwrap_or(Err(QueryError::Timeout(config.timeout)));
        let outcome = scraped.as_ref().map_or_else(QueryError::kind, |_| "ok");
        metrics.source_queries.get_or_create(&OutcomeLabels { outcome }).inc();
        scraped
    }

    async fn fetch(&self, client: &Client, config: &ScrapeConfig, clock: &Clock) -> Result<Scraped, QueryError> {
        let at = clock.now().mono;
        let request = client.get(self.url.clone()).header(ACCEPT, ACCEPTED);
        let response = request.send().await.map_err(http_body::unreachable)?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(QueryError::Status { status, message: format!("from {}", self.instance) });
        }
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let format = Format::of(content_type).ok_or_else(|| malformed(format!("a {}", content_type.unwrap_or("?"))))?;
        let advice = "expose fewer series, or raise `body_max_bytes`";
        let body = http_body::read(response, BodyLimit { max_bytes: config.body_max_bytes, advice }).await?;
        let scraped = Scraped { at, format, body };
        let checked = parse(scraped.text().ok_or_else(|| malformed("not UTF-8".to_owned()))?, format, drop);
        checked.map_err(|bad| malformed(format!("line {}: {}", bad.line, bad.why)))?;
        Ok(scraped)
    }
}

impl Scraped {
    /// The body; `None` if it is not UTF-8.
    pub(super) fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.body).ok()
    }
}

fn malformed(detail: String) -> QueryError {
    QueryError::Malformed { expected: "a text exposition of metrics", detail }
}

/// A line's labels and those that the target adds: `instance`, its host and port, and `job`. The line's own win.
pub(super) fn labels_of<'a>(line: &Line<'a>, instance: &'a str) -> Labels<'a> {
    let mut labels = line.labels();
    for (label, value) in [("instance", instance), ("job", JOB)] {
        if labels.get(label).is_empty() {
            labels.0.push((Cow::Borrowed(label), Cow::Borrowed(value)));
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::promql::recognise;
    use crate::source::selector::Selector;

    fn matches(query: &str, line: &str) -> bool {
        let selector = Selector::new(&recognise(query).expect("PromQL")).expect("a counter");
        let mut is_match = false;
        parse(line, Format::Prometheus, |line| is_match = selector.matches(&labels_of(&line, "host:1")))
            .expect("a line");
        is_match
    }

    #[test]
    fn matchers_mean_what_they_mean_in_promql() {
        let line = r#"a{x="one",y="two"} 1"#;
        let table = [
            (r#"x="one""#, true),
            (r#"x="on""#, false),
            (r#"x!="one""#, false),
            (r#"z="""#, true),
            (r#"z!="""#, false),
            (r#"x=~"on""#, false),
            (r#"x=~"on.|two""#, true),
            (r#"x!~"on""#, true),
            (r#"z=~".*""#, true),
            (r#"z=~".+""#, false),
            (r#"x="one",y="one""#, false),
            (r#"instance="host:1",job="scrape""#, true),
        ];
        for (matchers, expected) in table {
            assert_eq!(matches(&format!("sum(rate(a{{{matchers}}}[1m]))"), line), expected, "{matchers}");
        }
        assert!(matches(r#"sum(rate(a{job="own"}[1m]))"#, r#"a{job="own"} 1"#), "a series' own job wins");
    }
}
