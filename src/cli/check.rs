//! `flyball check`.

use super::Failure;

/// Arguments of `flyball check`.
#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {}

/// Runs the command.
pub(super) fn check(_arguments: CheckArgs) -> Result<(), Failure> {
    Ok(())
}
