//! What `run` and `check` start from: the configuration and all policies, every error of both at once.

use std::path::Path;

use super::Failure;
use crate::config::layers::process_environment;
use crate::config::load::ConfigErrors;
use crate::document::Place;
use crate::document::problem::{Problem, Problems};
use crate::policy::{SourceKind, SourceKinds};
use crate::{config, policy};

/// Loads both.
///
/// # Errors
/// Invalid, with every error; where the configuration is broken, those of its policies as far as they can be told.
pub(super) fn load(file: Option<&Path>) -> Result<(config::load::Loaded, policy::load::Loaded), Failure> {
    let invalid = |errors: Problems| Failure::Invalid(errors.to_string());
    let config = config::load::load(file, process_environment(), &[]).map_err(|broken| invalid(all(broken)))?;
    let kinds = SourceKinds::of(&config.config.source);
    let mut policies = policy::load::load(&config.config.policies, kinds).map_err(invalid)?;
    if let (None, Some(file)) = (&config.config.fleet, policies.fleet_files.first()) {
        let message = "fleet files have no effect: the configuration has no `fleet` with a door or a monitor";
        policies.warnings.push(Problem::new(Place::Nowhere, file.display().to_string(), message));
    }
    Ok((config, policies))
}

fn all(broken: ConfigErrors) -> Problems {
    let Some(hint) = broken.policies.filter(|hint| hint.folder.is_dir()) else { return broken.errors };
    // Where no source is named at all, most users will name a Prometheus.
    let asked = match (hint.is_scrape, hint.is_prometheus || !hint.is_otlp) {
        (true, _) => Some(SourceKind::Scrape),
        (false, true) => Some(SourceKind::Prometheus),
        (false, false) => None,
    };
    let kinds = SourceKinds { asked, has_otlp: hint.is_otlp };
    let more = policy::load::load(&hint.folder, kinds).err().map_or_else(Vec::new, |errors| errors.0);
    Problems(broken.errors.0.into_iter().chain(more).collect())
}
