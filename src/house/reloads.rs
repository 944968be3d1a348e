//! Everything that a reload reads again, as one: policies and fleets, then the master keys. SIGHUP and the operators'
//! door ask for the same.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::keys::Keys;
use crate::admin::ReloadRequest;
use crate::policy::watch::{ReloadHandle, ReloadReport};

/// What can be reloaded. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Reloads {
    pub(super) policies: ReloadHandle,
    pub(super) keys: Option<Keys>,
}

impl Reloads {
    /// A report for people, or every error; what was wrong stays as it was before, and what was right is in force.
    async fn reload(&self) -> Result<String, String> {
        let policies = self.policies.reload().await;
        let keys = self.reload_keys().await;
        match (policies, keys) {
            (Ok(report), Ok(are_new)) => Ok(text(&report, are_new)),
            (Ok(_), Err(keys)) => Err(keys),
            (Err(errors), Ok(_)) => Err(errors.to_string()),
            (Err(errors), Err(keys)) => Err(format!("{errors}\n{keys}")),
        }
    }

    async fn reload_keys(&self) -> Result<bool, String> {
        let Some(keys) = self.keys.clone() else { return Ok(false) };
        let read = tokio::task::spawn_blocking(move || keys.reload());
        read.await.expect("reading keys does not panic").map_err(|problems| {
            tracing::warn!(errors = %problems, "master keys not reloaded; the last good ones stay in force");
            problems.to_string()
        })
    }

    /// At each SIGHUP.
    pub(super) async fn on_hangup(self, shutdown: CancellationToken) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => return tracing::warn!(%error, "SIGHUP will not reload"),
        };
        while let Some(Some(())) = shutdown.run_until_cancelled(hangup.recv()).await {
            tracing::info!("SIGHUP: reloading");
            // The outcome is logged where it is found.
            let _ = self.reload().await;
        }
    }

    /// Joins the operators' door to what is reloaded: neither room knows the other.
    pub(super) async fn on_request(self, mut requests: mpsc::Receiver<ReloadRequest>, shutdown: CancellationToken) {
        while let Some(Some(request)) = shutdown.run_until_cancelled(requests.recv()).await {
            // Whoever asked may be gone.
            let _ = request.send(self.reload().await);
        }
    }
}

fn text(report: &ReloadReport, are_keys_new: bool) -> String {
    let what = if report.is_changed || are_keys_new { "reloaded" } else { "nothing changed" };
    let fleets = if report.fleets > 0 { format!(", {} fleets", report.fleets) } else { String::new() };
    let keys = if are_keys_new { "; other master keys" } else { "" };
    let warnings: String = report.warnings.iter().map(|warning| format!("\nwarning: {warning}")).collect();
    format!("{what}: {} policies{fleets} in force{keys}{warnings}", report.policies)
}
