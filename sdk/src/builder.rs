//! From settings to a running sampler: everything that can be wrong with the settings is found here, and nothing that
//! happens later returns an error, because a tracing library must not take its host down.

use std::sync::Arc;
use std::thread;

use hyper::Uri;
use opentelemetry::Context;
use opentelemetry::trace::FutureExt;
use tokio::runtime::{self, Handle};
use tokio::sync::oneshot;

use crate::follow::{self, Target, Timing};
use crate::limit::LocalLimitSettings;
use crate::rate::Rate;
use crate::sampler::{FlyballSampler, Follower};
use crate::state::{Connection, State};

/// Where Flyball serves the push stream by default.
const ENDPOINT: &str = "http://127.0.0.1:5779";
/// Port and path of the Jaeger endpoint, on the stream's host unless told otherwise.
const POLLING_PORT: u16 = 5778;
const POLLING_PATH: &str = "/sampling";
/// In force until a server answered: too little is the safe side for the backend.
const INITIAL_PROBABILITY: f64 = 0.01;
/// Longer service names are not answered, in bytes.
const SERVICE_LENGTH_MAX: usize = 256;

/// Settings of a [`FlyballSampler`]; [`FlyballSampler::builder`] starts one.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct FlyballSamplerBuilder {
    service: String,
    endpoint: String,
    polling_endpoint: Option<String>,
    initial_probability: f64,
    limit: LocalLimitSettings,
    timing: Timing,
}

/// What is wrong with the settings of a [`FlyballSampler`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The service's name is empty or too long.
    #[error("service name of {length} bytes: it must have 1 to {SERVICE_LENGTH_MAX}")]
    Service {
        /// Of the name, in bytes.
        length: usize,
    },
    /// An endpoint is not a URL.
    #[error("endpoint {endpoint:?} is not a URL such as {ENDPOINT}")]
    Endpoint {
        /// As given.
        endpoint: String,
        /// Why.
        #[source]
        source: hyper::http::uri::InvalidUri,
    },
    /// An endpoint is a URL of another kind.
    #[error("endpoint {endpoint:?} must begin with http:// and name a host (for TLS, run a proxy on this host)")]
    Scheme {
        /// As given.
        endpoint: String,
    },
    /// The initial probability is not between 0 and 1.
    #[error("initial probability {0} is not between 0 and 1")]
    InitialProbability(f64),
    /// The local limit's factor is below 1, or no number.
    #[error("k of the local limit is {0}, and must be at least 1")]
    LocalLimit(f64),
    /// The follower's thread could not be started.
    #[error("the follower's thread cannot be started")]
    Thread(#[source] std::io::Error),
}

impl FlyballSamplerBuilder {
    pub(crate) fn new(service: String) -> Self {
        let timing = Timing::default();
        let (endpoint, initial_probability) = (ENDPOINT.to_owned(), INITIAL_PROBABILITY);
        let limit = LocalLimitSettings::default();
        Self { service, endpoint, polling_endpoint: None, initial_probability, limit, timing }
    }

    /// Where Flyball serves gRPC. Default `http://127.0.0.1:5779`.
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = url.into();
        self
    }

    /// A Jaeger remote-sampling endpoint to ask once a minute while the stream cannot be had. Default: port 5778 and
    /// path `/sampling` on the stream's host.
    pub fn polling_endpoint(mut self, url: impl Into<String>) -> Self {
        self.polling_endpoint = Some(url.into());
        self
    }

    /// Share of root spans to sample until a server answered, 0 to 1. Higher shows more of a service that starts while
    /// Flyball is away, and costs the backend as much. Default 0.01, the `fallback` of Flyball's policies.
    pub fn initial_probability(mut self, probability: f64) -> Self {
        self.initial_probability = probability;
        self
    }

    /// How this instance holds itself to its part of the service's share until a surge is answered. Only a strategy
    /// that comes over the push stream carries a share.
    pub fn local_limit(mut self, settings: LocalLimitSettings) -> Self {
        self.limit = settings;
        self
    }

    #[cfg(test)]
    pub(crate) fn timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// Checks the settings and starts following, without waiting for a first answer.
    ///
    /// On a tokio runtime the follower is a task of it, and needs its timers and I/O enabled; elsewhere it is a thread
    /// of its own. A runtime that ends before the sampler takes the follower with it ([`Connection::Stopped`]): build
    /// the sampler outside of runtimes that are only used for a while.
    ///
    /// # Errors
    /// When a setting is wrong, or the thread cannot be started.
    pub fn build(self) -> Result<FlyballSampler, BuildError> {
        let initial = initial_rate(self.initial_probability)?;
        let limit = checked(self.limit)?;
        let target = self.target()?;
        let state = Arc::new(State::new(initial, limit));
        let (stop, stopped) = oneshot::channel();
        start(target, Arc::clone(&state), stopped)?;
        Ok(FlyballSampler::new(state, Follower { _stop: stop }))
    }

    fn target(self) -> Result<Target, BuildError> {
        let length = self.service.len();
        if length == 0 || length > SERVICE_LENGTH_MAX {
            return Err(BuildError::Service { length });
        }
        let endpoint = parse_endpoint(&self.endpoint)?;
        let polling = match self.polling_endpoint {
            Some(url) => parse_endpoint(&url)?,
            None => parse_endpoint(&beside(&endpoint))?,
        };
        Ok(Target { service: self.service, endpoint, polling, timing: self.timing })
    }
}

fn initial_rate(probability: f64) -> Result<Rate, BuildError> {
    let is_probability = (0.0..=1.0).contains(&probability);
    Rate::new(probability).filter(|_| is_probability).ok_or(BuildError::InitialProbability(probability))
}

fn checked(limit: LocalLimitSettings) -> Result<LocalLimitSettings, BuildError> {
    if limit.k >= 1.0 { Ok(limit) } else { Err(BuildError::LocalLimit(limit.k)) }
}

fn parse_endpoint(endpoint: &str) -> Result<Uri, BuildError> {
    let named = || endpoint.to_owned();
    let uri: Uri = endpoint.parse().map_err(|source| BuildError::Endpoint { endpoint: named(), source })?;
    let has_host = uri.host().is_some_and(|host| !host.is_empty());
    if uri.scheme_str() != Some("http") || !has_host {
        return Err(BuildError::Scheme { endpoint: named() });
    }
    Ok(uri)
}

/// The Jaeger endpoint on the stream's host.
fn beside(endpoint: &Uri) -> String {
    format!("http://{}:{POLLING_PORT}{POLLING_PATH}", endpoint.host().unwrap_or_default())
}

/// Runs the follower on the caller's runtime, or on a thread with one of its own.
fn start(target: Target, state: Arc<State>, stopped: oneshot::Receiver<()>) -> Result<(), BuildError> {
    let follower = run(target, state, stopped);
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(follower);
        return Ok(());
    }
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(BuildError::Thread)?;
    let thread = thread::Builder::new().name("flyball-sampler".to_owned());
    thread.spawn(move || runtime.block_on(follower)).map_err(BuildError::Thread)?;
    Ok(())
}

/// Follows until the sampler is gone. Its own calls are not traced: a host that traces its HTTP client would otherwise
/// have a trace for each reconnect.
async fn run(target: Target, state: Arc<State>, stopped: oneshot::Receiver<()>) {
    let marker = StoppedMarker(Arc::clone(&state));
    let following = follow::follow(&target, &state).with_context(Context::new().with_telemetry_suppressed());
    tokio::select! {
        _ = stopped => {}
        never = following => match never {},
    }
    drop(marker);
}

/// Tells in the status that nobody follows any more, however that came about.
struct StoppedMarker(Arc<State>);

impl Drop for StoppedMarker {
    fn drop(&mut self) {
        self.0.set_connection(Connection::Stopped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(builder: FlyballSamplerBuilder) -> Result<Target, BuildError> {
        builder.target()
    }

    #[test]
    fn the_jaeger_endpoint_is_looked_for_on_the_streams_host() {
        for (endpoint, expected) in [
            ("http://127.0.0.1:5779", "http://127.0.0.1:5778/sampling"),
            ("http://flyball.tracing.svc:80/", "http://flyball.tracing.svc:5778/sampling"),
            ("http://[::1]:5779", "http://[::1]:5778/sampling"),
        ] {
            let target = target(FlyballSampler::builder("shop").endpoint(endpoint)).expect(endpoint);
            assert_eq!(target.polling.to_string(), expected);
        }
        let told = FlyballSampler::builder("shop").polling_endpoint("http://jaeger/api/sampling");
        assert_eq!(target(told).expect("valid").polling.to_string(), "http://jaeger/api/sampling");
    }

    #[test]
    fn a_wrong_setting_is_named() {
        let shop = || FlyballSampler::builder("shop");
        for (builder, expected) in [
            (FlyballSampler::builder(""), "service name of 0 bytes: it must have 1 to 256"),
            (FlyballSampler::builder("x".repeat(257)), "service name of 257 bytes: it must have 1 to 256"),
            (shop().endpoint("http://a b"), "endpoint \"http://a b\" is not a URL such as http://127.0.0.1:5779"),
            (
                shop().endpoint("https://a:1"),
                "endpoint \"https://a:1\" must begin with http:// and name a host (for TLS, run a proxy on this host)",
            ),
            (
                shop().polling_endpoint("/sampling"),
                "endpoint \"/sampling\" must begin with http:// and name a host (for TLS, run a proxy on this host)",
            ),
            (shop().initial_probability(1.5), "initial probability 1.5 is not between 0 and 1"),
            (
                shop().local_limit(LocalLimitSettings { k: 0.5, ..LocalLimitSettings::default() }),
                "k of the local limit is 0.5, and must be at least 1",
            ),
            (shop().initial_probability(f64::NAN), "initial probability NaN is not between 0 and 1"),
        ] {
            assert_eq!(builder.build().expect_err(expected).to_string(), expected);
        }
    }
}
