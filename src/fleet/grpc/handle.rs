//! What the rest of the house may do with a running door. Cheap to clone; nothing here waits.

use std::fmt;
use std::sync::Arc;

use super::counts::GatewayCounts;
use super::desk::Desk;
use crate::fleet::keys::MasterKeys;

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

    /// Puts every device into its cohort anew, by the labels of its hello: after other fleets came into force. A pace
    /// that is another now goes out with the next change of the orders.
    pub fn resettle(&self) {
        let moved = self.0.registry.resettle(&self.0.cohorts, self.0.now());
        self.0.note(moved);
    }

    /// What is counted.
    pub fn counts(&self) -> GatewayCounts {
        self.0.counts.clone()
    }
}
