//! `flyball monitor`: the eBPF monitor alone, or a capture of one: a line an event, and a table of cohorts when it ends.

mod json;
mod line;
mod live;
mod output;
mod replay;
mod table;
mod top;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use clap::CommandFactory;
use clap::error::ErrorKind;

use self::output::{Output, Style};
use super::Failure;
use crate::document::values::parse_duration;
use crate::monitor::key::Key;
use crate::monitor::prefixes::Prefixes;
use crate::monitor::settings::{DEVICES, DEVICES_MAX, GAP_MAX, GAP_MIN, PORT, Settings};

/// Arguments of `flyball monitor`.
#[derive(Debug, clap::Args)]
pub(super) struct MonitorArgs {
    /// An interface that the devices' packets come in by. May be given several times.
    #[arg(long, value_name = "IF", required_unless_present = "replay", conflicts_with = "replay")]
    interface: Vec<String>,
    /// Where a payload names its device: heartbeat (Flyball's own datagram), offset:N,len:M, quic:LEN[,prefix:M],
    /// dtls12:LEN or dtls13:LEN.
    #[arg(long, value_name = "KEY", default_value_t = Key::Heartbeat, conflicts_with = "replay")]
    key: Key,
    /// A watched port: of UDP for devices, of TCP for connections. May be given several times.
    #[arg(long, value_name = "N", default_values_t = [PORT], value_parser = clap::value_parser!(u16).range(1..), conflicts_with = "replay")]
    port: Vec<u16>,
    /// A gap from here on is told, as 30s or 1m30s. Shorter ones are counted.
    #[arg(long, value_name = "D", default_value = "30s", value_parser = gap, conflicts_with = "replay")]
    gap: Duration,
    /// Which addresses are of which cohort: lines of prefix,carrier,region, under that line.
    #[arg(long, value_name = "F", conflicts_with = "replay")]
    prefixes: Option<PathBuf>,
    /// Devices that are kept, about 1.5 times the fleet: the least recently seen make room.
    #[arg(long, value_name = "N", default_value_t = DEVICES, value_parser = clap::value_parser!(u32).range(1..=i64::from(DEVICES_MAX)), conflicts_with = "replay")]
    devices: u32,
    /// Write a capture of everything that is seen, for --replay.
    #[arg(long, value_name = "F", conflicts_with = "replay")]
    record: Option<PathBuf>,
    /// End after this many seconds; without it at Ctrl-C.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=31_536_000), conflicts_with = "replay")]
    seconds: Option<u64>,
    /// One JSON object an event, and nothing else.
    #[arg(long, conflicts_with = "top")]
    json: bool,
    /// A live view: rates, cohorts, the last events.
    #[arg(long, conflicts_with = "replay")]
    top: bool,
    /// Read a capture instead of the kernel. Needs no privilege.
    #[arg(long, value_name = "F")]
    replay: Option<PathBuf>,
}

/// Runs the command.
pub(super) fn monitor(arguments: MonitorArgs) -> Result<(), Failure> {
    let style = style(&arguments)?;
    match &arguments.replay {
        Some(file) => replay::replay(file, Output::new(style)),
        None => {
            let settings = settings(&arguments)?;
            let limits = live::Limits { record: arguments.record, seconds: arguments.seconds };
            live::live(&settings, &limits, Output::new(style))
        }
    }
}

fn style(arguments: &MonitorArgs) -> Result<Style, Failure> {
    match (arguments.json, arguments.top) {
        (true, _) => Ok(Style::Json),
        (false, false) => Ok(Style::Lines),
        (false, true) if std::io::stdout().is_terminal() => Ok(Style::Top),
        (false, true) => Err(usage("--top needs a terminal: leave it out for a line an event")),
    }
}

fn usage(text: &str) -> Failure {
    Failure::Usage(super::Arguments::command().error(ErrorKind::ArgumentConflict, text))
}

fn settings(arguments: &MonitorArgs) -> Result<Settings, Failure> {
    let invalid = |errors: crate::document::problem::Problems| Failure::Invalid(errors.to_string());
    let prefixes = arguments.prefixes.as_deref().map_or_else(|| Ok(Prefixes::default()), Prefixes::read);
    Ok(Settings {
        interfaces: arguments.interface.clone(),
        key: arguments.key,
        ports: arguments.port.clone(),
        gap: arguments.gap,
        devices: arguments.devices,
        prefixes: prefixes.map_err(invalid)?,
    })
}

fn gap(text: &str) -> Result<Duration, String> {
    let allowed = GAP_MIN..=GAP_MAX;
    parse_duration(text)
        .filter(|gap| allowed.contains(gap))
        .ok_or_else(|| "a gap is a duration from 100ms to 24h, such as 30s or 1m30s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_gap_is_the_one_of_the_configuration() {
        assert_eq!(gap("30s"), Ok(crate::monitor::settings::GAP));
        assert!(["99ms", "25h", "30", ""].iter().all(|text| gap(text).is_err()));
    }
}
