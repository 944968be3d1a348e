//! Edges in: whatever knows the fleet's true demand and the backend's loss becomes [`Traffic`].
//!
//! [`Traffic`]: crate::sampling::traffic::Traffic

use std::time::Duration;

/// The signals of one policy, validated: what to ask a source.
#[derive(Debug, Clone, PartialEq)]
pub struct Signals {
    /// Root demand by service and operation.
    pub demand: DemandSignal,
    /// Everything offered to the tracing backend, dropped included.
    pub received: Query,
    /// What of that was dropped.
    pub dropped: Query,
    /// Age of the newest sample, in seconds, for queries that cannot tell it themselves.
    pub freshness: Option<String>,
    /// What `received` and `dropped` count.
    pub unit: Unit,
}

/// Root demand: a query and the labels that name what it counts.
#[derive(Debug, Clone, PartialEq)]
pub struct DemandSignal {
    /// What to ask.
    pub query: Query,
    /// Label that names the service.
    pub service_label: String,
    /// Label that names the operation, where there is one.
    pub operation_label: Option<String>,
}

/// What `received` and `dropped` count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Spans.
    Spans,
    /// Whole traces.
    Traces,
}

/// One question to a source.
#[derive(Debug, Clone, PartialEq)]
pub enum Query {
    /// A counter, read as raw samples with their own timestamps.
    Counter(Counter),
    /// PromQL that only the server can evaluate: no freshness of its own, and `window` of dead time.
    Opaque {
        /// The expression.
        promql: String,
        /// The longest range in it; zero where there is none.
        window: Duration,
    },
}

/// A counter and how to sum its rates.
#[derive(Debug, Clone, PartialEq)]
pub struct Counter {
    /// The metric's name.
    pub metric: String,
    /// Which of its series.
    pub matchers: Vec<Matcher>,
    /// Labels to sum by.
    pub by: Vec<String>,
    /// Window of the rate where the server has to compute it.
    pub window: Duration,
}

/// A condition on one label, with PromQL's meaning: an absent label is the empty string, a regex matches whole values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matcher {
    /// The label.
    pub label: String,
    /// How to compare.
    pub op: MatchOp,
    /// With what.
    pub value: String,
}

/// How a [`Matcher`] compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}
