//! One question to a Jaeger remote-sampling endpoint.

use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::{MESSAGE_BYTES_MAX, Target};
use crate::jaeger::{self, AnswerError};
use crate::strategy::{Strategy, StrategyError};

/// Why there is no strategy.
#[derive(Debug, thiserror::Error)]
pub(super) enum PollError {
    #[error("the polling endpoint's URL cannot carry the service's name")]
    Address(#[source] hyper::http::Error),
    #[error("cannot ask {uri}")]
    Request {
        uri: Uri,
        #[source]
        source: hyper_util::client::legacy::Error,
    },
    #[error("{uri} answered {status}")]
    Status { uri: Uri, status: StatusCode },
    #[error("the body of {uri} breaks off or is longer than {MESSAGE_BYTES_MAX} bytes")]
    Body {
        uri: Uri,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("no answer from {uri} within {patience:?}")]
    Silent { uri: Uri, patience: Duration },
    #[error("{uri} does not tell a strategy")]
    Answer {
        uri: Uri,
        #[source]
        source: AnswerError,
    },
    #[error("the polled strategy is refused")]
    Refused(#[source] StrategyError),
}

/// The strategy of the target's service, at `generation`, because polled answers carry none.
pub(super) async fn poll(target: &Target, generation: u64) -> Result<Strategy, PollError> {
    let uri = address(&target.polling, &target.service).map_err(PollError::Address)?;
    let patience = target.timing.patience;
    let body = match tokio::time::timeout(patience, get(&uri)).await {
        Ok(body) => body?,
        Err(_) => return Err(PollError::Silent { uri, patience }),
    };
    jaeger::parse(&body, generation).map_err(|source| PollError::Answer { uri, source })
}

/// A connection a poll: once a minute is too seldom to keep one.
async fn get(uri: &Uri) -> Result<Bytes, PollError> {
    let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http::<Empty<Bytes>>();
    let failed = |source| PollError::Request { uri: uri.clone(), source };
    let response = client.get(uri.clone()).await.map_err(failed)?;
    if response.status() != StatusCode::OK {
        return Err(PollError::Status { uri: uri.clone(), status: response.status() });
    }
    let cut = |source| PollError::Body { uri: uri.clone(), source };
    Ok(Limited::new(response.into_body(), MESSAGE_BYTES_MAX).collect().await.map_err(cut)?.to_bytes())
}

/// `endpoint` with `service=…` in its query.
fn address(endpoint: &Uri, service: &str) -> Result<Uri, hyper::http::Error> {
    let separator = if endpoint.query().is_some() { '&' } else { '?' };
    let path_and_query = endpoint.path_and_query().map_or("/", |path| path.as_str());
    let mut parts = endpoint.clone().into_parts();
    parts.path_and_query = Some(format!("{path_and_query}{separator}service={}", percent_encoded(service)).parse()?);
    Ok(Uri::from_parts(parts)?)
}

/// All but the unreserved characters (RFC 3986, section 2.3).
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_services_name_is_encoded_into_the_query() {
        let plain = "http://h:1/sampling".parse().expect("a URL");
        let with_query = "http://h/s?a=b".parse().expect("a URL");
        let bare = "http://h".parse().expect("a URL");
        for (endpoint, service, expected) in [
            (&plain, "shop", "http://h:1/sampling?service=shop"),
            (&plain, "a b/ü&c=d", "http://h:1/sampling?service=a%20b%2F%C3%BC%26c%3Dd"),
            (&with_query, "shop", "http://h/s?a=b&service=shop"),
            (&bare, "shop", "http://h/?service=shop"),
        ] {
            assert_eq!(address(endpoint, service).expect(expected).to_string(), expected);
        }
    }
}
