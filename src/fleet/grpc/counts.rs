//! What is counted at the gateways' door.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::refusal::Refusal;

/// Counters of the gateways' door. Cheap to clone: clones share the values.
#[derive(Debug, Clone, Default)]
pub struct GatewayCounts {
    /// Open connections.
    pub connections: Gauge,
    /// Open sessions.
    pub sessions: Gauge,
    /// Orders pushed to open sessions because of a change.
    pub pushes: Counter,
    /// Beats answered.
    pub beats: Counter,
    /// Acks that were ignored: of an older order than an ack before, or of none.
    pub acks_ignored: Counter,
    /// Probe results that were not ordered, or cannot be true.
    pub probes_ignored: Counter,
    /// Observations that did not fit in the queue to the loop.
    pub observations_dropped: Counter,
    /// Sessions that did not begin, or were ended, by why.
    pub refused: Family<RefusedLabels, Counter>,
}

/// Why a session did not begin, or was ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusedLabels {
    /// `key_id`, `token`, `stale_boot`, `malformed`, `invalid`, `not_grpc`, `no_hello`, `full`, `replaced`, `silent`,
    /// `retired`, `drain` or `broken`.
    pub reason: &'static str,
}

impl GatewayCounts {
    /// Registers everything under the prefix `flyball`.
    pub fn register(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("flyball_gateway");
        r.register("connections", "Open connections of gateways", self.connections.clone());
        r.register("sessions", "Open sessions of gateways", self.sessions.clone());
        r.register("pushes", "Orders pushed because of a change", self.pushes.clone());
        r.register("beats", "Beats answered", self.beats.clone());
        r.register("acks_ignored", "Acks that were late or of no order", self.acks_ignored.clone());
        r.register("probes_ignored", "Probe results not ordered or impossible", self.probes_ignored.clone());
        r.register("observations_dropped", "Observations the loop had no room for", self.observations_dropped.clone());
        r.register("refused", "Sessions refused or ended, by reason", self.refused.clone());
    }

    pub(super) fn refuse(&self, why: &Refusal) {
        self.refused.get_or_create(&RefusedLabels { reason: why.reason() }).inc();
    }
}
