//! A folder of policy files to one [`PolicySet`]: all of it or nothing, and all errors at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::folder::{Fingerprint, Folder};
use super::overlap::{self, Written};
use super::raw::RawPolicy;
use super::{PolicySet, SourceKinds, validate};
use crate::document::check::Check;
use crate::document::problem::{Problem, Problems};
use crate::document::{SourceFile, read, yaml};
use crate::time::WallTime;

/// Most errors over all files of a folder.
const PROBLEMS_MAX: usize = 200;

/// All errors of a folder's policies.
pub type PolicyErrors = Problems;

/// A set of policies that holds together.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The policies, sorted by name.
    pub set: PolicySet,
    /// The file of each policy, in the set's order.
    pub files: Vec<PathBuf>,
    /// What may be a mistake.
    pub warnings: Vec<Problem>,
    /// Of the files that it was read from.
    pub fingerprint: Fingerprint,
}

/// Reads and checks every policy file of `folder`.
///
/// # Errors
/// Every error of every file, each with its place.
pub fn load(folder: &Path, sources: impl Into<SourceKinds>) -> Result<Loaded, PolicyErrors> {
    from_folder(&Folder::read(folder)?, sources)
}

/// Checks policy files that were read.
///
/// # Errors
/// Every error of every file, each with its place.
pub fn from_folder(folder: &Folder, sources: impl Into<SourceKinds>) -> Result<Loaded, PolicyErrors> {
    let sources = sources.into();
    let now = WallTime::from_unix_ms(jiff::Timestamp::now().as_millisecond());
    let (mut written, mut warnings, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    for file in &folder.files {
        match parse(file, sources, now) {
            Ok((policy, noticed)) => {
                written.push((policy, file));
                warnings.extend(noticed);
            }
            Err(problems) => errors.extend(problems),
        }
    }
    written.sort_by(|((a, _), _), ((b, _), _)| a.sampling.name.cmp(&b.sampling.name));
    let files = written.iter().map(|(_, file)| file.path.clone()).collect();
    let policies: Vec<Written> = written.into_iter().map(|(policy, _)| policy).collect();
    errors.extend(overlap::conflicts(&policies));
    if !errors.is_empty() {
        errors.truncate(PROBLEMS_MAX);
        return Err(Problems(errors).sorted());
    }
    let set = PolicySet { policies: policies.into_iter().map(|(policy, _)| policy).collect() };
    Ok(Loaded { set, files, warnings: Problems(warnings).sorted().0, fingerprint: folder.fingerprint })
}

/// One file's policy and its warnings.
fn parse(file: &Arc<SourceFile>, sources: SourceKinds, now: WallTime) -> Result<(Written, Vec<Problem>), Vec<Problem>> {
    let tree = yaml::parse(file)?;
    if let (Some(fleet), None) = (tree.entry("fleet"), tree.entry("policy")) {
        let message = "this is a fleet file; this version governs sampling only, so take it out of the folder";
        return Err(vec![Problem::new(fleet.key_place.clone(), "fleet", message)]);
    }
    let (raw, misfits) = read::read::<RawPolicy>(&tree);
    let mut check = Check::new(&tree);
    check.errors = misfits;
    let policy = validate::validate(raw, sources, now, &mut check);
    match policy {
        Some(policy) if check.errors.is_empty() => {
            let warnings = check.warnings;
            Ok(((policy, tree), warnings))
        }
        _ => Err(check.errors),
    }
}
