//! What goes wrong at a source, once at start and at every poll. Each kind is bounded, so that it can be a label.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// A source cannot be built from its configuration.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The URL is not one that can be asked.
    #[error("{url}: {why}")]
    Url {
        /// As configured, without credentials.
        url: String,
        /// What is wrong, and what to do.
        why: &'static str,
    },
    /// A file of `tls` cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file of `tls` is not what it should be.
    #[error("{} holds no usable {what} in PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// `certificate`, or `certificate and private key`.
        what: &'static str,
        /// Why; absent where the file merely holds none.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// The HTTP client cannot be built.
    #[error("cannot build the HTTP client; where the system has no CA store, name one with `tls.ca_file`")]
    Client(#[source] reqwest::Error),
    /// The API client refused its base URL.
    #[error("cannot use {url} as the base of a Prometheus API")]
    Base {
        /// As configured, without credentials.
        url: String,
        /// Why.
        #[source]
        source: prometheus_http_query::Error,
    },
}

/// One policy's signals could not be read at one poll. The next tick is the retry.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// No connection, or it broke.
    #[error("the source is unreachable")]
    Unreachable(#[source] Option<Box<dyn std::error::Error + Send + Sync>>),
    /// No whole answer within the time allowed.
    #[error("no whole answer within {0:?}")]
    Timeout(Duration),
    /// An answer with a status other than 200.
    #[error("the source answered with status {status}: {message}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// The start of what came with it.
        message: String,
    },
    /// The server evaluated the query and refused it.
    #[error("the server refused the query: {0}")]
    Refused(String),
    /// More bytes, series or rows than are read.
    #[error("the answer has more than {max} {what}; {advice}")]
    TooLarge {
        /// The bound.
        max: usize,
        /// Of what: `bytes`, `series`, `rows`.
        what: &'static str,
        /// What to do about it.
        advice: &'static str,
    },
    /// The body is not what was asked for.
    #[error("the answer is not {expected}: {detail}")]
    Malformed {
        /// What was expected.
        expected: &'static str,
        /// Where it went wrong.
        detail: String,
    },
    /// The query's result cannot be a rate: a string, or a range where an instant was asked.
    #[error("the query's result is a {found}, wanted {wanted}")]
    WrongType {
        /// What came.
        found: String,
        /// What can be used.
        wanted: &'static str,
    },
    /// An expression that only a server can evaluate, asked of the embedded scraper.
    #[error(
        "`{query}` is refused on `scrape`: only `sum [by (…)] (rate(counter[window]))` can be read without a server"
    )]
    NeedsServer {
        /// The query.
        query: String,
    },
    /// Demand that was pushed counts spans after sampling.
    #[error(
        "{metric} is made of sampled spans, so as demand it would fall with the probability that it sets: push the \
         services' own request metrics, or set `adjusted: true` on the policy's demand"
    )]
    Sampled {
        /// The metric.
        metric: String,
    },
    /// A matcher's regular expression.
    #[error("the matcher {matcher} is no regular expression")]
    Matcher {
        /// The matcher.
        matcher: String,
        /// Why.
        #[source]
        source: Box<regex::Error>,
    },
    /// The token or password file.
    #[error("cannot read the credentials in {}", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl QueryError {
    /// The kind, as a metric's label.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Timeout(_) => "timeout",
            Self::Status { .. } => "status",
            Self::Refused(_) => "refused",
            Self::TooLarge { .. } => "too_large",
            Self::Malformed { .. } => "malformed",
            Self::WrongType { .. } => "wrong_type",
            Self::NeedsServer { .. } | Self::Matcher { .. } | Self::Sampled { .. } => "rejected",
            Self::Credentials { .. } => "credentials",
        }
    }

    pub(super) fn too_large(max: usize, what: &'static str, advice: &'static str) -> Self {
        Self::TooLarge { max, what, advice }
    }

    pub(super) fn credentials(path: &Path, source: std::io::Error) -> Self {
        Self::Credentials { path: path.to_owned(), source }
    }
}
