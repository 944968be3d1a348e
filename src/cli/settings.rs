//! What `run` and `check` start from: the configuration and all policies, every error of both at once.

use std::path::Path;

use super::Failure;
use crate::config::Config;
use crate::config::layers::process_environment;
use crate::config::load::ConfigErrors;
use crate::document::Place;
use crate::document::problem::{Problem, Problems};
use crate::document::values::format_duration;
use crate::keepalive::policy::IntervalBounds;
use crate::monitor::key::Key;
use crate::policy::{DEFAULT_FLEET, SourceKind, SourceKinds};
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
    policies.warnings.extend(across(&config.config, &policies));
    Ok((config, policies))
}

/// What may be a mistake only beside what the other file says.
fn across(config: &Config, policies: &policy::load::Loaded) -> Vec<Problem> {
    let unused = policies.fleet_files.first().filter(|_| config.fleet.is_none()).map(|file| {
        let message = "fleet files have no effect: the configuration has no `fleet` with a door or a monitor";
        Problem::new(Place::Nowhere, file.display().to_string(), message)
    });
    unused.into_iter().chain(silences_not_told(config, policies)).collect()
}

/// The server leaves the silences of its devices to the monitor, which tells only those from `monitor.gap` on.
fn silences_not_told(config: &Config, policies: &policy::load::Loaded) -> Option<Problem> {
    let heartbeat = config.fleet.as_ref()?.heartbeat?;
    let monitor = config.monitor.as_ref()?;
    if monitor.key != Key::Heartbeat || !monitor.ports.contains(&heartbeat.port()) {
        return None;
    }
    let fleets = policies.set.fleets.iter().map(|fleet| (&*fleet.name, fleet.interval.min));
    let floors = fleets.chain(policies.set.fleets.is_empty().then(|| (DEFAULT_FLEET, IntervalBounds::default().min)));
    let (fleet, floor) = floors.min_by_key(|(_, floor)| *floor).filter(|(_, floor)| *floor < monitor.gap)?;
    let (gap, floor) = (format_duration(monitor.gap), format_duration(floor));
    let message = format!(
        "{gap}: fleet {fleet} may beat each {floor}: nothing is learnt from silences in between; set it to {floor}"
    );
    Some(Problem::new(Place::Nowhere, "monitor.gap", message))
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
