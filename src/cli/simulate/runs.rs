//! Runs on all cores: jobs are taken as cores come free and handed on in their order.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use super::Failure;
use crate::simulate::metrics::Measured;
use crate::simulate::plan::{Plan, Ran};

/// One run to do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job<'a> {
    /// What, under its own law.
    pub(super) plan: &'a Plan,
    /// With which seed.
    pub(super) seed: u64,
}

/// What a run left.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Its metrics, beside the oracle's on the same seed.
    pub(super) measured: Measured,
    /// The run itself; of the first job only, because a day of it is megabytes.
    pub(super) ran: Option<Ran>,
}

/// Does all jobs and hands each outcome to `each`, in the order of the jobs, as soon as it is its turn.
pub(super) fn run<'a>(
    jobs: &[Job<'a>],
    mut each: impl FnMut(&Job<'a>, Outcome) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let next = AtomicUsize::new(0);
    let workers = thread::available_parallelism().map_or(1, usize::from).min(jobs.len());
    thread::scope(|scope| {
        let (done, outcomes) = mpsc::sync_channel(workers);
        for _ in 0..workers {
            let (done, next) = (done.clone(), &next);
            scope.spawn(move || {
                let taken = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
                for index in taken.take_while(|index| *index < jobs.len()) {
                    // A reader that went away has failed already: there is nothing left to do.
                    if done.send((index, one(&jobs[index], index == 0))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        let mut waiting = BTreeMap::new();
        let mut turn = 0;
        for (count, (index, outcome)) in outcomes.into_iter().enumerate() {
            waiting.insert(index, outcome);
            progress(count + 1, jobs);
            while let Some(outcome) = waiting.remove(&turn) {
                each(&jobs[turn], outcome)?;
                turn += 1;
            }
        }
        Ok(())
    })
}

fn one(job: &Job<'_>, is_kept: bool) -> Outcome {
    let ran = job.plan.run(job.seed);
    Outcome { measured: job.plan.measured(job.seed, &ran), ran: is_kept.then_some(ran) }
}

/// One line on a terminal, wiped before anything else is written there.
fn progress(done: usize, jobs: &[Job<'_>]) {
    let mut out = std::io::stderr().lock();
    if !out.is_terminal() {
        return;
    }
    // A terminal that cannot be written to needs no progress.
    let _ = match jobs.get(done) {
        Some(job) => write!(out, "\r\x1b[K{done} of {} runs, {}\r", jobs.len(), job.plan.name()),
        None => write!(out, "\r\x1b[K"),
    };
    let _ = out.flush();
}
