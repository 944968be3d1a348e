//! Policies reload while the process runs: as a whole, and the last good set stays.
//!
//! Events of the file system are a hint and nothing more. An editor writes in three steps, `mv` within a folder and a
//! swapped link are easily missed, a mounted ConfigMap replaces the folder that its names point into, and some file
//! systems send no events. So whatever the hint, and every few seconds without one, the same thing happens: read all
//! files, compare the fingerprint of their content with what was seen last, and only then check and publish. SIGHUP and
//! `POST /-/reload` ask for the same and wait for the outcome.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::folder::{Fingerprint, Folder};
use super::load::{Loaded, PolicyErrors, from_folder};
use super::{PolicySet, SourceKinds};
use crate::document::Place;
use crate::document::problem::{Problem, Problems};
use crate::telemetry::metrics::Metrics;

/// Time between two looks without a hint. 100 policies are read in a few milliseconds.
const POLL: Duration = Duration::from_secs(5);
/// From a hint to the look: editors and `kubectl` write in several steps.
const SETTLE: Duration = Duration::from_millis(200);
/// Requests that may wait; more are refused.
const REQUESTS_MAX: usize = 16;

/// What a reload found.
#[derive(Debug, Clone, PartialEq)]
pub struct ReloadReport {
    /// Policies in force.
    pub policies: usize,
    /// Fleet files in force.
    pub fleets: usize,
    /// Whether the set in force is another than before.
    pub is_changed: bool,
    /// What may be a mistake.
    pub warnings: Vec<Problem>,
}

/// How a reload ended.
pub type ReloadOutcome = Result<ReloadReport, Arc<PolicyErrors>>;

/// Asks for a reload. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ReloadHandle {
    requests: mpsc::Sender<oneshot::Sender<ReloadOutcome>>,
}

impl ReloadHandle {
    /// Reads the policies again now and waits for the outcome.
    ///
    /// # Errors
    /// Every error of the files; the set before them stays in force.
    pub async fn reload(&self) -> ReloadOutcome {
        let refused = |why: &str| Arc::new(Problems(vec![Problem::new(Place::Nowhere, "", why)]));
        let (answer, outcome) = oneshot::channel();
        self.requests.try_send(answer).map_err(|_| refused("no reload: shutting down, or too many at once"))?;
        outcome.await.unwrap_or_else(|_| Err(refused("no reload: shutting down")))
    }
}

/// What the last look saw, so that the same failure is told once.
#[derive(Debug, Clone, PartialEq)]
enum Seen {
    Files(Fingerprint),
    Failure(Arc<PolicyErrors>),
}

/// The one task that reads policies after the start.
#[derive(Debug)]
pub struct PolicyWatcher {
    folder: PathBuf,
    sources: SourceKinds,
    metrics: Metrics,
    in_force: watch::Sender<Arc<PolicySet>>,
    last_outcome: ReloadOutcome,
    seen: Seen,
}

impl PolicyWatcher {
    /// Watches `folder`, of which `initial` was read, until `shutdown`. The receiver changes with each new good set.
    pub fn spawn(
        folder: PathBuf,
        sources: impl Into<SourceKinds>,
        initial: Loaded,
        metrics: Metrics,
        shutdown: CancellationToken,
    ) -> (watch::Receiver<Arc<PolicySet>>, ReloadHandle) {
        let seen = Seen::Files(initial.fingerprint);
        let report = ReloadReport {
            policies: initial.set.policies.len(),
            fleets: initial.set.fleets.len(),
            is_changed: false,
            warnings: initial.warnings,
        };
        let (in_force, receiver) = watch::channel(Arc::new(initial.set));
        let (requests, inbox) = mpsc::channel(REQUESTS_MAX);
        metrics.reload_success.set(1);
        let watcher = Self { folder, sources: sources.into(), metrics, in_force, last_outcome: Ok(report), seen };
        tokio::spawn(async move {
            shutdown.run_until_cancelled(watcher.run(inbox)).await;
        });
        (receiver, ReloadHandle { requests })
    }

    async fn run(mut self, mut inbox: mpsc::Receiver<oneshot::Sender<ReloadOutcome>>) {
        let hint = Arc::new(Notify::new());
        let _events = listen(&self.folder, &hint);
        let mut poll = interval_at(Instant::now() + POLL, POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let request = tokio::select! {
                Some(request) = inbox.recv() => Some(request),
                () = hint.notified() => { sleep(SETTLE).await; None }
                _ = poll.tick() => None,
            };
            let outcome = self.look().await;
            if let Some(request) = request {
                // Whoever asked may be gone; the outcome is logged all the same.
                let _ = request.send(outcome);
            }
        }
    }

    /// Reads the folder; checks and publishes it if its content is new.
    async fn look(&mut self) -> ReloadOutcome {
        let (folder, source, seen) = (self.folder.clone(), self.sources, self.seen.clone());
        let look = tokio::task::spawn_blocking(move || look(&folder, source, &seen));
        match look.await.expect("reading policies does not panic") {
            Look::Same => self.unchanged(),
            Look::New(fingerprint, outcome) => {
                self.seen = Seen::Files(fingerprint);
                self.last_outcome = self.take(outcome);
                self.last_outcome.clone()
            }
            Look::Unreadable(errors) => {
                self.seen = Seen::Failure(Arc::clone(&errors));
                self.last_outcome = self.take(Err(errors));
                self.last_outcome.clone()
            }
        }
    }

    fn unchanged(&self) -> ReloadOutcome {
        self.last_outcome.clone().map(|report| ReloadReport { is_changed: false, ..report })
    }

    fn take(&self, outcome: Result<Loaded, Arc<PolicyErrors>>) -> ReloadOutcome {
        self.metrics.reload_success.set(i64::from(outcome.is_ok()));
        let loaded = outcome.inspect_err(|errors| {
            let lines: Vec<String> = errors.0.iter().map(Problem::line).collect();
            warn!(errors = lines.join("; "), "policies not reloaded; the last good set stays in force");
        })?;
        for warning in &loaded.warnings {
            warn!(warning = warning.line(), "policy warning");
        }
        let (policies, fleets) = (loaded.set.policies.len(), loaded.set.fleets.len());
        let is_changed = self.in_force.send_if_modified(|in_force| {
            let is_changed = **in_force != loaded.set;
            *in_force = Arc::new(loaded.set);
            is_changed
        });
        info!(policies, fleets, is_changed, "policies reloaded");
        Ok(ReloadReport { policies, fleets, is_changed, warnings: loaded.warnings })
    }
}

enum Look {
    Same,
    New(Fingerprint, Result<Loaded, Arc<PolicyErrors>>),
    Unreadable(Arc<PolicyErrors>),
}

fn look(folder: &Path, sources: SourceKinds, seen: &Seen) -> Look {
    match Folder::read(folder) {
        Ok(files) if *seen == Seen::Files(files.fingerprint) => Look::Same,
        Ok(files) => Look::New(files.fingerprint, from_folder(&files, sources).map_err(Arc::new)),
        Err(errors) => {
            let errors = Arc::new(errors);
            if *seen == Seen::Failure(Arc::clone(&errors)) { Look::Same } else { Look::Unreadable(errors) }
        }
    }
}

/// Turns the file system's events into hints; without them the poll remains.
fn listen(folder: &Path, hint: &Arc<Notify>) -> Option<RecommendedWatcher> {
    let hint = Arc::clone(hint);
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Our own reading is an event too, and no reason to read again.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            hint.notify_one();
        }
    });
    let watching = watcher.and_then(|mut watcher| {
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    watching
        .inspect_err(|error| warn!(%error, folder = %folder.display(), "no events for the policy folder; polling only"))
        .ok()
}
