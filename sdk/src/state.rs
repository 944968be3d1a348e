//! What the sampler's clones, its follower and the span processors share. The follower is the only writer of the
//! strategy; root spans only read it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use opentelemetry::trace::TraceId;
use opentelemetry_sdk::trace::SamplingDecision;

use crate::limit::LocalLimitSettings;
use crate::meter::Meter;
use crate::rate::Rate;
use crate::strategy::{Listed, Strategy, StrategyError};
use crate::unlisted::Unlisted;

/// Where the strategy in force comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Connection {
    /// No server answered yet: the initial probability is in force.
    Never,
    /// The push stream is open: a change arrives at once.
    Stream,
    /// The stream cannot be had; the Jaeger endpoint is asked once a minute.
    Polling,
    /// Neither answers now: the last strategy is kept.
    Lost,
    /// The runtime on which the sampler was built ended before the sampler did: the last strategy is kept for good.
    Stopped,
}

/// A sampler as it is now: for logs and for debugging.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SamplerStatus {
    /// Where the strategy comes from.
    pub connection: Connection,
    /// Of the strategy in force; 0 until the stream sent one.
    pub generation: u64,
    /// Share of root spans that are sampled, for operations that are not listed.
    pub probability: f64,
    /// Operations that have a probability of their own.
    pub operations: usize,
    /// What the local limit multiplied every probability with at the last root span; 1 while it does not bind.
    pub limit_factor: f64,
    /// What went wrong last, with its causes; stays after a recovery.
    pub last_error: Option<String>,
}

/// See the file's header.
#[derive(Debug)]
pub(crate) struct State {
    strategy: ArcSwap<Strategy>,
    connection: AtomicU8,
    last_error: ArcSwapOption<String>,
    /// Span processors that want the spans of traces that are not sampled.
    recorders: AtomicUsize,
    meter: Meter,
    unlisted: Unlisted,
}

impl State {
    pub(crate) fn new(initial: Rate, limit: LocalLimitSettings) -> Self {
        Self {
            strategy: ArcSwap::from_pointee(Strategy::initial(initial)),
            connection: AtomicU8::new(Connection::Never as u8),
            last_error: ArcSwapOption::empty(),
            recorders: AtomicUsize::new(0),
            meter: Meter::new(limit),
            unlisted: Unlisted::default(),
        }
    }

    /// The rate of a trace that begins here with a span of this name, where it is sampled.
    pub(crate) fn sample_root(&self, trace_id: TraceId, name: &str) -> Option<Rate> {
        let strategy = self.strategy.load();
        let (rate, listed) = strategy.rate_of(name);
        if listed == Listed::No {
            self.unlisted.note(trace_id, name);
        }
        let factor = if strategy.share().is_some() { self.meter.factor_now(&strategy) } else { 1.0 };
        let rate = if factor < 1.0 { rate.times(factor) } else { rate };
        rate.samples(trace_id).then_some(rate)
    }

    /// What to do with a span that is not sampled.
    pub(crate) fn not_sampled(&self) -> SamplingDecision {
        if self.recorders.load(Ordering::Relaxed) > 0 { SamplingDecision::RecordOnly } else { SamplingDecision::Drop }
    }

    /// Puts `offered` in force unless an older one than the present. For the follower alone: not atomic by itself.
    pub(crate) fn adopt(&self, offered: Strategy) -> Result<(), StrategyError> {
        let next = offered.succeeding(&self.strategy.load())?;
        let share = next.share();
        self.strategy.store(Arc::new(next));
        self.meter.adopt(share);
        Ok(())
    }

    /// See [`SamplerStatus::limit_factor`].
    pub(crate) fn limit_factor(&self) -> f64 {
        self.meter.factor()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.strategy.load().generation()
    }

    /// The listed names that root spans had, and a sample of the others, since the last call.
    pub(crate) fn take_usage(&self) -> (Vec<String>, Vec<String>) {
        (self.strategy.load().take_met(), self.unlisted.take())
    }

    /// `true` if it was another before.
    pub(crate) fn set_connection(&self, connection: Connection) -> bool {
        if connection != Connection::Stream {
            self.meter.lose_stream();
        }
        self.connection.swap(connection as u8, Ordering::Relaxed) != connection as u8
    }

    pub(crate) fn connection(&self) -> Connection {
        let value = self.connection.load(Ordering::Relaxed);
        let all = [Connection::Never, Connection::Stream, Connection::Polling, Connection::Lost];
        all.into_iter().find(|connection| *connection as u8 == value).unwrap_or(Connection::Stopped)
    }

    pub(crate) fn set_last_error(&self, chain: String) {
        self.last_error.store(Some(Arc::new(chain)));
    }

    pub(crate) fn add_recorder(&self) {
        self.recorders.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn remove_recorder(&self) {
        self.recorders.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn status(&self) -> SamplerStatus {
        let strategy = self.strategy.load();
        SamplerStatus {
            connection: self.connection(),
            generation: strategy.generation(),
            probability: strategy.probability(),
            operations: strategy.operation_count(),
            limit_factor: self.limit_factor(),
            last_error: self.last_error.load().as_deref().cloned(),
        }
    }
}
