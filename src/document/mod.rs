//! A file as a tree in which every value knows where it was written, so that *every* error of *every* layer can name
//! its place.
//!
//! Deserializing straight into structs stops at the first error and forgets where the good values stood; a check that
//! relates two keys has no place left to name. So a file becomes a [`Node`] tree first ([`yaml`]), the tree becomes a
//! raw shape with all misfits collected ([`read`]), and what relates keys to each other asks the tree for their places
//! ([`check`]).

pub mod check;
mod misfit;
pub mod problem;
pub mod read;
pub mod values;
pub mod yaml;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Where it was written.
    pub place: Place,
}

/// What a [`Node`] holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing, or `null`: the same as leaving the key out.
    Null,
    /// A scalar: its text as written and what YAML makes of it.
    Scalar(String, Scalar),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the file's order, keys unique.
    Map(Vec<Entry>),
}

/// What YAML makes of a scalar's text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar {
    /// A string.
    Text,
    /// A string that may become whatever its key wants: environment variables and flags have no types.
    Untyped,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// Any other number, NaN and the infinities included.
    Float(f64),
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key was written.
    pub key_place: Place,
    /// Its value.
    pub node: Node,
}

/// Where something was written.
#[derive(Debug, Clone, PartialEq)]
pub enum Place {
    /// Not written anywhere.
    Nowhere,
    /// In a file; line and column count from 1.
    File {
        /// Which file.
        file: Arc<SourceFile>,
        /// Line, from 1.
        line: usize,
        /// Character in the line, from 1.
        column: usize,
    },
    /// In an environment variable of this name.
    Variable(Arc<str>),
    /// In a flag of this name, dashes included.
    Flag(Arc<str>),
}

/// A file's name and text, kept for snippets.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// As the user wrote it.
    pub path: PathBuf,
    /// Its content.
    pub text: String,
}

impl Place {
    /// The file as a whole.
    pub fn start_of(file: &Arc<SourceFile>) -> Self {
        Self::File { file: Arc::clone(file), line: 1, column: 1 }
    }
}

impl Node {
    /// A mapping without entries.
    pub fn empty_map(place: Place) -> Self {
        Self { value: Value::Map(Vec::new()), place }
    }

    /// The entry of `key`, if this is a mapping that has it.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The node at a path such as `services[2].pin.until`; `None` if it was not written. Keys that contain `.` or `[`
    /// cannot be reached this way.
    pub fn at(&self, path: &str) -> Option<&Self> {
        let mut node = self;
        for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
            node = match (step.strip_suffix(']'), &node.value) {
                (Some(index), Value::List(items)) => items.get(index.parse::<usize>().ok()?)?,
                _ => &node.entry(step)?.node,
            };
        }
        Some(node)
    }

    /// The place of `path`, or of the nearest parent that was written.
    pub fn place_of(&self, path: &str) -> &Place {
        let mut path = path;
        loop {
            if let Some(node) = self.at(path) {
                return &node.place;
            }
            path = path.rfind(['.', '[']).map_or("", |end| &path[..end]);
        }
    }

    /// The same as JSON; numbers that JSON has not are text.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::List(nodes) => nodes.iter().map(Self::to_json).collect(),
            Value::Map(entries) => entries.iter().map(|entry| (entry.key.clone(), entry.node.to_json())).collect(),
            Value::Scalar(text, scalar) => match scalar {
                Scalar::Text | Scalar::Untyped => Json::from(text.as_str()),
                Scalar::Bool(value) => Json::from(*value),
                Scalar::Integer(value) => i64::try_from(*value).map_or_else(|_| Json::from(text.as_str()), Json::from),
                Scalar::Float(value) => {
                    serde_json::Number::from_f64(*value).map_or_else(|| Json::from(text.as_str()), Json::from)
                }
            },
        }
    }

    /// A scalar's text as written.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(text, _) => Some(text),
            _ => None,
        }
    }

    /// Whether there is nothing here.
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }
}

/// The text of a file of at most `bytes_max` bytes, or what is wrong with it.
pub fn read_text(path: &Path, bytes_max: u64) -> Result<String, String> {
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(path).and_then(|file| file.take(bytes_max + 1).read_to_end(&mut bytes));
    opened.map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("is larger than {} KiB", bytes_max / 1024));
    }
    String::from_utf8(bytes)
        .map_err(|error| format!("is not UTF-8 text, from byte {}", error.utf8_error().valid_up_to()))
}
