//! JSON: a list of objects, or objects one behind the other (JSON lines).

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::rows::{Field, Gathering, missing_labels};

/// Where a text is, counted on as it is read.
struct Position<'a> {
    text: &'a str,
    offset: usize,
    line: usize,
    line_start: usize,
}

/// Every object of `text`.
pub(super) fn read(text: &str, into: &mut Gathering<'_>) {
    let mut position = Position { text, offset: 0, line: 1, line_start: 0 };
    if text.trim_start().starts_with('[') {
        match serde_json::from_str::<Vec<&RawValue>>(text) {
            Ok(list) => list.into_iter().for_each(|element| take(element, &mut position, into)),
            Err(error) => into.fail((error.line(), error.column().max(1)), "", plain(&error)),
        }
        return;
    }
    for element in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
        match element {
            Ok(element) => take(element, &mut position, into),
            Err(error) => return into.fail((error.line(), error.column().max(1)), "", plain(&error)),
        }
    }
}

fn take(element: &RawValue, position: &mut Position<'_>, into: &mut Gathering<'_>) {
    let place = position.of(element.get());
    let object = match serde_json::from_str::<Map<String, Value>>(element.get()) {
        Ok(object) => object,
        Err(_) => {
            return into.fail(
                place,
                "",
                "each device is an object, such as {\"device\": \"g1\", \"interval\": 180, \"carrier\": \"a\"}",
            );
        }
    };
    let mut texts: Vec<(&str, String)> = Vec::with_capacity(object.len());
    let mut is_good = true;
    for (name, value) in &object {
        match value {
            Value::String(text) => texts.push((name, text.trim().to_owned())),
            Value::Number(number) => texts.push((name, number.to_string())),
            Value::Null => {}
            _ if super::rows::COLUMNS.contains(&name.as_str()) || into.keys().iter().any(|key| **key == **name) => {
                into.fail(place, name, "expected text or a number");
                is_good = false;
            }
            // Something of theirs.
            _ => {}
        }
    }
    // A label that is there and says nothing is the file's word that it is not known.
    if let Some(missing) = missing_labels(into.keys(), |key| object.contains_key(key)) {
        into.fail(place, "", missing);
        is_good = false;
    }
    if is_good {
        let told = texts.iter().filter(|(_, text)| !text.is_empty());
        let fields: Vec<Field<'_>> = told.map(|(name, text)| Field { name, text, column: place.1 }).collect();
        into.take(place.0, &fields);
    }
}

impl Position<'_> {
    /// Line and column of a part of the text behind the last one that was asked for.
    fn of(&mut self, part: &str) -> (usize, usize) {
        let offset = (part.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        if let Some(passed) = self.text.get(self.offset..offset) {
            for (at, _) in passed.match_indices('\n') {
                self.line += 1;
                self.line_start = self.offset + at + 1;
            }
            self.offset = offset;
        }
        let column = self.text.get(self.line_start..self.offset).map_or(0, |before| before.chars().count());
        (self.line, column + 1)
    }
}

/// The message without the place that serde puts behind it: it is told apart.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    format!("no JSON: {}", &text[..end])
}
