//! `flyball explain`.

use super::Failure;

/// Arguments of `flyball explain`.
#[derive(Debug, clap::Args)]
pub(super) struct ExplainArgs {}

/// Runs the command.
pub(super) fn explain(_arguments: ExplainArgs) -> Result<(), Failure> {
    Ok(())
}
