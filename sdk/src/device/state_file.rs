//! A device's memory in a file of 32 bytes. It is replaced as a whole, so that a power cut leaves the old one or the new
//! one; and only when it changed, for the flash's sake.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::machine::{MEMORY_BYTES, Memory};

/// Where a memory is kept.
#[derive(Debug, Clone)]
pub struct StateFile(PathBuf);

/// What is wrong with a state file.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It is there and cannot be read.
    #[error("{}: the state cannot be read", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It holds something else, or a write to it was cut off.
    #[error("{}: no state of a device: give another path, or remove the file to begin without a memory", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("{}: the state cannot be written", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl StateFile {
    /// At this path; nothing is read or written yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// What is kept; `None` where the file is not there yet.
    ///
    /// # Errors
    /// It cannot be read, or holds something else.
    pub fn load(&self) -> Result<Option<Memory>, StateError> {
        let path = || self.0.clone();
        match fs::read(&self.0) {
            Ok(bytes) => Memory::from_bytes(&bytes).map(Some).ok_or_else(|| StateError::Foreign { path: path() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StateError::Read { path: path(), source }),
        }
    }

    /// Keeps this.
    ///
    /// # Errors
    /// It cannot be written; what was kept is kept.
    pub fn save(&self, memory: &Memory) -> Result<(), StateError> {
        self.replace(&memory.to_bytes()).map_err(|source| StateError::Write { path: self.0.clone(), source })
    }

    fn replace(&self, bytes: &[u8; MEMORY_BYTES]) -> io::Result<()> {
        let mut name = self.0.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        name.push(".new");
        let new = self.0.with_file_name(name);
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, &self.0)?;
        let folder = self.0.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("flyball-state-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("made");
        folder
    }

    #[test]
    fn what_is_saved_is_loaded_and_nothing_else_is_left() {
        let folder = folder("saved");
        let state = StateFile::new(folder.join("state"));
        assert!(matches!(state.load(), Ok(None)));
        for boot in 1..3 {
            let memory = Memory { boot, pace: None };
            state.save(&memory).expect("saved");
            assert_eq!(state.load().expect("loaded"), Some(memory));
        }
        assert_eq!(fs::read_dir(&folder).expect("there").count(), 1);
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn what_cannot_be_used_is_told() {
        let folder = folder("told");
        fs::write(folder.join("other"), "something else").expect("written");
        assert!(matches!(StateFile::new(folder.join("other")).load(), Err(StateError::Foreign { .. })));
        assert!(matches!(StateFile::new(&folder).load(), Err(StateError::Read { .. })));
        let nowhere = StateFile::new(folder.join("nowhere/state"));
        assert!(matches!(nowhere.save(&Memory::default()), Err(StateError::Write { .. })));
        fs::remove_dir_all(folder).expect("removed");
    }
}
