//! One life of the push stream: connect, take over each strategy the moment it arrives, report usage, end.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

use super::schedule::{Failure, spread};
use super::{MESSAGE_BYTES_MAX, Target, Timing, chain};
use crate::proto::sampling_client::SamplingClient;
use crate::proto::{Strategy as Pushed, UsageReport, WatchRequest};
use crate::state::{Connection, State};
use crate::strategy::Strategy;

/// Why a stream is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    #[error("cannot connect to {endpoint}")]
    Connect {
        endpoint: String,
        #[source]
        source: tonic::transport::Error,
    },
    #[error("no strategy from {endpoint} within {patience:?}")]
    Silent { endpoint: String, patience: Duration },
    // Boxed: a status is many times as large as the others.
    #[error("the stream from {endpoint} broke")]
    Broke {
        endpoint: String,
        #[source]
        source: Box<Status>,
    },
    #[error("the server at {endpoint} ended the stream")]
    Ended { endpoint: String },
}

/// How a stream ended, and how long it had brought strategies.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) error: StreamError,
    connected_for: Option<Duration>,
}

impl Broken {
    pub(super) fn kind(&self, timing: &Timing) -> Failure {
        match &self.error {
            StreamError::Broke { source, .. } if source.code() == Code::Unimplemented => Failure::Unimplemented,
            _ if self.connected_for.is_some_and(|time| time >= timing.healthy_after) => Failure::Broke,
            _ => Failure::Failed,
        }
    }
}

/// Returns when the stream is over.
pub(super) async fn watch(target: &Target, state: &State) -> Broken {
    let (client, strategies, first) = match open(target, state).await {
        Ok(opened) => opened,
        Err(error) => return Broken { error, connected_for: None },
    };
    let since = Instant::now();
    if state.set_connection(Connection::Stream) {
        tracing::info!(endpoint = %target.endpoint, "flyball: following the push stream");
    }
    adopt(state, first);
    let error = tokio::select! {
        error = adopt_all(target, state, strategies) => error,
        never = report_forever(target, state, client) => match never {},
    };
    Broken { error, connected_for: Some(since.elapsed()) }
}

type Opened = (SamplingClient<Channel>, Streaming<Pushed>, Pushed);

/// Connects and waits for the first strategy, which the server sends at once.
async fn open(target: &Target, state: &State) -> Result<Opened, StreamError> {
    let patience = target.timing.patience;
    let opening = async {
        let channel = connect(target).await?;
        let mut client = SamplingClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let request = WatchRequest { service: target.service.clone(), generation: state.generation() };
        let mut strategies = client.watch(request).await.map_err(|status| broke(target, status))?.into_inner();
        let first = next(target, &mut strategies).await?;
        Ok((client, strategies, first))
    };
    let silent = |_| Err(StreamError::Silent { endpoint: target.endpoint.to_string(), patience });
    tokio::time::timeout(patience, opening).await.unwrap_or_else(silent)
}

/// A connection of its own for each stream, so that names are resolved anew. Pings tell a dead peer from a silent one.
async fn connect(target: &Target) -> Result<Channel, StreamError> {
    let timing = &target.timing;
    let endpoint = Endpoint::from(target.endpoint.clone())
        .http2_keep_alive_interval(timing.keepalive_interval)
        .keep_alive_timeout(timing.keepalive_patience)
        .keep_alive_while_idle(true);
    let failed = |source| StreamError::Connect { endpoint: target.endpoint.to_string(), source };
    endpoint.connect().await.map_err(failed)
}

async fn adopt_all(target: &Target, state: &State, mut strategies: Streaming<Pushed>) -> StreamError {
    loop {
        match next(target, &mut strategies).await {
            Ok(pushed) => adopt(state, pushed),
            Err(error) => return error,
        }
    }
}

async fn next(target: &Target, strategies: &mut Streaming<Pushed>) -> Result<Pushed, StreamError> {
    let message = strategies.message().await.map_err(|status| broke(target, status))?;
    message.ok_or_else(|| StreamError::Ended { endpoint: target.endpoint.to_string() })
}

fn broke(target: &Target, status: Status) -> StreamError {
    StreamError::Broke { endpoint: target.endpoint.to_string(), source: Box::new(status) }
}

/// A refused strategy leaves the last one in force and the stream open: the next may be better.
fn adopt(state: &State, pushed: Pushed) {
    if let Err(error) = Strategy::from_push(pushed).and_then(|strategy| state.adopt(strategy)) {
        tracing::warn!(%error, "flyball: a pushed strategy is refused, the last one is kept");
        state.set_last_error(chain(&error));
    }
}

/// Tells now and then which operations root spans had. A report that fails is lost: it is a hint for people.
async fn report_forever(target: &Target, state: &State, mut client: SamplingClient<Channel>) -> Infallible {
    loop {
        tokio::time::sleep(spread(target.timing.report_interval, rand::random())).await;
        let (matched, unlisted) = state.take_usage();
        if matched.is_empty() && unlisted.is_empty() {
            continue;
        }
        let report = UsageReport { service: target.service.clone(), matched, unlisted };
        match tokio::time::timeout(target.timing.patience, client.report(report)).await {
            Ok(Ok(_)) => {}
            Ok(Err(status)) => tracing::debug!(%status, "flyball: a usage report was not taken"),
            Err(_) => tracing::debug!("flyball: a usage report was not answered in time"),
        }
    }
}
