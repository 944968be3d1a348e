//! A scenario file to a [`Scenario`], or every error in it.

use std::path::Path;
use std::sync::Arc;

use super::raw::RawScenario;
use super::validate;
use crate::document::check::Check;
use crate::document::problem::{Problem, Problems};
use crate::document::{Place, SourceFile, read, read_text, yaml};
use crate::simulate::scenario::{LawKind, Scenario};

/// Largest scenario file.
const FILE_MAX_BYTES: u64 = 1 << 20;
/// Most errors that one file reports.
const PROBLEMS_MAX: usize = 100;

/// Reads and checks one scenario file and the traces that it names; `law` takes the place of the file's own.
///
/// # Errors
/// Every error, each with its place.
pub fn load(path: &Path, law: Option<LawKind>) -> Result<Scenario, Problems> {
    let is_file = std::fs::metadata(path).map_or(true, |metadata| metadata.is_file());
    let text = if is_file { read_text(path, FILE_MAX_BYTES) } else { Err("is not a regular file".to_owned()) };
    let of_path = |message| Problems(vec![Problem::new(Place::Nowhere, path.display().to_string(), message)]);
    parse(&Arc::new(SourceFile { path: path.to_owned(), text: text.map_err(of_path)? }), law)
}

/// Like [`load`], of a file that was read.
///
/// # Errors
/// Every error, each with its place.
pub fn parse(file: &Arc<SourceFile>, law: Option<LawKind>) -> Result<Scenario, Problems> {
    let tree = yaml::parse(file).map_err(Problems)?;
    for foreign in ["policy", "fleet"] {
        if let (Some(entry), None) = (
            tree.entry(foreign).filter(|entry| entry.node.text().is_some()),
            tree.entry("services").and(tree.entry("backend")),
        ) {
            let message = format!("this is a {foreign} file, not a scenario");
            return Err(Problems(vec![Problem::new(entry.key_place.clone(), foreign, message)]));
        }
    }
    let (raw, misfits) = read::read::<RawScenario>(&tree);
    let mut check = Check::new(&tree);
    check.errors = misfits;
    let stem = file.path.file_stem().unwrap_or_default().to_string_lossy();
    let scenario = validate::validate(raw, &stem, law, &mut check);
    if check.errors.is_empty() {
        return Ok(scenario);
    }
    let mut problems = Problems(check.errors).sorted();
    problems.0.truncate(PROBLEMS_MAX);
    Err(problems)
}
