//! A device that keeps a connection: one session over gRPC after the other, the last order kept through all of them.
//!
//! The device beats at its pace, and each beat is answered. A beat that nothing answers within three fast retries finds
//! the connection dead: the next session says after which silence, and whether a reset came, which is how the server
//! learns when NATs forget connections. No HTTP/2 pings are sent: they would refresh the binding between the beats.
//!
//! It tests no side flows: that takes a connection over which the server speaks first, after a silence, and the service
//! has none. So the server learns from it when an interval is too long, and not that it could be longer.
//!
//! Memory: 28 KB a session, most of it the HTTP/2 stack's (`cargo bench --bench fleet -- gateways`).

mod backoff;
mod error;
mod proto;
mod session;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use http::Uri;
use tokio::time::Instant;

use super::id::DeviceId;
use super::jitter::Pace;
use super::key::MacKey;
use super::machine::{Bounds, INITIAL};
use backoff::Backoff;
pub use error::SessionError;
use session::Session;

/// Who the device is, and what it accepts.
#[derive(Debug, Clone)]
pub struct GrpcSettings {
    /// The server: `http://host:port`.
    pub endpoint: Uri,
    /// Who.
    pub device: DeviceId,
    /// Which master key its key is derived from.
    pub key_id: u16,
    /// Its key.
    pub key: MacKey,
    /// Which start this is.
    pub boot: u32,
    /// What makes its cohort.
    pub labels: BTreeMap<String, String>,
    /// What it accepts.
    pub bounds: Bounds,
    /// The order that it kept, as it was told.
    pub order: Option<Pace>,
}

/// What happens to it.
#[derive(Debug)]
pub enum Event {
    /// A session has begun: the server accepted the hello.
    Connected,
    /// A newer order, as it was told: keep it over restarts. In force is what the bounds make of it.
    Order {
        /// As told.
        told: Pace,
        /// In force.
        taken: Pace,
    },
    /// A beat was answered.
    Answered {
        /// Which.
        sequence: u32,
        /// From the last packet either way to the beat.
        silence: Duration,
        /// There and back.
        took: Duration,
        /// From now to the next beat.
        next: Duration,
    },
    /// The session is over, or could not begin.
    Ended {
        /// Why.
        error: SessionError,
        /// Until the next try.
        pause: Duration,
    },
}

/// Runs for ever; dropped, it ends its session.
pub async fn run(settings: GrpcSettings, mut on_event: impl FnMut(Event)) -> Infallible {
    let mut state = State::new(settings);
    let mut backoff = Backoff::default();
    loop {
        let begun = Instant::now();
        let (error, lived) = match Session::open(&state).await {
            Ok(session) => {
                on_event(Event::Connected);
                (session.run(&mut state, &mut on_event).await, begun.elapsed())
            }
            Err(error) => (error, Duration::ZERO),
        };
        let pause = backoff.pause(lived, rand::random());
        on_event(Event::Ended { error, pause });
        tokio::time::sleep(pause).await;
    }
}

/// What outlives a session.
#[derive(Debug)]
struct State {
    settings: GrpcSettings,
    /// In force.
    pace: Pace,
    /// How the last session was lost, until the next one has told.
    lost: Option<proto::LostSession>,
}

impl State {
    fn new(settings: GrpcSettings) -> Self {
        let pace = settings.bounds.clamped(settings.order.unwrap_or(INITIAL));
        Self { settings, pace, lost: None }
    }

    /// Takes an order if it is newer than the one in force.
    fn obey(&mut self, told: Pace) -> Option<Event> {
        if told.generation <= self.pace.generation {
            return None;
        }
        self.pace = self.settings.bounds.clamped(told);
        Some(Event::Order { told, taken: self.pace })
    }
}
