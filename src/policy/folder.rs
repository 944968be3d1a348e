//! The policy files of a folder as they are now, and a fingerprint of all of them together, so that "did anything
//! change?" is asked of the content and not of dates, inodes or events.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::document::problem::{Problem, Problems};
use crate::document::{Place, SourceFile, read_text};

/// Most policy files in a folder.
pub const FILES_MAX: usize = 1000;
/// Largest policy file.
pub const FILE_MAX_BYTES: u64 = 1 << 20;
/// Largest folder, all files together.
const FOLDER_MAX_BYTES: usize = 32 << 20;

/// Equal where the names and contents of all policy files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(u64);

/// Every policy file of a folder.
#[derive(Debug)]
pub struct Folder {
    /// Sorted by name, at least one.
    pub files: Vec<Arc<SourceFile>>,
    /// Of all of them.
    pub fingerprint: Fingerprint,
}

impl Folder {
    /// Reads every `*.yaml` and `*.yml` directly in `folder`, links followed. Names that start with a dot are left
    /// out: editors' files, and the `..data` of a mounted ConfigMap, whose visible names are links into it.
    ///
    /// # Errors
    /// The folder or a file cannot be read, there is none, or there is too much.
    pub fn read(folder: &Path) -> Result<Self, Problems> {
        let paths = paths(folder).map_err(|message| Problems(vec![of_path(folder, message)]))?;
        let mut files = Vec::with_capacity(paths.len());
        let mut problems = Vec::new();
        let mut bytes = 0;
        for path in paths {
            match text(&path) {
                Ok(text) => {
                    bytes += text.len();
                    files.push(Arc::new(SourceFile { path, text }));
                }
                Err(message) => problems.push(of_path(&path, message)),
            }
            if bytes > FOLDER_MAX_BYTES {
                problems.push(of_path(folder, format!("holds more than {} MiB of policies", FOLDER_MAX_BYTES >> 20)));
                break;
            }
        }
        if problems.is_empty() { Ok(Self { fingerprint: fingerprint(&files), files }) } else { Err(Problems(problems)) }
    }
}

fn of_path(path: &Path, message: String) -> Problem {
    Problem::new(Place::Nowhere, path.display().to_string(), message)
}

fn paths(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let unreadable = |error: std::io::Error| format!("the policy folder (key `policies`) cannot be read: {error}");
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if is_yaml && !name.starts_with('.') && !path.is_dir() {
            paths.push(path);
        }
        if paths.len() > FILES_MAX {
            return Err(format!("the policy folder holds more than {FILES_MAX} files"));
        }
    }
    if paths.is_empty() {
        return Err("the policy folder holds no *.yaml file; policies/default.yaml is a commented start".to_owned());
    }
    paths.sort();
    Ok(paths)
}

/// Refuses pipes and devices before they are opened: reading one might never end.
fn text(path: &Path) -> Result<String, String> {
    let metadata = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
    if !metadata.is_file() {
        return Err("is not a regular file".to_owned());
    }
    read_text(path, FILE_MAX_BYTES)
}

fn fingerprint(files: &[Arc<SourceFile>]) -> Fingerprint {
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.path.file_name().hash(&mut hasher);
        file.text.hash(&mut hasher);
    }
    Fingerprint(hasher.finish())
}
