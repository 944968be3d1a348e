//! Why a value does not fit its key, in the user's words: serde's error type for [`read`](super::read).

use std::fmt;

use serde::de;

use super::{Entry, Node, Place};

/// One step of a path.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// Why a node does not fit, and where: the path grows from the leaf outwards.
#[derive(Debug)]
pub(super) struct Misfit {
    pub(super) path: Vec<Step>,
    pub(super) place: Place,
    pub(super) message: String,
    pub(super) missing: Option<&'static str>,
    is_placed: bool,
}

impl Misfit {
    fn new(message: String) -> Self {
        Self { path: Vec::new(), place: Place::Nowhere, message, missing: None, is_placed: false }
    }

    /// The node itself does not fit: names its value.
    pub(super) fn on(mut self, node: &Node) -> Self {
        if !self.is_placed {
            self.is_placed = true;
            self.place = node.place.clone();
            if let Some(text) = node.text().filter(|_| self.missing.is_none()) {
                self.message = format!("{text:?}: {}", self.message);
            }
        }
        self
    }

    /// The key of `entry` is not one of the shape's.
    pub(super) fn on_key(mut self, entry: &Entry) -> Self {
        self.is_placed = true;
        self.place = entry.key_place.clone();
        self.path = vec![Step::Key(entry.key.clone())];
        self
    }

    /// One level up.
    pub(super) fn under(mut self, step: Step) -> Self {
        self.path.push(step);
        self
    }

    /// The path as users read it.
    pub(super) fn key(&self) -> String {
        let mut key = String::new();
        for step in self.path.iter().rev() {
            match step {
                Step::Key(name) => key = join(&key, name),
                Step::Index(index) => key.push_str(&format!("[{index}]")),
            }
        }
        key
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Misfit {}

impl de::Error for Misfit {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(format!("expected {}", plain(&expected.to_string())))
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(format!("expected {}", plain(&expected.to_string())))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("expected one of: {}", expected.join(", ")))
    }

    fn unknown_field(name: &str, expected: &'static [&'static str]) -> Self {
        let near = expected.iter().filter(|known| is_near(name, known)).map(|known| format!("did you mean {known}? "));
        Self::new(format!("unknown key; {}known here: {}", near.collect::<String>(), expected.join(", ")))
    }

    fn missing_field(name: &'static str) -> Self {
        Self { missing: Some(name), ..Self::new(format!("the key {name} is missing")) }
    }
}

/// serde's words for types, in the user's.
fn plain(expected: &str) -> &str {
    match expected {
        "f64" => "a number",
        "u32" | "u64" | "usize" => "a whole number, not negative",
        "a boolean" => "true or false",
        "a map" => "keys with values",
        "a sequence" => "a list",
        _ if expected.starts_with("struct ") => "keys with values",
        _ => expected,
    }
}

/// Whether one letter was added, left out, changed, or swapped with its neighbour.
fn is_near(written: &str, known: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (written.chars().collect(), known.chars().collect());
    let start = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[start..], &b[start..]);
    let end = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[..a.len() - end], &b[..b.len() - end]);
    matches!((a, b), ([], []) | ([_], [] | [_]) | ([], [_])) || matches!((a, b), ([w, x], [y, z]) if w == z && x == y)
}

/// A key under its parent.
pub(super) fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_keys_are_suggested() {
        for (written, known, expected) in [
            ("cuont", "count", true),
            ("coun", "count", true),
            ("countt", "count", true),
            ("xount", "count", true),
            ("amount", "count", false),
            ("w", "weight", false),
        ] {
            assert_eq!(is_near(written, known), expected, "{written} {known}");
        }
    }
}
