//! What the plant did in each second, measured by itself.

use std::sync::Arc;
use std::time::Instant;

use super::backend::{Backend, Totals};
use super::screen::{Critical, Second};
use super::service::Workload;
use super::story;

/// Counts at the last second.
pub(super) struct Meter {
    at: u64,
    read: Instant,
    requests: Vec<u64>,
    totals: Totals,
}

impl Meter {
    pub(super) fn new(workloads: &[Arc<Workload>], backend: &Backend) -> Self {
        let requests = workloads.iter().map(|w| w.requests()).collect();
        Self { at: 0, read: Instant::now(), requests, totals: backend.totals() }
    }

    /// What was done since the last time.
    pub(super) fn read(&mut self, workloads: &[Arc<Workload>], backend: &Backend) -> Second {
        let (now, totals) = (Instant::now(), backend.totals());
        let length = now.duration_since(self.read).as_secs_f64().max(1e-3);
        let requests: Vec<u64> = workloads.iter().map(|w| w.requests()).collect();
        let rates: Vec<f64> = requests.iter().zip(&self.requests).map(|(a, b)| (a - b) as f64 / length).collect();
        let services = workloads.iter().zip(&rates);
        let second = Second {
            at: self.at + 1,
            demand: rates.iter().sum(),
            received: (totals.received - self.totals.received) as f64 / length,
            lost: (totals.dropped - self.totals.dropped) as f64 / length,
            capacity: story::capacity(self.at as f64 + 0.5),
            decision: None,
            carriers: Vec::new(),
            services: services.map(|(w, rate)| (w.service.name, *rate, w.sampler.status().probability)).collect(),
        };
        *self = Self { at: self.at + 1, read: now, requests, totals };
        second
    }
}

/// What the services' span processors kept of what nobody would want to miss.
pub(super) fn critical(workloads: &[Arc<Workload>]) -> Critical {
    workloads.iter().fold(Critical::default(), |sum, workload| {
        let kept = workload.kept.read();
        Critical {
            failed: sum.failed + workload.failed(),
            errors: sum.errors + kept.kept_error,
            slow: sum.slow + kept.kept_slow,
        }
    })
}
