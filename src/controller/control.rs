//! The loop: once a poll interval, just behind a scrape, it asks the source, lets each policy's governor decide and
//! publishes the next snapshot. It takes no hint of what changed, does the same work each time and does not retry: the next tick is the
//! retry.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::assemble::{assemble, next_generation};
use super::governors::Governors;
use super::journal::Journal;
use super::memory::Memories;
use super::snapshot::{Published, Snapshot};
use super::usage::{Usage, UsageReport};
use crate::cluster::store::Saver;
use crate::policy::PolicySet;
use crate::sampling::phase::Phase;
use crate::sampling::traffic::{Name, Traffic};
use crate::source::{Signals, Source};
use crate::telemetry::metrics::Metrics;
use crate::time::Clock;

/// What comes in besides traffic.
#[derive(Debug)]
pub struct Inlets {
    /// The policies in force; a change takes effect at once.
    pub policies: watch::Receiver<Arc<PolicySet>>,
    /// What SDKs met of the operations that they were told.
    pub usage: mpsc::Receiver<UsageReport>,
}

/// Owner of all state of the sampling loop.
#[derive(Debug)]
pub struct Controller {
    clock: Clock,
    governors: Governors,
    policies: Arc<PolicySet>,
    published: Arc<Published>,
    usage: HashMap<Name, Arc<Usage>>,
    saver: Option<Saver<Memories>>,
    journal: Journal,
}

impl Controller {
    /// Starts from `policies` and what an earlier process remembered; the first snapshot is published at once, so that
    /// clients are answered before the source is.
    pub fn new(
        clock: Clock,
        poll_interval: Duration,
        policies: Arc<PolicySet>,
        memories: &Memories,
        saver: Option<Saver<Memories>>,
        metrics: Metrics,
    ) -> Self {
        let now = clock.now();
        let generation = next_generation(memories.generation, now.wall);
        let mut controller = Self {
            clock,
            governors: Governors::new(now, poll_interval, &policies, memories),
            policies,
            published: Arc::new(Published::new(Snapshot::empty(generation, now.wall))),
            usage: HashMap::new(),
            saver,
            journal: Journal::new(metrics),
        };
        controller.decide(&BTreeMap::new());
        controller
    }

    /// Where the snapshots appear.
    pub fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published)
    }

    /// Runs until `shutdown`; what was learnt is saved before it returns.
    pub async fn run(mut self, mut source: Source, mut inlets: Inlets, shutdown: CancellationToken) {
        let mut phase = Phase::new(source.interval());
        let mut timer = pin!(sleep(Duration::ZERO));
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Ok(()) = inlets.policies.changed() => {
                    let policies = inlets.policies.borrow_and_update().clone();
                    self.replace_policies(policies);
                }
                // Before the reports: a flood of them must not delay a decision.
                () = timer.as_mut() => {
                    tokio::select! {
                        () = shutdown.cancelled() => break,
                        () = self.tick(&mut source) => {}
                    }
                    timer.set(sleep(self.until_next(&source, &mut phase)));
                }
                Some(report) = inlets.usage.recv() => self.note_usage(&report),
            }
        }
        let last = self.governors.memories(self.published.load().generation);
        if let Some(saver) = self.saver {
            saver.finish(last);
        }
    }

    async fn tick(&mut self, source: &mut Source) {
        let started = self.clock.now().mono;
        let asked: Vec<(Name, Arc<Signals>)> =
            self.policies.policies.iter().map(|p| (p.sampling.name.clone(), Arc::clone(&p.signals))).collect();
        let mut traffic = BTreeMap::new();
        for polled in source.poll(&asked, &self.clock).await {
            self.journal.polled(&polled.policy, polled.result.as_ref().err());
            if let Ok(seen) = polled.result {
                traffic.insert(polled.policy, seen);
            }
        }
        self.decide(&traffic);
        self.journal.ticked(self.clock.now().mono.since(started));
    }

    /// How long to wait for the next tick: until just behind the next scrape, where the source knows when that is.
    fn until_next(&self, source: &Source, phase: &mut Phase) -> Duration {
        let (now, rhythm) = (self.clock.now().mono, source.rhythm());
        let age = rhythm.map(|rhythm| now.since(rhythm.newest));
        phase.observe(now, age, rhythm.map(|rhythm| rhythm.interval), rhythm.is_some_and(|rhythm| rhythm.is_new));
        phase.next_poll(now).since(now)
    }

    fn replace_policies(&mut self, policies: Arc<PolicySet>) {
        self.policies = policies;
        self.governors.replace_policies(self.clock.now(), &self.policies);
        self.decide(&BTreeMap::new());
    }

    /// Reports on services that no policy decided on are dropped: strangers create no state.
    fn note_usage(&mut self, report: &UsageReport) {
        if self.published.load().knows(&report.service) {
            Arc::make_mut(self.usage.entry(report.service.clone()).or_default()).add(report);
        }
    }

    fn decide(&mut self, traffic: &BTreeMap<Name, Traffic>) {
        let now = self.clock.now();
        let previous = self.published.load_full();
        let decisions = self.governors.tick(now, traffic);
        self.journal.decided(&previous.decisions, &decisions);
        self.usage.retain(|service, _| previous.knows(service));
        let next = assemble(&previous, now.wall, &self.policies, decisions, self.usage.clone());
        let is_changed = next.generation != previous.generation;
        self.published.publish(next);
        if let Some(saver) = self.saver.as_ref().filter(|_| is_changed) {
            saver.save(self.governors.memories(self.published.load().generation));
        }
    }
}
