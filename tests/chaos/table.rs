//! Both results, side by side.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::tolerance::TOLERANCES;

/// The table stands between these.
const BEGIN: &str = "<!-- the table: UPDATE=1 cargo test --test chaos -->\n";
const END: &str = "<!-- end of the table -->\n";

/// One metric of one scenario.
pub(crate) struct Row {
    pub(crate) scenario: &'static str,
    pub(crate) metric: &'static str,
    /// 1, or 2 where the first was too far apart.
    pub(crate) run: u32,
    pub(crate) simulated: f64,
    pub(crate) real: f64,
    pub(crate) is_near: bool,
}

/// For people, and for Markdown. What is 0 in both worlds is left out.
pub(crate) fn text(rows: &[Row]) -> String {
    let mut text = "| scenario | metric | simulator | for real | |\n|---|---|---:|---:|---|\n".to_owned();
    for Row { scenario, metric, run, simulated, real, is_near } in rows {
        if *simulated == 0.0 && *real == 0.0 {
            continue;
        }
        let near = if *is_near { "" } else { "**too far apart**" };
        let again = if *run == 1 { "" } else { ", again" };
        let _ =
            writeln!(text, "| {scenario}{again} | `{metric}` | {} | {} | {near} |", figure(*simulated), figure(*real));
    }
    text
}

fn tolerances() -> String {
    let mut text = "| metric | how far apart | why no nearer |\n|---|---|---|\n".to_owned();
    for tolerance in &TOLERANCES {
        let _ = writeln!(text, "| `{}` | {} | {} |", tolerance.metric, tolerance.words(), tolerance.why);
    }
    text
}

/// Writes both tables into the page.
pub(crate) fn store(rows: &[Row]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/validation.md");
    let page = fs::read_to_string(&path).expect("docs/validation.md is part of the tree");
    let (before, rest) = page.split_once(BEGIN).expect("its table has a beginning");
    let (_, after) = rest.split_once(END).expect("its table has an end");
    let page = format!("{before}{BEGIN}{}\n{}{END}{after}", text(rows), tolerances());
    fs::write(path, page).expect("written");
}

fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 2.0 => format!("{value:.1}"),
        _ => format!("{value:.4}"),
    }
}
