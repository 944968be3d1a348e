//! What is counted of alarms. Labels are bounded: receivers are named in the configuration, reasons are an enum.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Every count of this room. Cheap to clone: clones share the values.
#[derive(Debug, Clone, Default)]
pub struct AlertMetrics {
    /// Alarms that are open.
    pub open: Gauge,
    /// Alarms that opened.
    pub opened: Counter,
    /// Alarms that opened without a scan: too many cohorts at once.
    pub unscanned: Counter,
    /// Messages that a receiver took.
    pub sent: Family<ReceiverLabels, Counter>,
    /// Tries that failed, by why.
    pub failed: Family<FailureLabels, Counter>,
    /// Messages that had to wait for the rate.
    pub delayed: Family<ReceiverLabels, Counter>,
    /// Messages that a later state took the place of while a receiver was down.
    pub superseded: Family<ReceiverLabels, Counter>,
    /// Messages that wait.
    pub waiting: Family<ReceiverLabels, Gauge>,
}

/// Whom a message is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReceiverLabels {
    /// `alertmanager`, or a webhook's name.
    pub receiver: Arc<str>,
}

/// Why a try failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FailureLabels {
    /// `alertmanager`, or a webhook's name.
    pub receiver: Arc<str>,
    /// `SendError::kind`.
    pub reason: &'static str,
}

impl AlertMetrics {
    /// Registers every count.
    pub fn register(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("flyball_alerts");
        r.register("open", "Cohorts whose alarm is open", self.open.clone());
        r.register("opened", "Alarms that opened", self.opened.clone());
        r.register("unscanned", "Alarms that opened without a scan", self.unscanned.clone());
        r.register("sent", "Messages that a receiver took", self.sent.clone());
        r.register("failed", "Tries to send that failed, by why", self.failed.clone());
        r.register("delayed", "Messages that waited for the rate", self.delayed.clone());
        r.register("superseded", "Messages that a later state took the place of", self.superseded.clone());
        r.register("waiting", "Messages that wait for a receiver", self.waiting.clone());
    }
}
