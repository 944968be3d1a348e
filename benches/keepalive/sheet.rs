//! Rows of asked and seen.

use std::fmt::Write as _;
use std::ops::Range;
use std::thread;

/// What is printed, and whether all was as asked.
pub(crate) struct Sheet {
    wanted: Vec<String>,
    part: u64,
    missed: Vec<String>,
}

/// One figure that must not be exceeded.
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) asked: f64,
    pub(crate) seen: f64,
}

impl Sheet {
    /// Of the rows whose names have one of these parts, or of all; with one run in so many.
    pub(crate) const fn new(wanted: Vec<String>, part: u64) -> Self {
        Self { wanted, part, missed: Vec::new() }
    }

    /// The seeds of a row that has so many in the whole table.
    pub(crate) const fn seeds(&self, all: u64) -> Range<u64> {
        0..all.div_ceil(self.part)
    }

    /// The most that a row of `runs` may show of a rate that is asked for in percent: the rate in the whole table, and as
    /// much more as chance brings in one of a thousand of the rows that have fewer runs.
    pub(crate) fn rate(&self, percent: f64, runs: u64) -> f64 {
        let expected = percent / 100.0 * runs as f64;
        if self.part == 1 { percent } else { 100.0 * (expected + 3.0 * expected.sqrt() + 1.0) / runs as f64 }
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
        let mut is_missed = false;
        for Figure { name, asked, seen } in figures {
            let missed = if seen > asked { " MISSED" } else { "" };
            let _ = write!(line, "  {name} {} (<= {}){missed}", short(*seen), short(*asked));
            is_missed |= seen > asked;
        }
        println!("{line}");
        if is_missed {
            self.missed.push(line);
        }
    }

    /// The rows that missed a figure.
    pub(crate) fn missed(self) -> Vec<String> {
        self.missed
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
