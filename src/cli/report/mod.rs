//! `flyball report`: what became of a rollout, or of an AB test, for whoever has to decide or to be told: Markdown to read,
//! JSON to keep, and a picture a gate.

mod markdown;
mod picture;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::Failure;
use super::admin::Admin;
use crate::admin::rollout_json::RolloutJson;

/// Rollout's ids that are named where the one asked for is not there.
const NAMED_MAX: usize = 10;

/// Arguments of `flyball report`.
#[derive(Debug, clap::Args)]
pub(super) struct ReportArgs {
    /// The rollout's id, or the beginning of it that no other has; `latest` is the one that began last.
    rollout: String,
    #[command(flatten)]
    admin: Admin,
    /// The rollout as JSON, with its history and how its evidence grew, in place of Markdown.
    #[arg(long)]
    json: bool,
    /// Write ROLLOUT.md, ROLLOUT.json and a picture a gate (SVG) into this folder, which is made if it is not there.
    #[arg(long, value_name = "FOLDER", conflicts_with = "json")]
    output: Option<PathBuf>,
}

/// A file of the report: its name, and what is in it.
type File = (String, String);

/// Runs the command.
pub(super) fn report(arguments: ReportArgs) -> Result<(), Failure> {
    let listed: Vec<RolloutJson> = arguments.admin.ask(&["rollouts"], "a list of rollouts")?;
    let id = the_one(&listed, &arguments.rollout)?;
    let rollout: RolloutJson = arguments.admin.ask(&["rollouts", id], "a rollout")?;
    let Some(folder) = &arguments.output else {
        let text = if arguments.json { json(&rollout) } else { markdown::report(&rollout, &[]) };
        return super::print(&text);
    };
    let written = write(folder, &files(&rollout))?;
    super::print(&written.join("\n"))
}

/// The id that is meant.
fn the_one<'a>(listed: &'a [RolloutJson], asked: &str) -> anyhow::Result<&'a str> {
    if asked == "latest" {
        let latest = listed.iter().max_by(|a, b| a.started_at.cmp(&b.started_at));
        return latest.map(|rollout| &*rollout.id).context("there was no rollout yet");
    }
    let begins = |rollout: &&RolloutJson| rollout.id.starts_with(asked);
    if let Some(exact) = listed.iter().find(|rollout| rollout.id == asked) {
        return Ok(&exact.id);
    }
    match listed.iter().filter(begins).collect::<Vec<_>>()[..] {
        [one] => Ok(&one.id),
        [] if listed.is_empty() => anyhow::bail!("no rollout {asked:?}: there was none yet"),
        [] => anyhow::bail!("no rollout {asked:?}; there are {}", named(listed.iter())),
        ref several => anyhow::bail!("{asked:?} begins the ids of several: {}", named(several.iter().copied())),
    }
}

fn named<'a>(rollouts: impl ExactSizeIterator<Item = &'a RolloutJson>) -> String {
    let more = rollouts.len().saturating_sub(NAMED_MAX);
    let names: Vec<&str> = rollouts.take(NAMED_MAX).map(|rollout| &*rollout.id).collect();
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    names.join(", ") + &rest
}

fn json(rollout: &RolloutJson) -> String {
    serde_json::to_string_pretty(rollout).expect("plain structs become JSON") + "\n"
}

/// All files of a report. Ids are the server's own words, and become names of files: nothing but letters, digits, `-`,
/// `_` and `.` of them does.
fn files(rollout: &RolloutJson) -> Vec<File> {
    let stem = file_name(&rollout.id);
    let gates = rollout.gates.iter().filter(|_| rollout.series.len() > 1);
    let pictures: Vec<(String, File)> = gates
        .map(|gate| {
            let name = format!("{stem}-{}.svg", file_name(&gate.name));
            (gate.name.clone(), (name, picture::svg(rollout, &gate.name)))
        })
        .collect();
    let shown: Vec<(&str, &str)> = pictures.iter().map(|(gate, (name, _))| (&**gate, &**name)).collect();
    let texts = [(format!("{stem}.md"), markdown::report(rollout, &shown)), (format!("{stem}.json"), json(rollout))];
    texts.into_iter().chain(pictures.into_iter().map(|(_, file)| file)).collect()
}

fn file_name(id: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let plain: String = id.chars().map(|c| if is_plain(c) { c } else { '-' }).collect();
    plain.trim_start_matches('.').to_owned()
}

fn write(folder: &Path, files: &[File]) -> anyhow::Result<Vec<String>> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    files.iter().map(|(name, text)| write_one(&folder.join(name), text)).collect()
}

fn write_one(path: &Path, text: &str) -> anyhow::Result<String> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path.display().to_string())
}
