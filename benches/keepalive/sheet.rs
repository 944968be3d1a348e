//! Rows of asked and seen.

use std::fmt::Write as _;
use std::ops::Range;
use std::process::exit;
use std::thread;

/// What is printed, and whether all was as asked.
pub(crate) struct Sheet {
    wanted: Vec<String>,
    missed: usize,
}

/// One figure that must not be exceeded.
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) asked: f64,
    pub(crate) seen: f64,
}

impl Sheet {
    /// Of the rows named on the command line, or of all.
    pub(crate) fn from_arguments() -> Self {
        Self { wanted: std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect(), missed: 0 }
    }

    pub(crate) fn title(&self, title: &str) {
        println!("\n{title}");
    }

    /// Whether the row is to be run.
    pub(crate) fn is_wanted(&self, row: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|wanted| row.contains(wanted.as_str()))
    }

    pub(crate) fn row(&mut self, row: &str, figures: &[Figure]) {
        let mut line = format!("{row:<58}");
        for Figure { name, asked, seen } in figures {
            let missed = if seen > asked { " MISSED" } else { "" };
            let _ = write!(line, "  {name} {} (<= {}){missed}", short(*seen), short(*asked));
            self.missed += usize::from(seen > asked);
        }
        println!("{line}");
    }

    /// Ends the process with 1 where a figure was missed.
    pub(crate) fn end(self) {
        if self.missed > 0 {
            println!("\n{} figures missed", self.missed);
            exit(1);
        }
    }
}

fn short(value: f64) -> String {
    if value == value.trunc() { format!("{value}") } else { format!("{value:.3}") }
}

/// What `one` gives for each seed, on every core.
pub(crate) fn for_each<T: Send>(seeds: Range<u64>, one: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let workers = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let one = &one;
    let part = |worker| {
        let seeds = seeds.clone();
        move || seeds.skip(worker as usize).step_by(workers as usize).map(one).collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let parts: Vec<_> = (0..workers).map(|worker| scope.spawn(part(worker))).collect();
        parts.into_iter().flat_map(|part| part.join().expect("a trial does not panic")).collect()
    })
}
