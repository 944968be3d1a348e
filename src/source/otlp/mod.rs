//! Counts that SDKs and collectors push over OTLP, gRPC and HTTP on one port, beside another source or alone.
//!
//! ```text
//!  socket ─▶ receiver ─▶ door (read, decode, sort) ─▶ inbox │ tick ─▶ peers (clocks) ─▶ streams ─▶ tracker ─▶ Traffic
//! ```
//!
//! Nothing is decided when a request comes: what some policy wants of it waits in the inbox, and the loop takes all of it
//! at its tick. So there is one writer, and a pushed counter becomes traffic by the same code as a scraped one.
//!
//! Limits: what is pushed lives in memory only; between a restart and the second export of a process its demand is not
//! known. SDKs export every 60 s unless told otherwise, which is dead time: `OTEL_METRIC_EXPORT_INTERVAL=5000` is better.

mod body;
mod door;
mod inbox;
mod names;
mod parcel;
mod peers;
mod policy;
mod read;
mod receiver;
mod refusal;
mod refused;
mod report;
mod stream;
mod streams;
mod writers;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use self::door::Door;
use self::inbox::Inbox;
use self::parcel::{Parcel, Wanted};
use self::peers::Peers;
use self::policy::{Placed, PolicyState};
pub use self::receiver::OtlpReceiver;
use super::report::OnlineReport;
use super::signals::Signals;
use super::timeline::SourceClock;
use super::{Polled, keep_policies};
use crate::config::OtlpConfig;
use crate::sampling::traffic::Name;
use crate::socket::BindError;
use crate::telemetry::metrics::Metrics;
use crate::time::{Clock, Tick};

/// What was pushed so far.
pub struct OtlpSource {
    config: OtlpConfig,
    inbox: Arc<Inbox>,
    door: Arc<Door>,
    metrics: Metrics,
    clock: SourceClock,
    peers: Peers,
    policies: HashMap<Name, PolicyState>,
    /// For `check --online`.
    online: report::Online,
}

impl OtlpSource {
    /// Nothing listens yet.
    pub fn new(config: &OtlpConfig, metrics: Metrics) -> Self {
        let inbox = Arc::new(Inbox::default());
        let door = Arc::new(Door::new(Arc::clone(&inbox), config.body_max_bytes, metrics.clone()));
        Self {
            config: config.clone(),
            inbox,
            door,
            metrics,
            clock: SourceClock::default(),
            peers: Peers::default(),
            policies: HashMap::new(),
            online: report::Online::default(),
        }
    }

    /// Binds the socket; inside a Tokio runtime. What it takes in, the next poll reads.
    pub fn listen(&self) -> Result<OtlpReceiver, BindError> {
        OtlpReceiver::bind(self.config.listen, Arc::clone(&self.door))
    }

    /// Time between two polls, where nothing else is asked.
    pub fn interval(&self) -> Duration {
        self.config.interval
    }

    /// One poll of all policies, in their order. Waits for nothing.
    pub fn poll(&mut self, policies: &[(Name, Arc<Signals>)], clock: &Clock) -> Vec<Polled> {
        keep_policies(&mut self.policies, policies, PolicyState::signals, PolicyState::new);
        self.want();
        let now = clock.now();
        if !self.clock.is_tied() {
            self.clock.tie(now.mono, now.wall.unix_ms());
        }
        let parcels = self.inbox.take();
        let placed = self.place(&parcels, now);
        let timeline = self.clock.at(now);
        self.peers.settle(timeline.source_now_ms);
        let mut polled = Vec::with_capacity(policies.len());
        for (name, _) in policies {
            let Some(state) = self.policies.get_mut(name) else { continue };
            let result = state.take_in(&placed, &timeline, &self.metrics);
            polled.push(Polled { policy: Name::clone(name), result });
        }
        polled
    }

    /// Says what came for each signal of one policy, for `check --online`; waits for it the first time.
    pub async fn ask(&mut self, signals: &Arc<Signals>) -> OnlineReport {
        report::ask(self, signals).await
    }

    /// Tells the door what the policies in force want.
    fn want(&self) {
        let mut wanted: Vec<_> = self.policies.values().flat_map(PolicyState::wanted).collect();
        wanted.sort_by(|a, b| (&a.metric, a.refuses_spans).cmp(&(&b.metric, b.refuses_spans)));
        wanted.dedup();
        self.inbox.want(Wanted(wanted));
    }

    /// Each parcel on our clock.
    fn place<'p>(&mut self, parcels: &'p [Parcel], now: Tick) -> Vec<Placed<'p>> {
        let mut placed = Vec::with_capacity(parcels.len());
        for parcel in parcels {
            let at = Tick { mono: now.mono.minus(parcel.at.elapsed()), ..now };
            let received_ms = self.clock.at(at).source_now_ms;
            let Some(newest_ns) = parcel.points.iter().map(|point| point.at_ns).max() else {
                placed.push(Placed { parcel, offset: peers::Offset::default(), received_ms });
                continue;
            };
            let offset = self.peers.meet(parcel.resource.id, newest_ns, received_ms);
            placed.push(Placed { parcel, offset, received_ms });
        }
        placed
    }
}
