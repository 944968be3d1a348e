//! Fleets' scenarios on the real kernel: the file that [`crate::simulate`] runs on fake time, with devices behind the
//! kernel's own NAT, the real binary as their server, and its real monitor.
//!
//! ```text
//! scenario ─▶ plan (pure) ─▶ bed: lab, server ─┐
//!                            devices: processes ├─▶ a loop of steps in time ─▶ meter ─▶ metrics, as the simulator has
//!                            pusher: reach ─────┘
//! ```
//!
//! What is measured is measured beside Flyball: pushes that it knows nothing of, the kernel's counters, and what devices say.
//! Everything is taken down by the kernel: namespaces have no names and go with their files, children are killed when this
//! process ends, however it does; only a folder may be left by SIGKILL, and the next run sweeps it.
//!
//! Limits: real time, so that a run takes as long as its scenario says; what only a simulator can do is refused before
//! anything is started ([`plan`]).

mod bed;
mod board;
mod devices;
mod error;
mod http;
mod meter;
pub mod plan;
pub(crate) mod prometheus;
pub mod pusher;
pub mod pushes;
mod resumed;
pub mod sampling;
mod server_log;
pub mod vm;
mod world;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::time::{TimeSpec, TimeValLike as _};
use nix::time::{ClockId, clock_gettime, clock_settime};

pub use error::ChaosError;
pub use world::World;

use self::bed::{Bed, PORT};
use self::devices::Devices;
use self::meter::{Presence, Rollouts, Seen, Wall};
use self::plan::{LabPlan, Step};
use self::pusher::{Known, Pusher};
use self::pushes::Pushes;
use self::resumed::Resumed;
use crate::lab::{Direction, Netem};
use crate::simulate::fleet::metrics::FLEET_METRICS;
use crate::simulate::fleet::scenario::LossModel;
use crate::simulate::metrics::Measured;
use crate::simulate::netem::schedule::{Link, Place};

/// How often it is looked whether something is due.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often it is told how far it is.
const TELL_EVERY: Duration = Duration::from_millis(500);
/// After the last push, before what did not arrive counts as lost.
const GRACE: Duration = Duration::from_millis(500);
/// Of a push on a lossy way, at most so many are lost together.
const LOST_TOGETHER_MAX: f64 = 1e-4;
const COPIES_MAX: usize = 8;

/// How to run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The program to be tried: server and devices.
    pub program: PathBuf,
    /// Moments of pushes are drawn from this.
    pub seed: u64,
    /// Whether the machine is thrown away afterwards, so that its clock may be set.
    pub owns_machine: bool,
}

/// How far a run is.
#[derive(Debug, Clone)]
pub struct Progress<'a> {
    /// Time since its start.
    pub at: Duration,
    /// Time in all.
    pub duration: Duration,
    /// What happened last, in some words.
    pub phase: &'a str,
    /// How things stand, in some words.
    pub figures: String,
}

/// What a run left.
#[derive(Debug, Clone)]
pub struct Ran {
    /// The metrics; NaN where they cannot be measured on a kernel.
    pub measured: Measured,
    /// Time that all of it took.
    pub took: Duration,
    /// What it was measured on, in some words.
    pub beside: String,
}

/// What this machine lacks for a plan, and what to do about it.
pub fn missing(plan: &LabPlan, settings: &Settings) -> Option<String> {
    if plan.sets_clock() && !settings.owns_machine {
        return Some("a step of the clock would be one of this whole machine: use --vm".to_owned());
    }
    if plan.needs_netem
        && let Some(lacks) = Netem::missing()
    {
        return Some(lacks);
    }
    crate::lab::Lab::missing()
}

/// Runs a plan.
///
/// # Errors
/// Something failed on the way, or `stop` was set: there is no verdict. Everything is taken down.
pub fn run(
    plan: &LabPlan,
    settings: &Settings,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(&Progress<'_>),
) -> Result<Ran, ChaosError> {
    let began = Instant::now();
    let mut bed = Bed::make(plan, settings.program.clone())?;
    bed.server_up()?;
    let devices = Devices::make(plan, &bed, settings.program.clone())?;
    let pushes: Arc<Pushes> = Arc::default();
    let known = Known { longest: devices.longest(), port: PORT, seed: settings.seed };
    let pusher = Pusher::start(bed.lab.server(), devices.ears(), &pushes, known)?;
    pusher.open(true);
    let (started, wall, sent) = (Instant::now(), Wall::start(), Vec::new());
    let mut run = Run {
        plan,
        settings,
        stop,
        bed,
        devices,
        pusher,
        pushes,
        started,
        wall,
        sent,
        resumed: Resumed::default(),
        refused: 0,
        phase: "start",
    };
    run.pusher.send_copies(match plan.scenario.loss {
        LossModel::Plain(part) if !plan.needs_netem => copies(part),
        _ => COPIES_MAX,
    });
    run.go(tell)?;
    let (pushes, measured) = (run.pushes.count(), run.measured());
    drop(run);
    let beside = format!("{} devices, {pushes} pushes", plan.devices());
    Ok(Ran { measured, took: began.elapsed(), beside })
}

struct Run<'a> {
    plan: &'a LabPlan,
    settings: &'a Settings,
    stop: &'a AtomicBool,
    // In the order in which they are taken down.
    pusher: Pusher,
    devices: Devices,
    bed: Bed,
    pushes: Arc<Pushes>,
    started: Instant,
    wall: Wall,
    sent: Vec<(Duration, u64)>,
    resumed: Resumed,
    /// Commands that no rollout obeyed.
    refused: u32,
    phase: &'a str,
}

impl Run<'_> {
    fn go(&mut self, tell: &mut dyn FnMut(&Progress<'_>)) -> Result<(), ChaosError> {
        let scenario = Arc::clone(&self.plan.scenario);
        let marks = [Duration::ZERO, scenario.warmup, scenario.event_at, scenario.event_at + scenario.settle];
        let mut agenda: Vec<(Duration, Due)> = marks.into_iter().map(|at| (at, Due::Mark)).collect();
        let joins = self.plan.households.iter().enumerate().map(|(i, household)| (household.joins_at, Due::Join(i)));
        agenda.extend(joins);
        agenda.extend(self.plan.steps.iter().enumerate().map(|(i, step)| (step.at, Due::Step(i))));
        // Stable: of what is due at one time, the mark is first.
        agenda.sort_by_key(|(at, _)| *at);
        let mut agenda = agenda.into_iter().peekable();
        let mut told_at = None::<Instant>;
        loop {
            let now = self.started.elapsed();
            while let Some((_, due)) = agenda.next_if(|(at, _)| *at <= now) {
                self.act(due)?;
            }
            self.look()?;
            if told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
                told_at = Some(Instant::now());
                tell(&self.progress());
            }
            if self.started.elapsed() >= scenario.duration {
                break;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        self.mark()?;
        self.pusher.open(false);
        std::thread::sleep(GRACE);
        Ok(())
    }

    /// Nothing has ended by itself, and nobody wants an end.
    fn look(&mut self) -> Result<(), ChaosError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(ChaosError::Interrupted);
        }
        if self.pusher.has_failed() {
            return Err(ChaosError::Measurement);
        }
        if self.resumed.is_waiting()
            && let Some(rows) = self.bed.rollouts()
        {
            self.resumed.goes_on(&rows);
        }
        self.devices.alive()?;
        self.bed.alive()
    }

    fn act(&mut self, due: Due) -> Result<(), ChaosError> {
        match due {
            Due::Mark => self.mark(),
            Due::Join(household) => self.devices.power_on(household, true),
            Due::Step(i) => {
                let step = &self.plan.steps[i];
                if !step.words.is_empty() {
                    self.phase = &step.words;
                }
                self.step(&step.step)
            }
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), ChaosError> {
        match step {
            Step::Change(at, nat) => self.bed.change(*at, nat),
            Step::Reboot(boxes) => Ok(boxes.iter().try_for_each(|at| self.bed.boxes[*at].reboot())?),
            Step::ServerDown { is_killed } => {
                self.resumed.stops(Instant::now(), &self.bed.rollouts().unwrap_or_default());
                self.bed.server_down(*is_killed)
            }
            Step::ServerUp => self.bed.server_up(),
            Step::Loss(part) => {
                self.pusher.send_copies(copies(*part));
                self.bed.lose(*part)
            }
            Step::Netem(at) => self.impair(*at),
            Step::Policy(written) => self.bed.follow_policy(written),
            Step::Move(households, to) => {
                households.iter().try_for_each(|at| self.devices.move_to(*at, &self.bed.boxes[*to]))
            }
            Step::PowerOff(households) => {
                households.iter().for_each(|at| self.devices.power_off(*at));
                Ok(())
            }
            Step::PowerOn(households) => households.iter().try_for_each(|at| self.devices.power_on(*at, false)),
            Step::Rollout(cohorts, command) => {
                self.refused += u32::from(self.bed.command(cohorts, *command) == 0);
                Ok(())
            }
            Step::ClockStep(seconds) => self.step_clock(*seconds),
        }
    }

    /// Both directions of every link do what the scenario says of this time.
    fn impair(&self, at: Duration) -> Result<(), ChaosError> {
        let (scenario, at_box) = (&self.plan.scenario, &self.plan.truth(at).at_box);
        let carrier = |at_box: usize| &*self.plan.carriers()[self.plan.boxes[at_box].carrier].name;
        let mut seed = self.settings.seed;
        for direction in [Direction::Up, Direction::Down] {
            let mut netem = |place, carrier: &str| {
                seed = seed.wrapping_add(1);
                let netem = scenario.netem_at(at, Link { place, carrier, direction });
                netem.map(|netem| Netem { seed: Some(seed), ..netem })
            };
            for (household, at_box) in self.devices.households.iter().zip(at_box) {
                household.impair(direction, netem(Place::Devices, carrier(*at_box)).as_ref())?;
            }
            for (i, of) in self.bed.boxes.iter().enumerate() {
                devices::impair(of, direction, netem(Place::Carriers, carrier(i)).as_ref())?;
            }
            devices::impair(&self.bed.lab, direction, netem(Place::Server, "").as_ref())?;
        }
        Ok(())
    }

    /// Only on a machine that is thrown away.
    fn step_clock(&mut self, seconds: f64) -> Result<(), ChaosError> {
        if !self.settings.owns_machine {
            return Err(ChaosError::Machine("the clock of this machine is not ours to set".to_owned()));
        }
        let failed = |errno: nix::Error| ChaosError::Child { what: "set the clock", source: errno.into() };
        let clock = ClockId::CLOCK_REALTIME;
        let now = clock_gettime(clock).map_err(failed)?;
        let next = now + TimeSpec::nanoseconds((seconds * 1e9) as i64);
        clock_settime(clock, next).map_err(failed)?;
        self.wall.stepped();
        Ok(())
    }

    fn mark(&mut self) -> Result<(), ChaosError> {
        let sent = self.devices.sent()?;
        self.sent.push((self.started.elapsed(), sent));
        Ok(())
    }

    fn progress(&self) -> Progress<'_> {
        let duration = self.plan.scenario.duration;
        let at = self.started.elapsed().min(duration);
        Progress { at, duration, phase: self.phase, figures: self.figures() }
    }

    fn figures(&self) -> String {
        let (told, devices) = (self.devices.board.told(), self.plan.devices());
        let paces = Some(self.devices.board.intervals()).filter(|paces| !paces.is_empty());
        let paces = paces.map_or_else(String::new, |paces| format!(" ({paces})"));
        let coverage = meter::coverage(self.pushes.since(0, |_| true).iter());
        let coverage = if coverage.is_nan() { "-".to_owned() } else { format!("{:.1} %", coverage * 100.0) };
        let is_live = |rollout: &&serde_json::Value| {
            !matches!(rollout["state"].as_str(), Some("released" | "rolled_back") | None)
        };
        let rollouts = self.bed.rollouts();
        let rollouts = rollouts.map_or(0, |rows| rows.as_array().into_iter().flatten().filter(is_live).count());
        let rollouts = if rollouts > 0 { format!(", {rollouts} rollouts") } else { String::new() };
        format!("{told} of {devices} devices told{paces}, coverage {coverage}{rollouts}")
    }

    fn measured(&mut self) -> Measured {
        self.resumed.read(|id| {
            meter::history(&self.bed.get(&format!("/api/v1/rollouts/{id}")).unwrap_or_default(), &self.wall)
        });
        let presence =
            |household: &devices::Household| Presence { devices: household.devices(), on: household.on.clone() };
        let seen = Seen {
            plan: self.plan,
            started: self.started,
            pushes: self.pushes.since(0, |_| true),
            said: self.devices.board.all(),
            households: self.devices.households.iter().map(presence).collect(),
            sent: self.sent.clone(),
            probes: self.pusher.probes(),
            tests: self.devices.board.tests(),
            rollouts: Rollouts::of(&self.bed.rollouts().unwrap_or_default(), &self.wall),
            resumed: &self.resumed,
            refused: self.refused,
        };
        Measured { names: &FLEET_METRICS, values: seen.metrics(), ratios: vec![f64::NAN; FLEET_METRICS.len()] }
    }
}

/// Something in time.
#[derive(Debug, Clone, Copy)]
enum Due {
    /// What was sent until now is written down.
    Mark,
    /// A household starts.
    Join(usize),
    /// A step of the plan.
    Step(usize),
}

/// So many of each push that the way loses all of them hardly ever.
fn copies(lost: f64) -> usize {
    (1..COPIES_MAX).find(|copies| lost.powi(*copies as i32) <= LOST_TOGETHER_MAX).unwrap_or(COPIES_MAX)
}
