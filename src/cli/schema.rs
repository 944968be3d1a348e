//! `flyball schema`.

use super::Failure;

/// Arguments of `flyball schema`.
#[derive(Debug, clap::Args)]
pub(super) struct SchemaArgs {}

/// Runs the command.
pub(super) fn schema(_arguments: SchemaArgs) -> Result<(), Failure> {
    Ok(())
}
