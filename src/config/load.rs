//! From the command line, the environment and a file to one validated [`Config`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::layers::{self, Override};
use super::raw::RawConfig;
use super::{Config, validate};
use crate::document::check::Check;
use crate::document::problem::{Problem, Problems};
use crate::document::{Node, Place, SourceFile, read, yaml};

/// The file that is read where none is named, if it is in the working folder.
pub const DEFAULT_FILE: &str = "flyball.yaml";
/// Largest configuration file.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// A configuration that does not hold together.
#[derive(Debug)]
pub struct ConfigErrors {
    /// Every error of every layer.
    pub errors: Problems,
    /// Where the policies would be, as far as that can be told: their errors can be shown with these.
    pub policies: Option<PoliciesHint>,
}

/// What of a broken configuration concerns the policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoliciesHint {
    /// Their folder.
    pub folder: PathBuf,
    /// Whether `source.prometheus` is there.
    pub is_prometheus: bool,
    /// Whether `source.scrape` is there, on which fewer policies are valid.
    pub is_scrape: bool,
    /// Whether `source.otlp` is there.
    pub is_otlp: bool,
}

/// A configuration that holds together.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// What may be a mistake.
    pub warnings: Vec<Problem>,
}

/// Reads `file` (or [`DEFAULT_FILE`], if it is there), then the environment's twins, then `overrides`; a later one
/// wins, key by key.
///
/// # Errors
/// Every error of every layer, each with its place.
pub fn load(
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
    overrides: &[Override],
) -> Result<Loaded, ConfigErrors> {
    let file = file.map(Path::to_owned).or_else(|| Path::new(DEFAULT_FILE).exists().then(|| DEFAULT_FILE.into()));
    let mut errors = Vec::new();
    let base = match &file {
        None => Node::empty_map(Place::Nowhere),
        Some(path) => read_file(path).unwrap_or_else(|problems| {
            errors.extend(problems);
            Node::empty_map(Place::Nowhere)
        }),
    };
    // A file that is no tree hides which keys are set: what the other layers lack would be guesswork.
    let is_file_broken = !errors.is_empty();
    let environment = layers::environment(environment, &mut errors);
    let overrides = layers::overrides(overrides, &mut errors);
    let tree = layers::merge(vec![base, environment, overrides]);
    if is_file_broken {
        return Err(ConfigErrors { errors: Problems(errors).sorted(), policies: None });
    }
    let (raw, misfits) = read::read::<RawConfig>(&tree);
    errors.extend(misfits);
    let policies = Some(PoliciesHint {
        folder: validate::policies(raw.policies.clone(), &mut Check::new(&tree)),
        is_prometheus: raw.source.as_ref().is_some_and(|source| source.prometheus.is_some()),
        is_scrape: raw.source.as_ref().is_some_and(|source| source.scrape.is_some()),
        is_otlp: raw.source.as_ref().is_some_and(|source| source.otlp.is_some()),
    });
    let mut check = Check::new(&tree);
    check.errors = errors;
    let config = validate::validate(raw, &mut check);
    match config {
        Some(config) if check.errors.is_empty() => Ok(Loaded { config, file, warnings: check.warnings }),
        _ => Err(ConfigErrors { errors: Problems(check.errors).sorted(), policies }),
    }
}

fn read_file(path: &Path) -> Result<Node, Vec<Problem>> {
    let text = crate::document::read_text(path, FILE_MAX_BYTES).map_err(|message| {
        let file = Arc::new(SourceFile { path: path.to_owned(), text: String::new() });
        vec![Problem::new(Place::start_of(&file), "", message)]
    })?;
    yaml::parse(&Arc::new(SourceFile { path: path.to_owned(), text }))
}
