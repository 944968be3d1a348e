//! Checks that need more than one value's type: ranges, relations between keys, files that must exist. Each names its
//! key by path, and the tree knows where that was written.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::problem::Problem;
use super::values::{DurationText, format_duration};
use super::{Node, Place};

/// Collects what is wrong with one tree.
#[derive(Debug)]
pub struct Check<'a> {
    root: &'a Node,
    /// What forbids the file.
    pub errors: Vec<Problem>,
    /// What may be a mistake.
    pub warnings: Vec<Problem>,
}

impl<'a> Check<'a> {
    /// Nothing found yet.
    pub fn new(root: &'a Node) -> Self {
        Self { root, errors: Vec::new(), warnings: Vec::new() }
    }

    /// The tree that is checked.
    pub fn root(&self) -> &'a Node {
        self.root
    }

    /// The key is wrong; its value as written is put before `message`.
    pub fn fail(&mut self, key: &str, message: impl fmt::Display) {
        let problem = self.problem(key, message);
        self.errors.push(problem);
    }

    /// Like [`Check::fail`], without the value: it holds a secret.
    pub fn fail_hidden(&mut self, key: &str, message: impl fmt::Display) {
        self.errors.push(Problem::without_line(self.root.place_of(key).clone(), key, message.to_string()));
    }

    /// The key may be a mistake.
    pub fn warn(&mut self, key: &str, message: impl fmt::Display) {
        let problem = self.problem(key, message);
        self.warnings.push(problem);
    }

    /// Whether the key was written at all, also where its value did not fit.
    pub fn is_written(&self, key: &str) -> bool {
        self.root.at(key).is_some_and(|node| !node.is_null())
    }

    /// Whether the key or one under it is wrong already.
    pub fn has_errors_under(&self, key: &str) -> bool {
        self.errors.iter().any(|problem| problem.key.starts_with(key))
    }

    /// A required key: fails if nothing was written. What was written and did not fit has its own error already.
    pub fn require(&mut self, key: &str, message: impl fmt::Display) {
        if !self.is_written(key) {
            self.fail(key, message);
        }
    }

    /// `value` if it is finite and in `range`, else the default and an error.
    pub fn number(&mut self, key: &str, value: Option<f64>, default: f64, range: RangeInclusive<f64>) -> f64 {
        match value {
            None => default,
            Some(value) if range.contains(&value) && value.is_finite() => value + 0.0,
            Some(_) => {
                self.fail(key, format_args!("allowed are numbers from {} to {}", range.start(), range.end()));
                default
            }
        }
    }

    /// `value` if it is in `range`, else the default and an error.
    pub fn count<N: PartialOrd + Copy + fmt::Display>(
        &mut self,
        key: &str,
        value: Option<N>,
        default: N,
        range: RangeInclusive<N>,
    ) -> N {
        match value {
            None => default,
            Some(value) if range.contains(&value) => value,
            Some(_) => {
                self.fail(key, format_args!("allowed are whole numbers from {} to {}", range.start(), range.end()));
                default
            }
        }
    }

    /// `value` if it is in `range`, else the default and an error.
    pub fn duration(
        &mut self,
        key: &str,
        value: Option<DurationText>,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        match value {
            None => default,
            Some(DurationText(value)) if range.contains(&value) => value,
            Some(_) => {
                let (from, to) = (format_duration(*range.start()), format_duration(*range.end()));
                self.fail(key, format_args!("allowed are durations from {from} to {to}"));
                default
            }
        }
    }

    /// The path behind a key: relative to the file's own folder, or to the working folder where it came from the
    /// environment or a flag.
    pub fn path(&mut self, key: &str, value: &str) -> PathBuf {
        if value.is_empty() {
            self.fail(key, "a path is needed");
        }
        match self.root.place_of(key) {
            Place::File { file, .. } => file.path.parent().unwrap_or(Path::new("")).join(value),
            _ => PathBuf::from(value),
        }
    }

    /// Like [`Check::path`], and the file must be readable now.
    pub fn readable_file(&mut self, key: &str, value: &str) -> PathBuf {
        let path = self.path(key, value);
        let opened = std::fs::File::open(&path).and_then(|file| file.metadata());
        match opened {
            _ if value.is_empty() => {}
            Ok(metadata) if metadata.is_dir() => self.fail(key, format_args!("{} is a folder", path.display())),
            Ok(_) => {}
            Err(error) => self.fail(key, format_args!("cannot read {}: {error}", path.display())),
        }
        path
    }

    fn problem(&self, key: &str, message: impl fmt::Display) -> Problem {
        let place = self.root.place_of(key).clone();
        let Some(node) = self.root.at(key) else {
            let is_anywhere = place == self.root.place;
            return Problem { shows_line: !is_anywhere, ..Problem::new(place, key, message.to_string()) };
        };
        let value = node.text().map_or_else(String::new, |text| format!("{text:?}: "));
        Problem::new(place, key, format!("{value}{message}"))
    }
}
