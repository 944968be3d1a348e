//! What host and guest tell each other, as files of the one folder that the guest can write.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::kernel::Kernel;
use super::machine::{Folder, console_tail};
use super::{Request, VmError, file};

/// What the guest shall do.
pub(super) const ORDER: &str = "order.json";
/// How its program ended: the number.
pub(super) const STATUS: &str = "status";

/// The program as it would run on the host.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) program: String,
    pub(super) arguments: Vec<String>,
    pub(super) directory: String,
    pub(super) environment: Vec<(String, String)>,
    /// Each comes back as a file named by its place.
    pub(super) files: Vec<String>,
    /// The kernel's modules on the host, and the release that they are of.
    pub(super) modules: String,
    pub(super) release: String,
}

impl Order {
    pub(super) fn new(request: &Request, kernel: &Kernel) -> Result<Self, VmError> {
        let directory = env::current_dir().map_err(file("find", "."))?;
        let program = match &request.program {
            Some(program) => program.clone(),
            None => env::current_exe().map_err(file("find", "the program"))?,
        };
        let arguments: Result<_, _> = request.arguments.iter().map(|argument| text(argument)).collect();
        let files: Result<_, _> = request.files.iter().map(|path| text(directory.join(path).as_os_str())).collect();
        Ok(Self {
            program: text(program.as_os_str())?,
            arguments: arguments?,
            directory: text(directory.as_os_str())?,
            // A variable that is no text is nothing of ours.
            environment: env::vars_os()
                .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
                .collect(),
            files: files?,
            modules: text(kernel.modules.as_os_str())?,
            release: kernel.release.clone(),
        })
    }

    pub(super) fn write(&self, folder: &Folder) -> Result<(), VmError> {
        let path = folder.path(ORDER);
        let bytes = serde_json::to_vec(self).map_err(|error| file("write", &path)(error.into()))?;
        fs::write(&path, bytes).map_err(file("write", &path))
    }
}

/// The exit status, once the files have been put where they are wanted.
pub(super) fn take_back(folder: &Folder, files: &[PathBuf]) -> Result<u8, VmError> {
    let status = fs::read_to_string(folder.path(STATUS)).ok().and_then(|status| status.trim().parse().ok());
    let Some(status) = status else { return Err(VmError::Ended { last_words: console_tail(folder) }) };
    for (place, wanted) in files.iter().enumerate() {
        let brought = folder.path(&place.to_string());
        if brought.exists() {
            fs::copy(&brought, wanted).map_err(file("write", wanted))?;
        }
    }
    Ok(status)
}

fn text(text: &OsStr) -> Result<String, VmError> {
    text.to_str().map(str::to_owned).ok_or_else(|| VmError::Text(text.to_owned()))
}

/// The order, as the guest finds it.
pub(super) fn read(folder: &Path) -> std::io::Result<Order> {
    Ok(serde_json::from_slice(&fs::read(folder.join(ORDER))?)?)
}
