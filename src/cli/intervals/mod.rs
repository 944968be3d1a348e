//! `flyball check --fleet FILE`: the intervals that a firmware ships with, against what is known of its NATs.
//!
//! What is known comes from the fleet files' pins, from a running Flyball (`--admin`), or from the state that one left.
//! A device is judged by the worst cohort that it may be of: a label that the file does not tell may be anything.

mod csv;
mod json;
mod judge;
mod known;
mod learnt;
mod report;
mod rows;

use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use clap::error::ErrorKind;

use self::known::Knowledge;
use super::Failure;
use super::admin::{Admin, OptionalAdmin};
use crate::config::load::DEFAULT_FILE;
use crate::document::problem::Problem;
use crate::document::{Place, SourceFile, read_text};
use crate::time::Clock;

/// Largest file: a million devices take 60 MB.
const FILE_MAX_BYTES: u64 = 1 << 30;

/// What `check` is asked beyond the configuration.
#[derive(Debug, clap::Args)]
pub(super) struct FleetArgs {
    /// A fleet's heartbeat configuration, against what is known of its NATs: CSV with a header, or JSON objects, of device,
    /// interval, carrier, and more labels such as region. Ends with 4 where a device would lose its binding.
    #[arg(long, value_name = "FILE", conflicts_with = "online")]
    pub(super) fleet: Option<PathBuf>,
    #[command(flatten)]
    admin: OptionalAdmin,
    /// With --fleet: end with 4 also where nothing is known of a device's NAT.
    #[arg(long, requires = "fleet")]
    fail_unknown: bool,
    /// With --fleet: all of it as one JSON object.
    #[arg(long, requires = "fleet")]
    json: bool,
}

/// Judges `file`, prints what came of it, and fails where a device offends.
pub(super) fn check(file: &Path, config: Option<&Path>, arguments: &FleetArgs) -> Result<(), Failure> {
    let knowledge = knowledge(config, arguments.admin.named())?;
    let source = std::sync::Arc::new(read(file)?);
    let rows = rows::parse(&source, &knowledge.keys()).map_err(|problems| Failure::Invalid(problems.to_string()))?;
    let judged = judge::judge(&rows, &knowledge);
    let text = if arguments.json {
        report::json(file, &rows, &judged, &knowledge)
    } else {
        report::text(file, &rows, &judged, &knowledge)
    };
    super::print(&text)?;
    let of = || report::counted(rows.rows.len());
    let unknown = if arguments.fail_unknown { judged.unknown } else { 0 };
    match (judged.loses, unknown) {
        (0, 0) => Ok(()),
        (0, n) => Err(Failure::Verdict(format!("of the NATs of {n} of {} nothing is known", of()))),
        (n, _) => Err(Failure::Verdict(format!("{n} of {} would lose their binding", of()))),
    }
}

/// With neither a configuration nor an address there is nothing to judge by.
fn knowledge(config: Option<&Path>, admin: Option<Admin>) -> Result<Knowledge, Failure> {
    let now = Clock::start().now().wall;
    let is_configured = config.is_some() || Path::new(DEFAULT_FILE).exists();
    if !is_configured && admin.is_none() {
        return Err(Failure::Usage(super::Arguments::command().error(
            ErrorKind::MissingRequiredArgument,
            "--fleet needs what is known of the NATs: --config FILE (its fleet files and its state), or --admin URL \
             (a running Flyball)",
        )));
    }
    let mut knowledge = Knowledge::default();
    let loaded = is_configured.then(|| super::settings::load(config)).transpose()?;
    if let Some((config, policies)) = &loaded {
        knowledge.take_fleets(policies.set.fleets(), &policies.fleet_files, now);
        if let Some(folder) = config.config.state.as_deref().filter(|_| admin.is_none()) {
            let memory = learnt::of_state(folder, &config.config.admin.listen)?;
            knowledge.take_learnt(
                learnt::cohorts(memory, &policies.set.fleets(), now),
                format!("state {}", folder.display()),
            );
        }
    }
    if let Some(admin) = admin {
        let rows = learnt::of_server(&admin)?;
        knowledge.take_learnt(rows, format!("the Flyball at {admin}"));
    }
    Ok(knowledge)
}

fn read(path: &Path) -> Result<SourceFile, Failure> {
    let text = read_text(path, FILE_MAX_BYTES).map_err(|message| {
        let file = std::sync::Arc::new(SourceFile { path: path.to_owned(), text: String::new() });
        Failure::Invalid(format!("error: {}", Problem::without_line(Place::start_of(&file), "", message)))
    })?;
    Ok(SourceFile { path: path.to_owned(), text })
}
