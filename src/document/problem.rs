//! One error or warning about what a user wrote: where, which key, and what to do.

use std::fmt;

use super::Place;

/// Longest line that a snippet shows, in characters; longer ones are cut around the column.
const SNIPPET_WIDTH_MAX: usize = 100;

/// One error or warning.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// Where it was written.
    pub place: Place,
    /// The key's path, `services[2].weight`; empty for the whole file.
    pub key: String,
    /// What is wrong, the value included, and what is allowed.
    pub message: String,
    /// Whether the line may be shown and helps: not if it holds a secret, or is only the nearest one to a missing key.
    pub shows_line: bool,
}

/// Every problem of one load, in the order of the files and their lines; never empty as an error.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Problems(pub Vec<Problem>);

impl Problem {
    /// A problem at `place`.
    pub fn new(place: Place, key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place, key: key.into(), message: message.into(), shows_line: true }
    }

    /// A problem whose line is not shown.
    pub fn without_line(place: Place, key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { shows_line: false, ..Self::new(place, key, message) }
    }

    /// The problem on one line, without its snippet.
    pub fn line(&self) -> String {
        let place = self.place.to_string();
        let parts = [place.as_str(), self.key.as_str(), self.message.as_str()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
    }

    /// `  7 | probability: {min: 2}` and a caret under the column; empty without a file.
    fn snippet(&self) -> String {
        let Place::File { file, line, column } = &self.place else { return String::new() };
        if !self.shows_line {
            return String::new();
        }
        let Some(text) = file.text.lines().nth(line - 1).filter(|text| !text.trim().is_empty()) else {
            return String::new();
        };
        let skipped = column.saturating_sub(SNIPPET_WIDTH_MAX * 4 / 5);
        let shown: String = text.chars().skip(skipped).take(SNIPPET_WIDTH_MAX).map(printable).collect();
        let caret = " ".repeat(column - 1 - skipped);
        let gutter = line.to_string();
        let margin = " ".repeat(gutter.len());
        format!("\n  {gutter} | {}\n  {margin} | {caret}^", shown.trim_end())
    }
}

/// Control characters would move the caret, or the terminal.
fn printable(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.line(), self.snippet())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => Ok(()),
            Self::File { file, line, column } => write!(f, "{}:{line}:{column}", file.path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

impl Problems {
    /// Sorted by file, line and column, each once.
    pub fn sorted(mut self) -> Self {
        self.0.sort_by(|a, b| position(a).cmp(&position(b)));
        self.0.dedup();
        self
    }
}

fn position(problem: &Problem) -> (Option<&std::path::Path>, usize, usize) {
    match &problem.place {
        Place::File { file, line, column } => (Some(&file.path), *line, *column),
        _ => (None, 0, 0),
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            write!(f, "{}error: {problem}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::document::SourceFile;

    fn problem(text: &str, line: usize, column: usize) -> Problem {
        let file = Arc::new(SourceFile { path: "a.yaml".into(), text: text.to_owned() });
        Problem::new(Place::File { file, line, column }, "max_age", "too long")
    }

    #[test]
    fn the_caret_stands_under_the_column() {
        let shown = problem("a: 1\nmax_age: 9d\n", 2, 10).to_string();
        assert_eq!(shown, "a.yaml:2:10: max_age: too long\n  2 | max_age: 9d\n    |          ^");
    }

    #[test]
    fn the_caret_stands_under_the_column_of_an_overlong_line() {
        let text = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let shown = problem(&text, 1, 501).to_string();
        let lines: Vec<&str> = shown.lines().collect();
        let caret = lines[2].find('^').expect("a caret");
        assert_eq!(lines[1].as_bytes()[caret], b'X');
        assert!(lines[1].len() <= SNIPPET_WIDTH_MAX + 6);
    }

    #[test]
    fn a_place_outside_the_text_has_no_snippet() {
        assert_eq!(problem("", 1, 1).to_string(), "a.yaml:1:1: max_age: too long");
        assert_eq!(problem("a", 9, 9).to_string(), "a.yaml:9:9: max_age: too long");
    }
}
