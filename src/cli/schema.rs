//! `flyball schema`: the JSON schema of a file format, for editors and for reading: every key with its documentation.

use schemars::schema_for;

use super::Failure;
use crate::config::raw::RawConfig;
use crate::policy::fleet_raw::RawFleetFile;
use crate::policy::raw::RawPolicy;
use crate::scenario::raw::RawScenarioFile;

/// Arguments of `flyball schema`.
#[derive(Debug, clap::Args)]
pub(super) struct SchemaArgs {
    /// Which file.
    #[arg(value_enum)]
    format: Format,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// `flyball.yaml`.
    Config,
    /// A policy file.
    Policy,
    /// A fleet file.
    Fleet,
    /// A scenario file.
    Scenario,
}

/// Runs the command.
pub(super) fn schema(arguments: SchemaArgs) -> Result<(), Failure> {
    let schema = match arguments.format {
        Format::Config => schema_for!(RawConfig),
        Format::Policy => schema_for!(RawPolicy),
        Format::Fleet => schema_for!(RawFleetFile),
        Format::Scenario => schema_for!(RawScenarioFile),
    };
    let text = serde_json::to_string_pretty(&schema).map_err(anyhow::Error::from)?;
    super::print(&text)
}
