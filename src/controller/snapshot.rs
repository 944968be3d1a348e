//! What the controller publishes: immutable, swapped whole, with every answer ready as bytes.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use tokio::sync::watch;

use super::answer::{Answer, Strategy};
use super::usage::Usage;
use crate::sampling::decision::{PolicyDecision, Reason};
use crate::sampling::pattern::Pattern;
use crate::sampling::policy::Policy;
use crate::sampling::probability::Probability;
use crate::sampling::traffic::Name;
use crate::time::WallTime;

/// Longest service name that is looked up; a longer one is a stranger.
pub const SERVICE_NAME_MAX_BYTES: usize = 256;

/// Served to a service that no policy claims: Jaeger's own default, small enough for any backend.
const UNCLAIMED: f64 = 0.001;

/// Everything that the sinks need, at one generation.
#[derive(Debug)]
pub struct Snapshot {
    /// `max(last + 1, unix milliseconds)`.
    pub generation: u64,
    /// When it was published.
    pub published_at: WallTime,
    /// One entry a policy, sorted by name.
    pub decisions: Vec<Arc<PolicyDecision>>,
    /// The policies that they were decided by, sorted by name: sinks show their rules and never decide by them.
    pub policies: Vec<Arc<Policy>>,
    /// What SDKs reported of the operations that they were told; keyed by service.
    pub usage: HashMap<Name, Arc<Usage>>,
    /// Asked at each request. Strangers choose what is looked up, but not what is in it.
    pub(super) services: Answers,
    pub(super) strangers: Vec<Stranger>,
    pub(super) unclaimed: Arc<Answer>,
}

/// Answers by service.
pub(super) type Answers = HashMap<Name, Arc<Answer>, RandomState>;

/// The answer to names that a policy's rule is the first to match, though its demand never named them.
#[derive(Debug)]
pub(super) struct Stranger {
    pub(super) pattern: Pattern,
    pub(super) answer: Arc<Answer>,
}

impl Snapshot {
    /// Before any policy is loaded: everyone is unclaimed.
    pub fn empty(generation: u64, published_at: WallTime) -> Self {
        let unclaimed = Arc::new(Strategy::uniform(Probability::saturating(UNCLAIMED)).into_answer(generation));
        Self {
            generation,
            published_at,
            decisions: Vec::new(),
            policies: Vec::new(),
            usage: HashMap::new(),
            services: Answers::default(),
            strangers: Vec::new(),
            unclaimed,
        }
    }

    /// The answer for `service`; always one, and asking leaves no trace.
    pub fn answer(&self, service: &str) -> &Arc<Answer> {
        if service.len() > SERVICE_NAME_MAX_BYTES {
            return &self.unclaimed;
        }
        self.services.get(service).unwrap_or_else(|| self.stranger(service))
    }

    /// The answer for a service that a policy decided on by name.
    pub fn known(&self, service: &str) -> Option<&Arc<Answer>> {
        self.services.get(service)
    }

    /// The same snapshot, with these services known: for tests and benches of what reads a snapshot.
    #[doc(hidden)]
    pub fn with_answers(mut self, strategies: impl IntoIterator<Item = (Name, Strategy)>) -> Self {
        let answers = strategies.into_iter().map(|(name, s)| (name, Arc::new(s.into_answer(self.generation))));
        self.services.extend(answers);
        self
    }

    /// Whether a policy decided on this service by name.
    pub fn knows(&self, service: &str) -> bool {
        self.services.contains_key(service)
    }

    /// The policy of that name, as it was when its decision was taken.
    pub fn policy(&self, name: &str) -> Option<&Policy> {
        let index = self.policies.binary_search_by(|policy| policy.name.as_ref().cmp(name)).ok()?;
        Some(&self.policies[index])
    }

    /// Every reason why a policy decides on less than it should, each once, sorted.
    pub fn degraded(&self) -> Vec<Reason> {
        let mut reasons: Vec<Reason> = self.decisions.iter().filter_map(|d| d.degraded).collect();
        reasons.sort_unstable();
        reasons.dedup();
        reasons
    }

    fn stranger(&self, service: &str) -> &Arc<Answer> {
        self.strangers
            .iter()
            .find(|stranger| stranger.pattern.matches(service))
            .map_or(&self.unclaimed, |stranger| &stranger.answer)
    }
}

/// The one place where the current snapshot is read; the controller alone writes it.
#[derive(Debug)]
pub struct Published {
    current: ArcSwap<Snapshot>,
    generation: watch::Sender<u64>,
}

impl Published {
    /// Starts with `first`.
    pub fn new(first: Snapshot) -> Self {
        let (generation, _) = watch::channel(first.generation);
        Self { current: ArcSwap::from_pointee(first), generation }
    }

    /// The snapshot in force; does not block.
    pub fn load(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// The snapshot in force, to keep.
    pub fn load_full(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Changes whenever an answer did; the value is the new generation. A slow reader sees the newest only.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Swaps the snapshot and, where an answer changed, wakes the subscribers. One writer: the controller, or a test.
    pub fn publish(&self, snapshot: Snapshot) {
        let generation = snapshot.generation;
        self.current.store(Arc::new(snapshot));
        self.generation.send_if_modified(|last| std::mem::replace(last, generation) != generation);
    }
}
