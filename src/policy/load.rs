//! A folder of policy and fleet files to one [`PolicySet`]: all of it or nothing, and all errors at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::fleet_raw::RawFleetFile;
use super::folder::{Fingerprint, Folder};
use super::overlap::{self, Written, WrittenFleet};
use super::raw::RawPolicy;
use super::{PolicySet, SourceKinds, fleet, validate};
use crate::document::check::Check;
use crate::document::problem::{Problem, Problems};
use crate::document::{Node, SourceFile, read, yaml};
use crate::time::WallTime;

/// Most errors over all files of a folder.
const PROBLEMS_MAX: usize = 200;

/// All errors of a folder's policies.
pub type PolicyErrors = Problems;

/// A set of policies and fleets that holds together.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The policies and the fleets, each sorted by name.
    pub set: PolicySet,
    /// The file of each policy, in the set's order.
    pub files: Vec<PathBuf>,
    /// The file of each fleet, in the set's order.
    pub fleet_files: Vec<PathBuf>,
    /// What may be a mistake.
    pub warnings: Vec<Problem>,
    /// Of the files that it was read from.
    pub fingerprint: Fingerprint,
}

/// What all files together say, and what is wrong with them.
#[derive(Default)]
struct Gathered<'a> {
    policies: Vec<(Written, &'a Arc<SourceFile>)>,
    fleets: Vec<(WrittenFleet, &'a Arc<SourceFile>)>,
    warnings: Vec<Problem>,
    errors: Vec<Problem>,
}

/// Reads and checks every file of `folder`.
///
/// # Errors
/// Every error of every file, each with its place.
pub fn load(folder: &Path, sources: impl Into<SourceKinds>) -> Result<Loaded, PolicyErrors> {
    from_folder(&Folder::read(folder)?, sources)
}

/// Checks files that were read.
///
/// # Errors
/// Every error of every file, each with its place.
pub fn from_folder(folder: &Folder, sources: impl Into<SourceKinds>) -> Result<Loaded, PolicyErrors> {
    let sources = sources.into();
    let now = WallTime::from_unix_ms(jiff::Timestamp::now().as_millisecond());
    let mut found = Gathered::default();
    for file in &folder.files {
        found.take(file, sources, now);
    }
    found.policies.sort_by(|((a, _), _), ((b, _), _)| a.sampling.name.cmp(&b.sampling.name));
    found.fleets.sort_by(|((a, _), _), ((b, _), _)| a.name.cmp(&b.name));
    let (policies, files) = parted(found.policies);
    let (fleets, fleet_files) = parted(found.fleets);
    found.errors.extend(overlap::conflicts(&policies));
    found.errors.extend(overlap::fleets_named_alike(&fleets));
    found.warnings.extend(overlap::fleets_never_reached(&fleets));
    if !found.errors.is_empty() {
        found.errors.truncate(PROBLEMS_MAX);
        return Err(Problems(found.errors).sorted());
    }
    let set = PolicySet {
        policies: policies.into_iter().map(|(policy, _)| policy).collect(),
        fleets: fleets.into_iter().map(|(fleet, _)| fleet).collect(),
    };
    let warnings = Problems(found.warnings).sorted().0;
    Ok(Loaded { set, files, fleet_files, warnings, fingerprint: folder.fingerprint })
}

fn parted<T>(written: Vec<(T, &Arc<SourceFile>)>) -> (Vec<T>, Vec<PathBuf>) {
    written.into_iter().map(|(written, file)| (written, file.path.clone())).unzip()
}

impl<'a> Gathered<'a> {
    /// A file with `fleet` and no `policy` is a fleet file; any other is a policy.
    fn take(&mut self, file: &'a Arc<SourceFile>, sources: SourceKinds, now: WallTime) {
        let tree = match yaml::parse(file) {
            Ok(tree) => tree,
            Err(problems) => return self.errors.extend(problems),
        };
        if tree.entry("fleet").is_some() && tree.entry("policy").is_none() {
            let fleet = self.checked(&tree, |raw: RawFleetFile, check| fleet::validate(raw, now, check));
            self.fleets.extend(fleet.map(|fleet| ((fleet, tree), file)));
        } else {
            let policy = self.checked(&tree, |raw: RawPolicy, check| validate::validate(raw, sources, now, check));
            self.policies.extend(policy.map(|policy| ((policy, tree), file)));
        }
    }

    /// What `validate` makes of the tree; its errors and warnings are kept.
    fn checked<R: DeserializeOwned + Default, T>(
        &mut self,
        tree: &Node,
        validate: impl FnOnce(R, &mut Check<'_>) -> Option<T>,
    ) -> Option<T> {
        let (raw, misfits) = read::read::<R>(tree);
        let mut check = Check::new(tree);
        check.errors = misfits;
        let validated = validate(raw, &mut check);
        if check.errors.is_empty() {
            self.warnings.extend(check.warnings);
            return validated;
        }
        self.errors.extend(check.errors);
        None
    }
}
