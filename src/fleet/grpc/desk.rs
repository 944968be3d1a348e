//! What all connections share, and the book that what they see is noted in.

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::GatewaySettings;
use super::counts::GatewayCounts;
use super::registry::Registry;
use crate::fleet::cohorts::CohortTable;
use crate::fleet::keys::MasterKeys;
use crate::keepalive::observation::Observation;
use crate::keepalive::order::Orders;
use crate::time::{Clock, MonoTime};

/// Observations that wait to be handed on: twice the devices, all of which may come or go at once.
const NOTED_MAX: usize = 200_000;

/// Shared by all connections.
pub(super) struct Desk {
    pub(super) settings: GatewaySettings,
    pub(super) keys: ArcSwap<MasterKeys>,
    pub(super) orders: Arc<ArcSwap<Orders>>,
    pub(super) cohorts: Arc<CohortTable>,
    pub(super) registry: Registry,
    pub(super) counts: GatewayCounts,
    /// Cancelled once: leave.
    pub(super) drain: CancellationToken,
    pub(super) clock: Clock,
    noted: Mutex<Vec<Observation>>,
}

impl Desk {
    pub(super) fn new(
        settings: GatewaySettings,
        keys: Arc<MasterKeys>,
        orders: Arc<ArcSwap<Orders>>,
        cohorts: Arc<CohortTable>,
        clock: Clock,
    ) -> Self {
        let registry = Registry::new(settings.sessions_max, settings.patience);
        let (counts, drain) = (GatewayCounts::default(), CancellationToken::new());
        let keys = ArcSwap::new(keys);
        Self { settings, keys, orders, cohorts, registry, counts, drain, clock, noted: Mutex::default() }
    }

    pub(super) fn now(&self) -> MonoTime {
        self.clock.now().mono
    }

    /// Notes what was seen, for the loop.
    pub(super) fn note(&self, seen: impl IntoIterator<Item = Observation>) {
        let mut noted = self.noted.lock().expect("nothing panics under this lock");
        for observation in seen {
            if noted.len() < NOTED_MAX {
                noted.push(observation);
            } else {
                self.counts.observations_dropped.inc();
            }
        }
    }

    /// Everything noted since the last time.
    pub(super) fn noted(&self) -> Vec<Observation> {
        std::mem::take(&mut *self.noted.lock().expect("nothing panics under this lock"))
    }
}
