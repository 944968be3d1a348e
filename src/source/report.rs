//! What `check --online` tells of a policy's queries, as plain values.

use super::error::QueryError;

/// One policy's queries, each asked once.
#[derive(Debug)]
pub struct OnlineReport {
    /// `demand`, `received`, `dropped` and, where there is one, `freshness`.
    pub queries: Vec<OnlineQuery>,
}

/// One query and what came of it.
#[derive(Debug)]
pub struct OnlineQuery {
    /// The signal's key in the policy file.
    pub signal: &'static str,
    /// What was asked.
    pub promql: String,
    /// How it is read.
    pub reading: OnlineReading,
    /// What came, or why nothing did.
    pub result: Result<OnlineResult, QueryError>,
    /// What to do about it, as whole sentences.
    pub hints: Vec<String>,
}

/// How a query is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnlineReading {
    /// A recognised counter, by raw samples.
    Raw,
    /// A recognised counter with too many series: the server computes its rate.
    ServerRate,
    /// An expression that only the server can evaluate.
    Opaque,
    /// A counter that is pushed over OTLP.
    Pushed,
}

/// What a query returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnlineResult {
    /// Series in the answer; for a counter, in its selector.
    pub series: usize,
    /// One of them, as text.
    pub sample: Option<String>,
    /// Warnings of the server.
    pub warnings: usize,
}

impl OnlineReading {
    /// In words, for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "recognised: a counter, read by its raw samples",
            Self::ServerRate => "recognised: a counter with too many series, its rate is left to the server",
            Self::Pushed => "pushed over OTLP",
            Self::Opaque => "opaque: evaluated by the server",
        }
    }
}
