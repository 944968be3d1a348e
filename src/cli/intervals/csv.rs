//! CSV as spreadsheets and exports write it: a header, commas, quotes where a value has a comma; `#` begins a comment.
//! A quoted value ends on its line, so that a line is a device.

use super::rows::{COLUMNS, Field, Gathering, missing_labels};

/// One cell of a line, quotes taken off.
struct Cell {
    text: String,
    column: usize,
}

/// Every line of `text`.
pub(super) fn read(text: &str, into: &mut Gathering<'_>) {
    let lines = text.lines().enumerate().map(|(i, line)| (i + 1, line));
    let mut lines = lines.filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    let Some((number, first)) = lines.next() else { return };
    let Some(header) = header(number, first, into) else { return };
    let mut cells = Vec::with_capacity(header.len());
    for (number, line) in lines {
        if !split(line, &mut cells) {
            into.fail((number, 1), "", "a quote is not closed on its line");
            continue;
        }
        if cells.len() > header.len() {
            let (has, want) = (cells.len(), header.len());
            into.fail((number, 1), "", format_args!("{has} values, and the header has {want} columns"));
            continue;
        }
        let told = header.iter().zip(&cells).filter(|(_, cell)| !cell.text.is_empty());
        let fields: Vec<Field<'_>> =
            told.map(|(name, cell)| Field { name, text: &cell.text, column: cell.column }).collect();
        into.take(number, &fields);
    }
}

fn header(number: usize, line: &str, into: &mut Gathering<'_>) -> Option<Vec<String>> {
    let mut cells = Vec::new();
    if !split(line, &mut cells) {
        into.fail((number, 1), "", "a quote is not closed on its line");
        return None;
    }
    if cells.len() == 1 && line.contains([';', '\t']) {
        into.fail((number, 1), "", "separate the columns by commas, such as device,interval,carrier");
        return None;
    }
    let names: Vec<String> = cells.iter().map(|cell| cell.text.to_ascii_lowercase()).collect();
    let mut is_good = true;
    for (i, cell) in cells.iter().enumerate() {
        if names[..i].contains(&names[i]) && !names[i].is_empty() {
            into.fail((number, cell.column), &names[i], "this column is there twice");
            is_good = false;
        }
    }
    for column in &COLUMNS[..2] {
        if !names.iter().any(|name| name == column) {
            let hint = near(&names, column).map_or(String::new(), |name| format!("; did you mean {name:?} by it?"));
            into.fail((number, 1), column, format_args!("the header needs this column{hint}"));
            is_good = false;
        }
    }
    if let Some(missing) = missing_labels(into.keys(), |key| names.iter().any(|name| name == key)) {
        into.fail((number, 1), "", missing);
        is_good = false;
    }
    is_good.then_some(names)
}

/// A name that begins as the column does.
fn near<'a>(names: &'a [String], column: &str) -> Option<&'a String> {
    names.iter().find(|name| name.get(..3).is_some_and(|start| column.starts_with(start)))
}

/// The line's cells; whether all quotes are closed.
fn split(line: &str, cells: &mut Vec<Cell>) -> bool {
    cells.clear();
    let mut letters = line.chars().enumerate().peekable();
    loop {
        while letters.next_if(|(_, c)| *c == ' ').is_some() {}
        let column = letters.peek().map_or_else(|| line.chars().count() + 1, |(at, _)| at + 1);
        let mut text = String::new();
        if letters.next_if(|(_, c)| *c == '"').is_some() {
            loop {
                match letters.next() {
                    Some((_, '"')) if letters.next_if(|(_, c)| *c == '"').is_some() => text.push('"'),
                    Some((_, '"')) => break,
                    Some((_, c)) => text.push(c),
                    None => return false,
                }
            }
        }
        while let Some((_, c)) = letters.next_if(|(_, c)| *c != ',') {
            text.push(c);
        }
        text.truncate(text.trim_end().len());
        cells.push(Cell { text, column });
        if letters.next().is_none() {
            return true;
        }
    }
}
