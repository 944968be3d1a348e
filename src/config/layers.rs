//! File, environment and flags become one tree. The `config` crate decides which layer wins a key; but it drops lines
//! and the names of variables, so the layers stay beside it: each value only carries the number of its layer through
//! the merge, and is then looked up there again, with its place.

use std::sync::Arc;

use config::{Map, Source, Value as Merged, ValueKind};

use crate::document::problem::Problem;
use crate::document::{Entry, Node, Place, Scalar, Value};

/// What all environment twins of keys start with; `FLYBALL_CONFIG`, with one underscore, is a flag's.
pub const VARIABLE_PREFIX: &str = "FLYBALL__";

/// Longest value of a variable that is read, in bytes.
const VARIABLE_MAX_BYTES: usize = 65_536;

/// The one key that the `config` crate sees at its top: it reads top keys as paths, and a dot in a user's key would
/// become a level.
const ROOT: &str = "flyball";

/// A value given on the command line.
#[derive(Debug, Clone)]
pub struct Override {
    /// The flag's name with its dashes.
    pub flag: String,
    /// The key's path, `policies` or `serve.http`.
    pub key: String,
    /// The value; a list is separated by commas.
    pub value: String,
}

/// The process's own variables that belong to keys.
pub fn process_environment() -> impl Iterator<Item = (String, String)> {
    let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
    let variables = std::env::vars_os().map(move |(name, value)| (text(name), text(value)));
    variables.filter(|(name, _)| name.starts_with(VARIABLE_PREFIX))
}

/// The tree of the variables that start with [`VARIABLE_PREFIX`].
pub(super) fn environment(variables: impl Iterator<Item = (String, String)>, problems: &mut Vec<Problem>) -> Node {
    let mut tree = Node::empty_map(Place::Nowhere);
    let mut variables: Vec<_> = variables.filter(|(name, _)| name.starts_with(VARIABLE_PREFIX)).collect();
    variables.sort();
    for (name, value) in variables {
        let path: Vec<String> = name[VARIABLE_PREFIX.len()..].split("__").map(str::to_lowercase).collect();
        let place = Place::Variable(name.as_str().into());
        if value.len() > VARIABLE_MAX_BYTES {
            problems.push(Problem::new(place, path.join("."), format!("longer than {VARIABLE_MAX_BYTES} bytes")));
            continue;
        }
        insert(&mut tree, &header_names(path), &place, value, problems);
    }
    tree
}

/// A variable's name cannot hold the dash of a header's.
fn header_names(mut path: Vec<String>) -> Vec<String> {
    if path.len() == 4 && path[2] == "headers" {
        path[3] = path[3].replace('_', "-");
    }
    path
}

/// The tree of the flags.
pub(super) fn overrides(overrides: &[Override], problems: &mut Vec<Problem>) -> Node {
    let mut tree = Node::empty_map(Place::Nowhere);
    for Override { flag, key, value } in overrides {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        insert(&mut tree, &path, &Place::Flag(flag.as_str().into()), value.clone(), problems);
    }
    tree
}

fn insert(tree: &mut Node, path: &[String], place: &Place, value: String, problems: &mut Vec<Problem>) {
    let mut node = tree;
    for step in path {
        let is_new = node.entry(step).is_none();
        let Value::Map(entries) = &mut node.value else {
            problems.push(Problem::new(place.clone(), path.join("."), "another variable sets the key above this one"));
            return;
        };
        if is_new {
            let empty = Node::empty_map(place.clone());
            entries.push(Entry { key: step.clone(), key_place: place.clone(), node: empty });
        }
        node = &mut entries.iter_mut().find(|entry| entry.key == *step).expect("just made").node;
    }
    let is_empty = matches!(&node.value, Value::Map(entries) if entries.is_empty());
    if !is_empty {
        problems.push(Problem::new(place.clone(), path.join("."), "another variable sets this key or one under it"));
        return;
    }
    node.value = Value::Scalar(value, Scalar::Untyped);
}

/// One tree of all layers; a later layer wins.
pub(super) fn merge(layers: Vec<Node>) -> Node {
    let layers = Arc::new(layers);
    let builder = (0..layers.len()).fold(config::Config::builder(), |builder, index| {
        builder.add_source(Layer { layers: Arc::clone(&layers), index })
    });
    let merged = builder.build().and_then(|merged| merged.get_table(ROOT)).unwrap_or_default();
    let roots: Vec<Option<&Node>> = layers.iter().map(Some).collect();
    rebuild_map(merged, &roots)
}

/// One layer as the `config` crate sees it: in place of each value its layer's number.
#[derive(Debug, Clone)]
struct Layer {
    layers: Arc<Vec<Node>>,
    index: usize,
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Merged>, config::ConfigError> {
        Ok([(ROOT.to_owned(), self.numbered(&self.layers[self.index]))].into_iter().collect())
    }
}

impl Layer {
    fn numbered(&self, node: &Node) -> Merged {
        let kind = match &node.value {
            Value::Map(entries) => {
                let numbered = entries.iter().map(|entry| (entry.key.clone(), self.numbered(&entry.node)));
                ValueKind::Table(numbered.collect())
            }
            _ => ValueKind::U64(self.index as u64),
        };
        Merged::new(None, kind)
    }
}

/// The merged mapping, each value taken from the layer that won it. `here` is this mapping in each layer.
fn rebuild_map(merged: Map<String, Merged>, here: &[Option<&Node>]) -> Node {
    let is_map = |node: &&Node| matches!(node.value, Value::Map(_)) && node.place != Place::Nowhere;
    let place = here.iter().flatten().find(|node| is_map(node)).map_or(Place::Nowhere, |node| node.place.clone());
    let mut merged: Vec<(String, Merged)> = merged.into_iter().collect();
    merged.sort_by(|a, b| a.0.cmp(&b.0));
    let entries = merged.into_iter().filter_map(|(key, value)| rebuild_entry(key, value, here)).collect();
    Node { value: Value::Map(entries), place }
}

fn rebuild_entry(key: String, merged: Merged, here: &[Option<&Node>]) -> Option<Entry> {
    let written: Vec<Option<&Entry>> = here.iter().map(|node| node.and_then(|node| node.entry(&key))).collect();
    let key_place = written.iter().flatten().next()?.key_place.clone();
    match merged.kind {
        ValueKind::Table(children) => {
            let below: Vec<Option<&Node>> = written.iter().map(|entry| entry.map(|entry| &entry.node)).collect();
            Some(Entry { node: rebuild_map(children, &below), key, key_place })
        }
        ValueKind::U64(index) => written.get(usize::try_from(index).ok()?).copied().flatten().cloned(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{SourceFile, yaml};

    fn file(text: &str) -> Node {
        yaml::parse(&Arc::new(SourceFile { path: "f".into(), text: text.to_owned() })).expect("valid YAML")
    }

    fn variables(pairs: &[(&str, &str)]) -> Node {
        let mut problems = Vec::new();
        let owned = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let tree = environment(owned, &mut problems);
        assert_eq!(problems, []);
        tree
    }

    #[test]
    fn a_later_layer_wins_key_by_key_and_places_stay() {
        let merged = merge(vec![
            file("serve: {http: 'a:1', grpc: ['b:2', 'c:3']}\nadmin: {listen: 'd:4'}\n"),
            variables(&[("FLYBALL__SERVE__GRPC", "e:5"), ("FLYBALL__LOG__FILTER", "debug"), ("OTHER", "x")]),
            overrides(
                &[Override { flag: "--policies".into(), key: "policies".into(), value: "p".into() }],
                &mut vec![],
            ),
        ]);
        let shown = |key: &str| {
            let node = merged.at(key).expect("written");
            (node.text().map(str::to_owned), node.place.to_string())
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(shown("serve.http"), (text("a:1"), "f:1:15".to_owned()));
        assert_eq!(shown("serve.grpc"), (text("e:5"), "environment variable FLYBALL__SERVE__GRPC".to_owned()));
        assert_eq!(shown("log.filter"), (text("debug"), "environment variable FLYBALL__LOG__FILTER".to_owned()));
        assert_eq!(shown("policies"), (text("p"), "flag --policies".to_owned()));
        assert_eq!(shown("serve"), (None, "f:1:8".to_owned()));
    }

    #[test]
    fn a_dot_in_a_key_is_no_level() {
        let merged = merge(vec![file("serve.http: x\n")]);
        assert_eq!(merged.entry("serve.http").map(|entry| entry.node.text()), Some(Some("x")));
        assert_eq!(merged.entry("serve"), None);
    }

    #[test]
    fn a_header_in_the_environment_has_its_dashes() {
        let tree = variables(&[("FLYBALL__SOURCE__PROMETHEUS__HEADERS__X_SCOPE_ORGID", "t")]);
        assert!(tree.at("source.prometheus.headers.x-scope-orgid").is_some());
    }

    #[test]
    fn two_variables_that_exclude_each_other_are_named() {
        let pairs = [("FLYBALL__SERVE", "x"), ("FLYBALL__SERVE__HTTP", "y")];
        let mut problems = Vec::new();
        environment(pairs.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())), &mut problems);
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].place.to_string(), "environment variable FLYBALL__SERVE__HTTP");
    }
}
