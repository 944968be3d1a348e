//! One message over HTTP: bounded in time, and what came of it as a kind.

use std::time::Duration;

use http::HeaderMap;
use reqwest::Client;
use url::Url;

use crate::source::error::QueryError;

/// How much of a refusal's body is told in the log.
const TOLD_MAX: usize = 256;

/// A message was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// No connection, no answer, or one that is none.
    #[error("nobody took it")]
    Unreachable(#[source] reqwest::Error),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// An answer that may be another one the next time.
    #[error("status {0}")]
    Status(u16),
    /// The receiver will never take this message.
    #[error("status {status}: {told}")]
    Rejected {
        /// 400, 413 or 422.
        status: u16,
        /// The start of what it said.
        told: String,
    },
    /// The secret or the credentials cannot be read.
    #[error("its credentials cannot be used")]
    Credentials(#[source] QueryError),
}

impl SendError {
    /// For the metric.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Timeout(_) => "timeout",
            Self::Status(_) => "status",
            Self::Rejected { .. } => "rejected",
            Self::Credentials(_) => "credentials",
        }
    }

    /// Whether to send it again is in vain.
    pub(super) const fn is_final(&self) -> bool {
        matches!(self, Self::Rejected { .. })
    }
}

/// Posts a JSON body.
pub(super) async fn post(
    client: &Client,
    url: &Url,
    headers: HeaderMap,
    body: Vec<u8>,
    timeout: Duration,
) -> Result<(), SendError> {
    let request = client.post(url.clone()).headers(headers).header("content-type", "application/json").body(body);
    let exchange = async {
        // A webhook's URL may be a secret: who reads the log or the API need not know it.
        let unreachable = |error: reqwest::Error| SendError::Unreachable(error.without_url());
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status().as_u16();
        match status {
            200..=299 => Ok(()),
            400 | 413 | 422 => {
                let start = response.chunk().await.ok().flatten().unwrap_or_default();
                let told = String::from_utf8_lossy(&start[..start.len().min(TOLD_MAX)]).into_owned();
                Err(SendError::Rejected { status, told })
            }
            status => Err(SendError::Status(status)),
        }
    };
    tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(SendError::Timeout(timeout)))
}
