//! From signal to action: a cohort whose devices beat late for minutes on end is scanned, and whoever looks after its region
//! is told, with the serials of the devices and what they have in common.
//!
//! ```text
//!  doors ─ census ─▶ watch (pure) ─ opened ─▶ scan ─▶ diagnosis (pure) ─▶ Alert ─┬─▶ mailbox ─▶ Alertmanager
//!                                 └ resolved ────────────────────────────────────┤
//!                                                                                ├─▶ mailbox ─▶ each webhook
//!                                                                                └─▶ audit, `/api/v1/events`
//! ```
//!
//! Each receiver has a mailbox and a task of its own: one that is slow, gone or broken delays nobody else, and is told
//! when it is back. Nothing is lost silently: what waits is bounded by the cohorts, and of one cohort a later state takes
//! the place of earlier ones ([`mailbox`]).
//!
//! What is open, and who has heard of it, is in the [`book`], and outlives the process: an opening is told once, and its end
//! whenever that is.

mod alertmanager;
pub mod book;
mod mailbox;
pub mod metrics;
pub(crate) mod payload;
mod receiver;
#[cfg(test)]
#[path = "../../tests/support/alert.rs"]
pub(crate) mod sample;
mod send;
pub mod signature;
pub mod told;
mod watching;
mod webhook;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::alertmanager::Alertmanager;
use self::book::{AlertBook, Heard};
use self::mailbox::Mailbox;
use self::metrics::{AlertMetrics, ReceiverLabels};
use self::receiver::{Addressee, Delivery, Receiver};
use self::told::Alert;
use self::watching::Watching;
use self::webhook::Webhook;
use crate::config::{AlertsConfig, WebhookConfig};
use crate::controller::audit::{AuditLog, Audited};
use crate::controller::keepalive::CohortReports;
use crate::fleet::grpc::GatewayHandle;
use crate::fleet::heartbeat::handle::Handle;
use crate::fleet::scanned::Scanned;
use crate::keepalive::alarm::ratios::Ratios;
use crate::keepalive::cohort::CohortIndex;
use crate::policy::PolicySet;
use crate::source::error::SourceError;
use crate::time::Clock;

const ALERTMANAGER: &str = "alertmanager";

/// Where devices come in, and what is known of their cohorts.
#[derive(Debug, Clone)]
pub struct Doors {
    /// What is known of the cohorts.
    pub cohorts: CohortReports,
    /// Over UDP.
    pub heartbeats: Option<Handle>,
    /// Over gRPC.
    pub gateways: Option<GatewayHandle>,
}

/// Whom alarms are told to, on the inside.
#[derive(Debug)]
pub(crate) struct Alerts {
    clock: Clock,
    groups: BTreeMap<Arc<str>, Arc<str>>,
    metrics: AlertMetrics,
    audit: AuditLog,
    book: AlertBook,
    boxes: Vec<Slot>,
}

/// A receiver's mailbox, and which alarms it wants.
#[derive(Debug)]
struct Slot {
    name: Arc<str>,
    mailbox: Arc<Mailbox>,
    /// `None` = all of them.
    config: Option<WebhookConfig>,
}

/// The room: built, and then run until the shutdown.
pub struct AlertRoom {
    alerts: Alerts,
    doors: Doors,
    deliveries: JoinSet<()>,
}

impl std::fmt::Debug for AlertRoom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AlertRoom").field("alerts", &self.alerts).finish_non_exhaustive()
    }
}

impl AlertRoom {
    /// Makes a task for each receiver. Inside a Tokio runtime.
    ///
    /// # Errors
    /// A receiver's URL or its files cannot be used.
    pub fn build(
        config: Option<&AlertsConfig>,
        doors: Doors,
        metrics: AlertMetrics,
        (audit, book): (AuditLog, AlertBook),
        clock: Clock,
    ) -> Result<Self, SourceError> {
        let groups = config.map(|config| config.groups.clone()).unwrap_or_default();
        let mut room = Self {
            alerts: Alerts { clock, groups, metrics, audit, book, boxes: Vec::new() },
            doors,
            deliveries: JoinSet::new(),
        };
        if let Some(config) = config {
            room.add_all(config, clock)?;
        }
        let boxes = &room.alerts.boxes;
        room.alerts.book.keep_receivers(|name| boxes.iter().any(|one| &*one.name == name));
        Ok(room)
    }

    fn add_all(&mut self, config: &AlertsConfig, clock: Clock) -> Result<(), SourceError> {
        if let Some(alertmanager) = &config.alertmanager {
            let receiver = Alertmanager::new(alertmanager, config.link.clone(), clock)?;
            self.add(ALERTMANAGER.into(), receiver, None, config);
        }
        for webhook in &config.webhooks {
            let receiver = Webhook::new(webhook, config.link.clone(), clock)?;
            self.add(Arc::clone(&webhook.name), receiver, Some(webhook.clone()), config);
        }
        Ok(())
    }

    fn add(&mut self, name: Arc<str>, receiver: impl Receiver, webhook: Option<WebhookConfig>, config: &AlertsConfig) {
        let mailbox = Arc::new(Mailbox::default());
        let Alerts { metrics, book, clock, .. } = &self.alerts;
        let (metrics, book, clock) = (metrics.clone(), book.clone(), *clock);
        let slot = Slot { name: Arc::clone(&name), mailbox: Arc::clone(&mailbox), config: webhook };
        let known = slot.restore(&self.alerts);
        let addressee = Addressee { name, mailbox, book, metrics, clock };
        self.deliveries.spawn(Delivery::new(addressee, receiver, config.rate, known).run());
        self.alerts.boxes.push(slot);
    }

    /// Watches until the shutdown; what waits then is not sent.
    pub async fn run(self, policies: watch::Receiver<Arc<PolicySet>>, shutdown: CancellationToken) {
        let Self { alerts, doors, mut deliveries } = self;
        Watching::new(alerts, doors).run(policies, shutdown).await;
        deliveries.shutdown().await;
    }
}

impl Alerts {
    /// Who looks after a region; one that nobody was named for is its own group.
    fn group_of(&self, region: &str) -> Arc<str> {
        self.groups.get(region).map_or_else(|| region.into(), Arc::clone)
    }

    /// An opening: to every receiver that wants it.
    fn open(&self, alert: &Arc<Alert>) {
        let wanting = || self.boxes.iter().filter(|one| one.is_for(alert));
        self.book.open(alert, wanting().map(|one| Arc::clone(&one.name)));
        wanting().for_each(|one| one.put(alert, self));
        self.note(alert);
    }

    /// An end: to every receiver that the opening was for.
    fn over(&self, alert: &Arc<Alert>) {
        let receivers = self.book.over(alert);
        self.boxes.iter().filter(|one| receivers.contains(&one.name)).for_each(|one| one.put(alert, self));
        self.note(alert);
    }

    /// Into the audit, which `/api/v1/events` follows.
    fn note(&self, alert: &Alert) {
        self.audit.append(self.clock.now().wall, Audited::Alert(payload::brief(alert)));
    }
}

impl Slot {
    fn is_for(&self, alert: &Alert) -> bool {
        self.config.as_ref().is_none_or(|config| Webhook::is_for(config, alert))
    }

    /// What an earlier process did not get to tell waits again; the openings that this receiver knows.
    fn restore(&self, alerts: &Alerts) -> Vec<Arc<Alert>> {
        let mut known = Vec::new();
        for kept in alerts.book.load().into_iter().rev() {
            let (alert, is_over) = (&kept.alert, kept.alert.resolved_at.is_some());
            let heard = kept.receivers.get(&self.name).map(|told| told.heard);
            match heard {
                Some(Heard::Opening) if !is_over => known.push(Arc::clone(alert)),
                Some(Heard::Opening) => self.put(alert, alerts),
                Some(Heard::Nothing) if is_over => {
                    self.put(&Arc::new(alert.firing()), alerts);
                    self.put(alert, alerts);
                }
                Some(Heard::Nothing) => self.put(alert, alerts),
                None if !is_over && self.is_for(alert) => {
                    alerts.book.add_receiver(alert, &self.name);
                    self.put(alert, alerts);
                }
                Some(Heard::End) | None => {}
            }
        }
        known
    }

    fn put(&self, alert: &Arc<Alert>, alerts: &Alerts) {
        let (labels, metrics) = (ReceiverLabels { receiver: Arc::clone(&self.name) }, &alerts.metrics);
        let superseded = self.mailbox.put(Arc::clone(alert));
        if !superseded.is_empty() {
            metrics.superseded.get_or_create(&labels).inc_by(superseded.len() as u64);
            alerts.book.left_out(&self.name, &superseded);
        }
        metrics.waiting.get_or_create(&labels).set(self.mailbox.len() as i64);
    }
}

impl Doors {
    /// Where the devices of each cohort stand, by its index.
    fn census(&self) -> Vec<Ratios> {
        let mut census = self.heartbeats.as_ref().map(|door| door.counters().census()).unwrap_or_default();
        let gateways = self.gateways.as_ref().map(GatewayHandle::census).unwrap_or_default();
        census.resize(census.len().max(gateways.len()), Ratios::default());
        census.iter_mut().zip(&gateways).for_each(|(sum, ratios)| sum.merge(ratios));
        census
    }

    /// The worst devices of a cohort: it comes by one of the doors, and the other finds none.
    async fn scan(&self, cohort: CohortIndex) -> Scanned {
        let mut found = Scanned::default();
        if let Some(door) = &self.heartbeats {
            found.add(door.scan(cohort).await);
        }
        if let Some(door) = self.gateways.as_ref().filter(|_| found.devices.is_empty()) {
            found.add(door.scan(cohort).await);
        }
        found
    }
}
