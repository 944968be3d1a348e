//! The kernel itself.

use std::path::PathBuf;

use super::super::Failure;
use super::output::Output;
use crate::monitor::settings::Settings;

/// What bounds a live run, and what it leaves behind.
#[derive(Debug)]
pub(super) struct Limits {
    /// Where a capture is written to.
    pub(super) record: Option<PathBuf>,
    /// When it ends by itself.
    pub(super) seconds: Option<u64>,
}

/// Watches until SIGINT, SIGTERM or the end of its time.
pub(super) fn live(_settings: Settings, _limits: Limits, _output: Output) -> Result<(), Failure> {
    Err(Failure::Machine("the kernel side is not built yet".to_owned()))
}
