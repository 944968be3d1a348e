//! Folders that leave with the demo.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Removed, with its content, when dropped.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// A new folder of this process for `what`.
    pub(super) fn make(what: &str) -> anyhow::Result<Self> {
        // A name that nobody can have made before, and a folder that nobody else may write.
        let path = std::env::temp_dir().join(format!("flyball-demo-{what}-{:016x}", rand::random::<u64>()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// A file in it; where it is.
    pub(super) fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let file = self.0.join(name);
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
