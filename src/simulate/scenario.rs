//! A scenario as the simulator uses it: the plant, the policy under test, what goes wrong, and what must hold. Complete
//! and valid: the file's own shape and its errors live in the command line's room.

use std::sync::Arc;
use std::time::Duration;

use crate::sampling::policy::Policy;
use crate::sampling::traffic::Name;

/// One plant, one policy, one verdict.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Its name: the file's, without folder and ending.
    pub name: Name,
    /// What it shows, in a sentence; empty where nobody said.
    pub about: Name,
    /// Which law decides unless the caller asks for another.
    pub law: LawKind,
    /// What the law is given: bounds, weights, floors, constants. Its `law` is set by [`LawKind`].
    pub policy: Policy,
    /// Simulated time in all.
    pub duration: Duration,
    /// Time at the start that no metric counts.
    pub warmup: Duration,
    /// What `settle_seconds` is counted from; not before `warmup`.
    pub event_at: Duration,
    /// Time that fairness is judged over, after `event_at`; `None` = all of it from `warmup`.
    pub fairness_window: Option<(Duration, Duration)>,
    /// Seeds of which the medians are judged.
    pub seeds: u32,
    /// Who sends.
    pub services: Vec<ServicePlan>,
    /// The policy as the file writes it, as JSON.
    pub policy_written: Arc<str>,
    /// How they learn what to sample.
    pub clients: Clients,
    /// How the controller sees.
    pub scrape: Scrape,
    /// Time between two ticks of the controller.
    pub tick: Duration,
    /// Who receives.
    pub backend: Backend,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// What must hold.
    pub checks: Vec<Check>,
}

/// The laws that can be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LawKind {
    /// Flyball's own.
    Adaptive,
    /// `probability.initial` for all.
    Fixed,
    /// The paper's.
    Threshold,
    /// As Jaeger's adaptive sampling is documented to behave.
    Jaeger,
    /// As Datadog's agent is documented to behave.
    Datadog,
    /// Additive increase, multiplicative decrease.
    Aimd,
    /// Knows capacity and demand at each scrape; has the dead time only.
    Oracle,
}

/// One service.
#[derive(Debug, Clone, PartialEq)]
pub struct ServicePlan {
    /// Its name.
    pub name: Name,
    /// Root requests/s: the sum of the shapes, never below zero. For a service that is no root, its own requests/s.
    pub demand: Vec<Shape>,
    /// How the demand is spread over operations: their parts, which sum to 1. One part = no operations are told.
    pub operations: Vec<f64>,
    /// Spans that one of its sampled roots causes in all services together.
    pub spans_per_trace: f64,
    /// Whether traces begin here. Else it samples as its callers did, and its demand is only shown.
    pub is_root: bool,
}

/// Requests/s over time. Times are from the start of the run.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// Always the same.
    Constant(f64),
    /// Another level from a moment on.
    Step {
        /// Requests/s before.
        from: f64,
        /// Requests/s after.
        to: f64,
        /// When.
        at: Duration,
        /// Shifted by up to this, by the seed: no scenario may depend on the phase of its scrapes.
        within: Duration,
    },
    /// From one level to another in a straight line.
    Ramp {
        /// Requests/s before.
        from: f64,
        /// Requests/s after.
        to: f64,
        /// When it begins.
        at: Duration,
        /// How long it takes.
        over: Duration,
    },
    /// `mean + amplitude * sin(2 pi (t / period + phase))`.
    Diurnal {
        /// Requests/s on average.
        mean: f64,
        /// Requests/s from the mean to the peak.
        amplitude: f64,
        /// One turn.
        period: Duration,
        /// Part of a turn that lies before the start.
        phase: f64,
    },
    /// Crowds at moments drawn by the seed: up to `peak` within `rise`, there for `hold`, then decaying by half each
    /// `half_life`.
    FlashCrowds {
        /// How many in the whole run, after `not_before`.
        count: u32,
        /// No crowd before this.
        not_before: Duration,
        /// Requests/s on top.
        peak: f64,
        /// From nothing to the peak.
        rise: Duration,
        /// Time at the peak.
        hold: Duration,
        /// Time to half of the peak.
        half_life: Duration,
    },
    /// On for a while, off for a while; both exponential.
    OnOff {
        /// Requests/s while on.
        rate: f64,
        /// Mean time on.
        on: Duration,
        /// Mean time off.
        off: Duration,
    },
    /// Bursts at exponential gaps; height and length are Pareto: the tail is heavy.
    Bursts {
        /// Mean gap between the beginnings of two bursts.
        every: Duration,
        /// Requests/s of the smallest burst.
        height: f64,
        /// No burst is higher, requests/s.
        height_max: f64,
        /// Length of the shortest burst.
        length: Duration,
        /// No burst is longer.
        length_max: Duration,
        /// Tail index: the lower, the heavier. Above 0.
        alpha: f64,
    },
    /// Recorded requests/s, held from each row to the next; before the first row and after the last: their values.
    Recorded {
        /// Seconds from the start and requests/s, rising in time.
        rows: Vec<(f64, f64)>,
    },
}

/// The SDKs of all services.
#[derive(Debug, Clone, PartialEq)]
pub struct Clients {
    /// Processes a service.
    pub instances: u32,
    /// How a decision reaches them.
    pub adoption: Adoption,
    /// Instances use the stream's share as a limit of their own.
    pub has_local_limit: bool,
    /// Part of the traffic whose processes are told nothing.
    pub ignoring: f64,
    /// What those sample with.
    pub ignoring_probability: f64,
    /// Mean life of a process; `None` = they never restart.
    pub restart_every: Option<Duration>,
    /// How unevenly a service's load is spread over its instances: the exponent of a Zipf law, 0 = even.
    pub skew: f64,
}

/// How a decision reaches the SDKs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Adoption {
    /// Pushed: everyone has it after this.
    Stream {
        /// Time from the decision to its effect.
        delay: Duration,
    },
    /// Asked for.
    Poll {
        /// Time between two questions of one instance.
        every: Duration,
        /// All instances ask at the same moment.
        is_synchronised: bool,
    },
}

/// How the controller sees.
#[derive(Debug, Clone, PartialEq)]
pub struct Scrape {
    /// Time between two samples of a series.
    pub interval: Duration,
    /// Part of the scrapes that fail.
    pub missed: f64,
    /// Each service is scraped at its own phase; else everything at one.
    pub is_spread: bool,
    /// Time from a sample to its being readable.
    pub visible_after: Duration,
    /// What the queries give.
    pub reading: ReadingKind,
    /// Whether the ticks follow the scrape's phase.
    pub is_locked: bool,
}

/// What the queries give.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ReadingKind {
    /// Raw counters with their own timestamps.
    Raw,
    /// `rate()` over a window, as a server computes it: W is dead time, and it decays when samples stop.
    Rate {
        /// The window.
        window: Duration,
        /// Whether a freshness query tells the age.
        has_freshness: bool,
    },
}

/// The tracing backend.
#[derive(Debug, Clone, PartialEq)]
pub struct Backend {
    /// Spans/s that it bears.
    pub capacity: Vec<Shape>,
    /// What it can queue, in seconds of the capacity at the start.
    pub queue: Duration,
    /// The drop counter exists from the start; else from the first loss on.
    pub has_drop_counter: bool,
}

/// Something that goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// From when.
    pub at: Duration,
    /// For how long; `None` = to the end.
    pub lasts: Option<Duration>,
    /// What.
    pub kind: FaultKind,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum FaultKind {
    /// Prometheus is gone: no scrapes, no answers.
    PrometheusOutage,
    /// The exporters are gone: Prometheus answers, and has nothing new.
    DeadExporters,
    /// The exporters show the same values again and again, with new timestamps.
    FrozenMetrics,
    /// The backend's capacity is multiplied.
    CapacityTimes(f64),
    /// One service's demand is multiplied.
    DemandTimes {
        /// The service.
        service: Name,
        /// The factor.
        factor: f64,
    },
    /// This part of all spans is lost whatever the load.
    ConstantLoss(f64),
    /// The controller's wall clock is off by so many seconds.
    ClockJump(f64),
}

/// A metric and the range that its median must be in.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// A metric's name, or `ratio.` and a metric's name for its ratio to the oracle's.
    pub metric: String,
    /// Lowest allowed value.
    pub min: Option<f64>,
    /// Highest allowed value.
    pub max: Option<f64>,
}

impl LawKind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Adaptive, Self::Fixed, Self::Threshold, Self::Jaeger, Self::Datadog, Self::Aimd, Self::Oracle];

    /// The name in files and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Adaptive => "adaptive",
            Self::Fixed => "fixed",
            Self::Threshold => "threshold",
            Self::Jaeger => "jaeger",
            Self::Datadog => "datadog",
            Self::Aimd => "aimd",
            Self::Oracle => "oracle",
        }
    }
}
