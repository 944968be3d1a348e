//! YAML text to a [`Node`] tree. Bounded: depth, aliases and size cannot blow up, because anybody who may write a
//! ConfigMap may write this text.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Location, Options, Spanned};

use super::problem::Problem;
use super::{Entry, Node, Place, Scalar, SourceFile, Value};

/// Deepest nesting; no documented file is deeper than 7.
const DEPTH_MAX: usize = 32;
/// Most nodes, those of replayed aliases included.
const NODES_MAX: usize = 200_000;

/// The tree of `file`, an empty mapping for an empty file, or every problem that keeps it from being one.
pub fn parse(file: &Arc<SourceFile>) -> Result<Node, Vec<Problem>> {
    let start = Place::start_of(file);
    if file.text.lines().all(|line| line.trim_start().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Node::empty_map(start));
    }
    let tree: Spanned<Parsed> =
        serde_saphyr::from_str_with_options(&file.text, options()).map_err(|error| vec![syntax(file, &error)])?;
    let mut problems = Vec::new();
    let node = located(file, tree, &mut problems);
    match node.value {
        _ if !problems.is_empty() => Err(problems),
        Value::Null => Ok(Node::empty_map(start)),
        Value::Map(_) => Ok(node),
        _ => Err(vec![Problem::new(node.place, "", "expected keys with values, such as `key: value`")]),
    }
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: DEPTH_MAX, max_nodes: NODES_MAX, max_documents: 1 },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::Error,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        strict_booleans: true,
        with_snippet: false,
    }
}

fn syntax(file: &Arc<SourceFile>, error: &serde_saphyr::Error) -> Problem {
    let place = error.location().map_or_else(|| Place::start_of(file), |at| place(file, &at));
    let text = error.without_snippet().to_string();
    let first = text.lines().next().unwrap_or_default();
    let message = first.split(" at line ").next().unwrap_or(first).trim_end_matches([',', ':']);
    Problem::new(place, "", format!("not readable as YAML: {message}"))
}

fn place(file: &Arc<SourceFile>, at: &Location) -> Place {
    let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).max(1);
    Place::File { file: Arc::clone(file), line: number(at.line()), column: number(at.column()) }
}

fn located(file: &Arc<SourceFile>, parsed: Spanned<Parsed>, problems: &mut Vec<Problem>) -> Node {
    let at = place(file, &parsed.referenced);
    let value = match parsed.value {
        Parsed::Null => Value::Null,
        Parsed::Text(text) => Value::Scalar(text, Scalar::Text),
        Parsed::Scalar(scalar) => Value::Scalar(written(file, &parsed.defined, scalar), scalar),
        Parsed::List(items) => Value::List(items.into_iter().map(|item| located(file, item, problems)).collect()),
        Parsed::Map(entries) => Value::Map(unique(file, entries, problems)),
    };
    Node { value, place: at }
}

fn unique(
    file: &Arc<SourceFile>,
    entries: Vec<(Spanned<String>, Spanned<Parsed>)>,
    problems: &mut Vec<Problem>,
) -> Vec<Entry> {
    let mut seen = std::collections::HashMap::new();
    let mut unique: Vec<Entry> = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        let key_place = place(file, &key.referenced);
        if let Some(first) = seen.insert(key.value.clone(), key.referenced.line()) {
            problems.push(Problem::new(key_place, key.value, format!("written twice, first in line {first}")));
            continue;
        }
        unique.push(Entry { key: key.value, key_place, node: located(file, value, problems) });
    }
    unique
}

/// The scalar's text as the user wrote it: `007` is a user name as well as a number.
fn written(file: &SourceFile, at: &Location, scalar: Scalar) -> String {
    let span = at.span();
    let bytes = span.byte_offset().zip(span.byte_len());
    let range =
        bytes.and_then(|(from, length)| Some(usize::try_from(from).ok()?..usize::try_from(from + length).ok()?));
    let text = range.and_then(|range| file.text.get(range)).map(str::trim).filter(|text| !text.is_empty());
    text.map_or_else(|| shown(scalar), str::to_owned)
}

fn shown(scalar: Scalar) -> String {
    match scalar {
        Scalar::Text | Scalar::Untyped => String::new(),
        Scalar::Bool(value) => value.to_string(),
        Scalar::Integer(value) => value.to_string(),
        Scalar::Float(value) => value.to_string(),
    }
}

enum Parsed {
    Null,
    Text(String),
    Scalar(Scalar),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
}

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyVisitor)
    }
}

struct AnyVisitor;

impl<'de> Visitor<'de> for AnyVisitor {
    type Value = Parsed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Parsed, E> {
        Ok(Parsed::Null)
    }

    fn visit_none<E>(self) -> Result<Parsed, E> {
        Ok(Parsed::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(Scalar::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(Scalar::Integer(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(Scalar::Integer(value.into())))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(Scalar::Integer(value)))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(Scalar::Integer(i128::try_from(value).unwrap_or(i128::MAX))))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(Scalar::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Parsed, E> {
        Ok(Parsed::Text(value.to_owned()))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Parsed, E> {
        Ok(Parsed::Text(String::from_utf8_lossy(value).into_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Parsed, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Parsed::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Parsed, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Parsed::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(text: &str) -> Arc<SourceFile> {
        Arc::new(SourceFile { path: "f.yaml".into(), text: text.to_owned() })
    }

    fn errors(text: &str) -> Vec<String> {
        parse(&file(text)).expect_err("an error").iter().map(Problem::line).collect()
    }

    #[test]
    fn every_value_knows_its_line_column_and_text() {
        let tree = parse(&file("a: 007\nlist:\n  - {b: 1.50}\n  - text\n")).expect("valid");
        assert_eq!(tree.place_of("list[0].b").to_string(), "f.yaml:3:9");
        assert_eq!(tree.at("list[0].b").and_then(Node::text), Some("1.50"));
        assert_eq!(tree.at("a").and_then(Node::text), Some("007"));
        assert_eq!(tree.at("list[1]").and_then(Node::text), Some("text"));
        assert_eq!(tree.place_of("list[1].absent.key").to_string(), "f.yaml:4:5");
        assert_eq!(tree.at("list[2]"), None);
    }

    #[test]
    fn nothing_is_an_empty_mapping() {
        for text in ["", "\n\n", "# only a comment\n", "---\n", "null"] {
            assert_eq!(parse(&file(text)).expect("valid").value, Value::Map(vec![]), "{text:?}");
        }
    }

    #[test]
    fn every_duplicate_key_is_named_with_its_first_line() {
        let found = errors("a: 1\nb: {c: 1, c: 2}\na: 2\n");
        assert_eq!(
            found,
            ["f.yaml:2:11: c: written twice, first in line 2", "f.yaml:3:1: a: written twice, first in line 1"]
        );
    }

    #[test]
    fn broken_yaml_names_its_line() {
        for (text, start) in [
            ("a: [1, 2\nb: 3\n", "f.yaml:2:"),
            ("a: 1\n  b: 2\n", "f.yaml:2:"),
            ("a: *nowhere\n", "f.yaml:1:4: not readable as YAML: "),
            ("a: 1\n---\nb: 2\n", "f.yaml:"),
            ("- 1\n", "f.yaml:1:1: expected keys"),
            ("just text", "f.yaml:1:1: expected keys"),
        ] {
            let found = errors(text);
            assert!(found[0].starts_with(start), "{text:?}: {found:?}");
        }
    }

    #[test]
    fn an_alias_bomb_and_a_deep_nest_are_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..9 {
            let alias = format!("*a{}", i - 1);
            bomb += &format!("a{i}: &a{i} [{}]\n", vec![alias; 9].join(", "));
        }
        assert_eq!(errors(&bomb).len(), 1);
        assert_eq!(errors(&format!("a: {}", "[".repeat(10_000))).len(), 1);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[-a-z0-9:{}\\[\\]&*!|>'\"#%, \n\t.~<\u{e9}]{0,80}") {
            let _ = parse(&file(&text));
        }
    }
}
