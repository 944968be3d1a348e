//! What can go wrong while a scenario runs.

use std::io;

use super::pusher::PushError;
use crate::lab::LabError;

/// A run ended without a verdict.
#[derive(Debug, thiserror::Error)]
pub enum ChaosError {
    /// The lab failed.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// Pushes cannot be made.
    #[error(transparent)]
    Push(#[from] PushError),
    /// Files of the run cannot be written.
    #[error("the folder of the run: {0:#}")]
    Folder(anyhow::Error),
    /// A child could not be started or stopped.
    #[error("cannot {what}")]
    Child {
        /// What was tried.
        what: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The server ended by itself, or never answered.
    #[error("{what}; it said last:\n{log}")]
    Server {
        /// What is wrong with it.
        what: String,
        /// Its last lines.
        log: String,
    },
    /// The monitor in the kernel cannot watch here.
    #[error("the monitor in the kernel cannot watch here: {0}")]
    Monitor(String),
    /// Something that only a machine of its own can do.
    #[error("{0}")]
    Machine(String),
    /// Pushes stopped.
    #[error("a socket of the measurement failed")]
    Measurement,
    /// It was told to stop.
    #[error("interrupted: no verdict; everything that was started is gone")]
    Interrupted,
}
