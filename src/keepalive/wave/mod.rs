//! A longer interval is released like software: in waves, each judged against devices that still have the old one.
//!
//! ```text
//!  Evidence (a device's beats), samples of queries, commands of people
//!      ─▶ Rollout ─▶ arm(device): old or new ─▶ Events: who, what, why, evidence
//!           └ a wave: Trial (one a gate) ─▶ Urn, the e-process ─▶ pass | fail | inconclusive | error
//! ```
//!
//! How it sits on the governor (`governor/release.rs`). There, each device earns a longer interval by tests of its own, and
//! [`is_longer_released`](super::policy::Fleet::is_longer_released) says whether what was earned goes out. A rollout
//! takes the place of that switch for one cohort, from the interval in force to the one that the governor's choice
//! would allow (the reason is `awaits_release` until then): a device on [`Arm::New`](plan::Arm) is told `min(to, what
//! it earned, what the cohort's law asks for)`, one on [`Arm::Old`](plan::Arm) `min(from, the same)`. So a rollout
//! never lengthens what a device has not earned, and never delays a shorter interval, which goes out at once; a cohort
//! whose law falls under `from` while a rollout is under way is to abort it. Rolling back is an answer of
//! [`arm`](rollout::Rollout::arm) at once; the edge pushes it.
//!
//! Limits: one rollout a cohort at a time. Late harm to devices of an earlier wave, and to them only, is for the watch
//! of changes ([`super::change`]), not for the gates.

pub mod ab;
pub mod audit;
pub mod buckets;
mod control;
pub mod gaps;
pub mod gate;
pub mod metric;
pub mod nats;
pub mod plan;
pub mod rollout;
pub mod simulation;
pub mod spec;
mod stage;
pub mod stake;
#[cfg(test)]
mod tests;
pub mod urn;
