//! A [`Node`] tree to a raw shape through serde, with *all* misfits.
//!
//! serde stops at the first error. So the tree is read again and again: each error names the path that it happened
//! at, what is there is taken out, and the next pass meets the next error. Raw shapes have only optional keys, hence
//! what was taken out does not cause a second error. A pass is linear; the number of passes is bounded.

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};

use super::misfit::{Misfit, Step, join};
use super::problem::Problem;
use super::{Entry, Node, Scalar, Value};

/// Most misfits that one file reports.
const PROBLEMS_MAX: usize = 50;

/// The raw shape of what fits, and a problem for everything that does not.
pub fn read<T: DeserializeOwned + Default>(root: &Node) -> (T, Vec<Problem>) {
    let mut tree = root.clone();
    let mut problems: Vec<Problem> = Vec::new();
    let mut removed: Vec<String> = Vec::new();
    while problems.len() < PROBLEMS_MAX {
        let misfit = match T::deserialize(NodeDeserializer(&tree)) {
            Ok(raw) => return (raw, problems),
            Err(misfit) => misfit,
        };
        let key = misfit.key();
        // A required key that is missing because it was just taken out is no second error.
        let is_follow_up = misfit.missing.is_some_and(|name| removed.contains(&join(&key, name)));
        if !is_follow_up {
            problems.push(Problem::new(misfit.place.clone(), key.clone(), misfit.message.clone()));
        }
        removed.push(key);
        if !remove(&mut tree, &misfit.path) {
            break;
        }
    }
    (T::default(), problems)
}

/// Takes out what is at `path`: the innermost step is first. An item of a list becomes null, so that the items after it
/// keep their index.
fn remove(tree: &mut Node, path: &[Step]) -> bool {
    let Some((last, parents)) = path.split_first() else { return false };
    let mut node = tree;
    for step in parents.iter().rev() {
        let child = match (step, &mut node.value) {
            (Step::Key(key), Value::Map(entries)) => entries.iter_mut().find(|e| e.key == *key).map(|e| &mut e.node),
            (Step::Index(index), Value::List(items)) => items.get_mut(*index),
            _ => None,
        };
        let Some(child) = child else { return false };
        node = child;
    }
    match (last, &mut node.value) {
        (Step::Key(key), Value::Map(entries)) => entries.retain(|entry| entry.key != *key),
        (Step::Index(index), Value::List(items)) if *index < items.len() => {
            // A null that does not fit either: drop it rather than meet it for ever.
            if items[*index].is_null() {
                items.remove(*index);
            } else {
                items[*index].value = Value::Null;
            }
        }
        _ => return false,
    }
    true
}

#[derive(Clone, Copy)]
struct NodeDeserializer<'a>(&'a Node);

/// What an untyped text may also be.
fn untyped_number(text: &str) -> Option<Scalar> {
    let text = text.trim();
    text.parse().map(Scalar::Integer).or_else(|_| text.parse().map(Scalar::Float)).ok()
}

impl<'a> NodeDeserializer<'a> {
    fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let visited = match &self.0.value {
            Value::Null => visitor.visit_unit(),
            Value::Scalar(text, scalar) => visit_scalar(text, *scalar, visitor),
            Value::List(items) => visitor.visit_seq(Items { items, next: 0 }),
            Value::Map(entries) => visitor.visit_map(Entries { entries, next: 0 }),
        };
        visited.map_err(|misfit| misfit.on(self.0))
    }

    /// The node with an untyped text read as `wanted` makes of it.
    fn visit_as<'de, V: Visitor<'de>>(
        self,
        wanted: impl Fn(&str) -> Option<Scalar>,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        match &self.0.value {
            Value::Scalar(text, Scalar::Untyped) => {
                let scalar = wanted(text).unwrap_or(Scalar::Text);
                visit_scalar(text, scalar, visitor).map_err(|misfit| misfit.on(self.0))
            }
            _ => self.visit(visitor),
        }
    }
}

fn visit_scalar<'de, V: Visitor<'de>>(text: &str, scalar: Scalar, visitor: V) -> Result<V::Value, Misfit> {
    match scalar {
        Scalar::Text | Scalar::Untyped => visitor.visit_str(text),
        Scalar::Bool(value) => visitor.visit_bool(value),
        Scalar::Float(value) => visitor.visit_f64(value),
        Scalar::Integer(value) => match (u64::try_from(value), i64::try_from(value)) {
            (Ok(value), _) => visitor.visit_u64(value),
            (_, Ok(value)) => visitor.visit_i64(value),
            _ => visitor.visit_i128(value),
        },
    }
}

/// A number with an exponent or a fraction of zero is whole: Helm writes 33554432 as 3.3554432e+07.
fn whole(scalar: Scalar) -> Scalar {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0; // 2^53
    match scalar {
        Scalar::Float(value) if value.fract() == 0.0 && value.abs() <= EXACT_MAX => Scalar::Integer(value as i128),
        other => other,
    }
}

macro_rules! whole_numbers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
            match &self.0.value {
                Value::Scalar(text, scalar @ Scalar::Float(_)) => {
                    visit_scalar(text, whole(*scalar), visitor).map_err(|misfit| misfit.on(self.0))
                }
                _ => self.visit_as(|text| untyped_number(text).map(whole), visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for NodeDeserializer<'_> {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.visit(visitor)
    }

    whole_numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 deserialize_u8 deserialize_u16
        deserialize_u32 deserialize_u64 deserialize_u128
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.visit_as(untyped_number, visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.visit_as(untyped_number, visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.visit_as(|text| text.trim().parse().map(Scalar::Bool).ok(), visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    /// A text key takes any scalar as it was written: nobody should have to quote the user name 007.
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.0.text() {
            Some(text) => visitor.visit_str(text).map_err(|misfit: Misfit| misfit.on(self.0)),
            None => self.visit(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_string(visitor)
    }

    /// An untyped text is a list separated by commas.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let Value::Scalar(text, Scalar::Untyped) = &self.0.value else { return self.visit(visitor) };
        let item = |text: &str| Node {
            value: Value::Scalar(text.trim().to_owned(), Scalar::Untyped),
            place: self.0.place.clone(),
        };
        let items: Vec<Node> = text.split(',').filter(|text| !text.trim().is_empty()).map(item).collect();
        visitor.visit_seq(Items { items: &items, next: 0 }).map_err(|misfit| misfit.on(self.0))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        let Some(text) = self.0.text() else { return self.visit(visitor) };
        visitor.visit_enum(StrDeserializer::<Misfit>::new(text)).map_err(|misfit| misfit.on(self.0))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self).map_err(|misfit| misfit.on(self.0))
    }

    serde::forward_to_deserialize_any! {
        char bytes byte_buf unit unit_struct tuple tuple_struct map struct identifier ignored_any
    }
}

struct Items<'a> {
    items: &'a [Node],
    next: usize,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Misfit;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Misfit> {
        let Some(item) = self.items.get(self.next) else { return Ok(None) };
        let index = self.next;
        self.next += 1;
        let read = seed.deserialize(NodeDeserializer(item));
        read.map(Some).map_err(|misfit| misfit.on(item).under(Step::Index(index)))
    }
}

struct Entries<'a> {
    entries: &'a [Entry],
    next: usize,
}

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = Misfit;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Misfit> {
        let Some(entry) = self.entries.get(self.next) else { return Ok(None) };
        let key: StrDeserializer<'_, Misfit> = entry.key.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|misfit| misfit.on_key(entry))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Misfit> {
        let entry = &self.entries[self.next];
        self.next += 1;
        let read = seed.deserialize(NodeDeserializer(&entry.node));
        read.map_err(|misfit| misfit.on(&entry.node).under(Step::Key(entry.key.clone())))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use serde::Deserialize;

    use super::*;
    use crate::document::{Place, SourceFile, yaml};

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Shape {
        name: Option<String>,
        count: Option<u32>,
        flag: Option<bool>,
        items: Option<Vec<Option<Item>>>,
        tags: Option<Vec<String>>,
        labels: Option<BTreeMap<String, String>>,
        color: Option<Color>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Item {
        weight: f64,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Color {
        Red,
        DarkBlue,
    }

    fn tree(text: &str) -> Node {
        let file = Arc::new(SourceFile { path: "f".into(), text: text.to_owned() });
        yaml::parse(&file).expect("valid YAML")
    }

    fn lines(problems: &[Problem]) -> Vec<String> {
        problems.iter().map(Problem::line).collect()
    }

    #[test]
    fn what_fits_is_read() {
        let (shape, problems) = read::<Shape>(&tree(
            "name: 007\ncount: 3\nflag: true\nitems: [{weight: 2}]\ncolor: dark_blue\nlabels: {a: 1.50}\ntags:\n",
        ));
        assert_eq!(lines(&problems), Vec::<String>::new());
        let expected = Shape {
            name: Some("007".to_owned()),
            count: Some(3),
            flag: Some(true),
            items: Some(vec![Some(Item { weight: 2.0 })]),
            tags: None,
            labels: Some([("a".to_owned(), "1.50".to_owned())].into()),
            color: Some(Color::DarkBlue),
        };
        assert_eq!(shape, expected);
    }

    #[test]
    fn every_misfit_is_named_once_with_its_place_and_the_rest_is_read() {
        let text = "name: [1]\ncuont: 3\ncount: -1\nflag: maybe\ncolor: blue\nitems: [{weight: x}, {}, {weight: 1, w: 2}, 7]\ntags: [a]\n";
        let (shape, problems) = read::<Shape>(&tree(text));
        let mut found = lines(&problems);
        found.sort();
        assert_eq!(
            found,
            [
                "f:1:7: name: expected a string",
                "f:2:1: cuont: unknown key; did you mean count? known here: name, count, flag, items, tags, labels, color",
                "f:3:8: count: \"-1\": expected a whole number, not negative",
                "f:4:7: flag: \"maybe\": expected true or false",
                "f:5:8: color: \"blue\": expected one of: red, dark_blue",
                "f:6:18: items[0].weight: \"x\": expected a number",
                "f:6:22: items[1]: the key weight is missing",
                "f:6:38: items[2].w: unknown key; known here: weight",
                "f:6:45: items[3]: \"7\": expected keys with values",
            ]
        );
        assert_eq!(shape.tags, Some(vec!["a".to_owned()]));
        assert_eq!(shape.items.map(|items| items[2].is_some()), Some(true));
    }

    #[test]
    fn untyped_text_becomes_what_its_key_wants() {
        let untyped = |key: &str, text: &str| {
            let place = Place::Variable("V".into());
            let node = Node { value: Value::Scalar(text.to_owned(), Scalar::Untyped), place: place.clone() };
            Entry { key: key.to_owned(), key_place: place, node }
        };
        let entries = vec![
            untyped("name", "5"),
            untyped("count", " 5"),
            untyped("flag", "true"),
            untyped("tags", "a, b,c,"),
            untyped("color", "red"),
        ];
        let root = Node { value: Value::Map(entries), place: Place::Nowhere };
        let (shape, problems) = read::<Shape>(&root);
        assert_eq!(lines(&problems), Vec::<String>::new());
        assert_eq!((shape.name.as_deref(), shape.count, shape.flag), (Some("5"), Some(5), Some(true)));
        assert_eq!(shape.tags, Some(vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]));
        assert_eq!(shape.color, Some(Color::Red));
    }

    #[test]
    fn a_whole_number_may_be_written_with_an_exponent() {
        for (text, expected) in [("3.3554432e+07", Some(33_554_432)), ("5.0", Some(5)), ("5.5", None), ("1e30", None)] {
            assert_eq!(read::<Shape>(&tree(&format!("count: {text}"))).0.count, expected, "{text}");
        }
    }

    #[test]
    fn the_number_of_problems_is_bounded() {
        let text: String = (0..1000).map(|i| format!("k{i}: 1\n")).collect();
        assert_eq!(read::<Shape>(&tree(&text)).1.len(), PROBLEMS_MAX);
    }
}
