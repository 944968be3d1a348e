//! What the rest of the house may do with a running door. Cheap to clone; nothing here waits.

use std::fmt;
use std::sync::Arc;

use super::counts::GatewayCounts;
use super::desk::Desk;
use crate::fleet::keys::MasterKeys;
use crate::fleet::prefixes::PrefixTable;
use crate::fleet::scanned::{SCAN_WAIT, Scanned};
use crate::keepalive::alarm::health::{DeviceHealth, Reach};
use crate::keepalive::alarm::ratios::Ratios;
use crate::keepalive::cohort::CohortIndex;

/// A handle on the gateways' door.
#[derive(Clone)]
pub struct GatewayHandle(pub(super) Arc<Desk>);

impl fmt::Debug for GatewayHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GatewayHandle").finish()
    }
}

impl GatewayHandle {
    /// Other master keys from now on. Sessions under a key that is no longer among them end.
    pub fn set_keys(&self, keys: Arc<MasterKeys>) {
        let before = self.0.keys.swap(Arc::clone(&keys));
        let retired = keys.retired(&before);
        if !retired.is_empty() {
            self.0.registry.retire(&retired);
        }
    }

    /// Prefixes that complete what devices say of themselves, by the address that a session comes from: for sessions that
    /// begin from now on. Without them, and behind a proxy, leave it.
    pub fn set_prefixes(&self, prefixes: Arc<PrefixTable>) {
        self.0.prefixes.store(prefixes);
    }

    /// Puts every device into its cohort anew, by the labels of its hello: after other fleets came into force. A pace
    /// that is another now goes out with the next change of the orders.
    pub fn resettle(&self) {
        let moved = self.0.registry.resettle(&self.0.cohorts, self.0.now());
        self.0.note(moved);
    }

    /// Where the devices of each cohort stand, by its index.
    pub fn census(&self) -> Vec<Ratios> {
        self.0.registry.census(self.0.now())
    }

    /// Scans the worst devices of a cohort: each that has a stream is given its order again, and acks it if it is there.
    pub async fn scan(&self, cohort: CohortIndex) -> Scanned {
        let asked = self.0.now();
        let (worst, more) = self.0.registry.worst(cohort, asked);
        // As they are before they are asked: that changes what there is to see.
        let mut devices: Vec<DeviceHealth> = worst.iter().map(|(post, _)| post.health(asked)).collect();
        worst.iter().filter(|(_, is_open)| *is_open).for_each(|(post, _)| post.ask());
        tokio::time::sleep(SCAN_WAIT).await;
        for ((post, is_open), health) in worst.iter().zip(&mut devices) {
            let has_answered = *is_open && post.is_heard_since(asked);
            health.reach = if has_answered { Reach::Answered } else { Reach::Silent };
        }
        Scanned { devices, more }
    }

    /// What is counted.
    pub fn counts(&self) -> GatewayCounts {
        self.0.counts.clone()
    }
}
