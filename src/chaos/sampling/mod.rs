//! Sampling's scenarios in real time: a real Prometheus server scrapes the plant's counters, the real binary reads it and
//! answers by the protocol that SDKs speak, and the plant samples as it is answered.
//!
//! ```text
//!  plant (demand, SDKs, backend) ─▶ exporter ─▶ Prometheus ─▶ flyball run ─▶ HTTP :sampling ─▶ plant
//! ```
//!
//! Who asks and who bears are the simulator's ([`crate::simulate::live`]), so that both worlds meet the same demand; who
//! measures, decides and answers is real. No namespaces: everything is on loopback, and nothing needs root.
//!
//! Limits: real time. SDKs take up what is answered as the scenario says, after its delay or at their polls; the share of a
//! local limit comes by the stream alone, so that scenarios with one are left to the simulator.

mod bed;
mod page;
mod plan;
mod served;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use self::plan::SamplingPlan;

use self::bed::Bed;
use self::page::Page;
use super::{ChaosError, Progress, Ran, Settings};
use crate::simulate::live::{Live, paced};
use crate::simulate::metrics::Measured;
use crate::simulate::scenario::LawKind;

/// How often it is told how far it is.
const TELL_EVERY: Duration = Duration::from_millis(500);
/// Falling behind by more than this, the machine is too busy for what is measured.
const BEHIND_MAX: Duration = Duration::from_secs(10);

/// Runs a plan.
///
/// # Errors
/// Something failed on the way, or `stop` was set: there is no verdict. Everything is taken down.
pub(super) fn run(
    plan: &SamplingPlan,
    settings: &Settings,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(&Progress<'_>),
) -> Result<Ran, ChaosError> {
    let began = Instant::now();
    let scenario = paced(&plan.scenario);
    let mut live = Live::new(&scenario, settings.seed);
    let mut bed = Bed::make(plan, settings, Page::new(live.series(), Live::STEP))?;
    bed.start(stop)?;
    let (started, mut told_at) = (Instant::now(), None::<Instant>);
    while live.due() < scenario.duration {
        let now = started.elapsed();
        if let Some(wait) = live.due().checked_sub(now) {
            std::thread::sleep(wait);
        } else if now.saturating_sub(live.due()) > BEHIND_MAX {
            return Err(ChaosError::Measurement);
        }
        if stop.load(Ordering::Relaxed) {
            return Err(ChaosError::Interrupted);
        }
        live.tell(bed.said());
        live.step();
        bed.show(live.counters());
        bed.meet(&plan.weather(live.due()))?;
        if told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            told_at = Some(Instant::now());
            let weather = plan.weather(live.due());
            let figures = bed.figures();
            tell(&Progress { at: live.due(), duration: scenario.duration, phase: weather.words(), figures });
        }
    }
    let beside = bed.beside();
    drop(bed);
    let score = live.close().score;
    let oracle = crate::simulate::run(&plan.scenario, LawKind::Oracle, settings.seed).score;
    Ok(Ran { measured: Measured::of(&score, &oracle), took: began.elapsed(), beside })
}
