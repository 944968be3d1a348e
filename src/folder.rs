//! Folders that leave with the process that made them; what was killed before it could is swept by the next one.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

const PREFIX: &str = "flyball-";

/// Removed, with its content, when dropped.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// A new folder of this process for `what`, a word without digits at its end.
    pub(crate) fn make(what: &str) -> anyhow::Result<Self> {
        sweep(what);
        // A name that nobody can have made before, and a folder that nobody else may write.
        let name = format!("{PREFIX}{what}-{}-{:016x}", std::process::id(), rand::random::<u64>());
        let path = std::env::temp_dir().join(name);
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A file in it; where it is.
    pub(crate) fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let file = self.0.join(name);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes what processes left that are gone: folders of this name and of this user. What cannot be looked at stays.
fn sweep(what: &str) {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    let own = nix::unistd::geteuid().as_raw();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| maker(name, what)) else { continue };
        // Not through a link: what somebody else put there is not ours.
        let is_own = fs::symlink_metadata(entry.path()).is_ok_and(|about| about.is_dir() && about.uid() == own);
        if is_own && is_gone(pid) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The process that made a folder of this name.
fn maker(name: &str, what: &str) -> Option<i32> {
    let rest = name.strip_prefix(PREFIX)?.strip_prefix(what)?.strip_prefix('-')?;
    let (pid, random) = rest.split_once('-')?;
    (random.len() == 16).then(|| pid.parse().ok().filter(|pid| *pid > 0)).flatten()
}

fn is_gone(pid: i32) -> bool {
    let asked = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None);
    asked.is_err_and(|errno| io::Error::from(errno).raw_os_error() == Some(libc::ESRCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_swept_and_what_others_use_is_not() {
        let temporary = std::env::temp_dir();
        // No process has this number: Linux gives at most 2^22.
        let left = temporary.join("flyball-sweeptest-2147483647-0123456789abcdef");
        let foreign = temporary.join("flyball-sweeptest-notes");
        for path in [&left, &foreign] {
            fs::create_dir_all(path.join("inner")).expect("made");
        }
        let used = Folder::make("sweeptest").expect("made");
        let other = Folder::make("sweeptest").expect("made");
        assert!(!left.exists() && foreign.exists() && used.path().exists());
        drop((used, other));
        fs::remove_dir_all(foreign).expect("removed");
    }

    #[test]
    fn only_names_of_its_own_are_read() {
        assert_eq!(maker("flyball-chaos-77-0123456789abcdef", "chaos"), Some(77));
        for name in
            ["flyball-chaos-77", "flyball-chaos-x-0123456789abcdef", "flyball-chaosx-7-0123456789abcdef", "chaos-7"]
        {
            assert_eq!(maker(name, "chaos"), None, "{name}");
        }
    }
}
