//! `flyball device`: a reference edge device. It beats at the pace that it is told, tests on order, and says what happens.

mod grpc;
mod json;
mod line;
mod output;
mod udp;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::CommandFactory;
use clap::error::ErrorKind;
use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::key::{MacKey, derive};
use flyball_sdk::device::labels::DeviceLabels;
use flyball_sdk::device::machine::{Bounds, Memory, Settings};
use flyball_sdk::device::state_file::StateFile;

use self::output::{Output, Style};
use super::Failure;
use super::device_key::one_of;
use crate::document::values::parse_duration;
use crate::fleet::keys::MasterKeys;

/// Arguments of `flyball device`.
#[derive(Debug, clap::Args)]
pub(super) struct DeviceArgs {
    /// The server's address.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port)]
    server: String,
    /// Who this is: 32 hex digits, a UUID, or any other text.
    #[arg(long, value_name = "ID", value_parser = id)]
    id: Named,
    /// The device's key: a line KEYID:64 hex digits, as `flyball device-key` prints it.
    #[arg(long, value_name = "F", required_unless_present = "master_key_file")]
    key_file: Option<PathBuf>,
    /// In place of the key: the master keys that it is derived from, as the server reads them. For trials only: who has
    /// this file can be every device.
    #[arg(long, value_name = "F", conflicts_with = "key_file")]
    master_key_file: Option<PathBuf>,
    /// Be so many devices in one process, to try a server: ID-1 to ID-N, each with a key and a socket of its own. Over udp.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000), requires = "master_key_file", conflicts_with = "state")]
    count: Option<u32>,
    /// Those devices start one after the other over this time.
    #[arg(long, value_name = "D", default_value = "0s", value_parser = duration, requires = "count")]
    start_within: Duration,
    /// Leave it to the server alone to keep a new binding: no beat in the place of a second ack that was lost.
    #[arg(long)]
    no_follow_up: bool,
    /// Which of the file's keys; without it the last.
    #[arg(long, value_name = "N")]
    key_id: Option<u16>,
    /// How to reach the server.
    #[arg(long, value_enum, default_value_t = Transport::Udp)]
    transport: Transport,
    /// What to say of itself, such as carrier=a,region=eu.
    #[arg(long, value_name = "K=V,…", default_value_t, hide_default_value = true)]
    labels: DeviceLabels,
    /// Keeps the last order and the count of starts here; without it a start begins at 15 s.
    #[arg(long, value_name = "F")]
    state: Option<PathBuf>,
    /// No beats more often than this, whatever is told.
    #[arg(long, value_name = "D", default_value = "15s", value_parser = duration)]
    min: Duration,
    /// No two beats further apart than this, whatever is told.
    #[arg(long, value_name = "D", default_value = "30m", value_parser = duration)]
    max: Duration,
    /// End after this many seconds; without it at Ctrl-C.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    seconds: Option<u64>,
    /// One JSON object an event, and nothing else.
    #[arg(long)]
    json: bool,
}

/// An id, and how it was written.
#[derive(Debug, Clone)]
struct Named {
    text: String,
    id: DeviceId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Transport {
    /// Heartbeats in datagrams.
    Udp,
    /// A session over a connection, with TLS left to a proxy.
    Grpc,
}

/// A device as the arguments have it.
struct Device {
    server: String,
    settings: Settings,
    /// The bytes of its key.
    key: [u8; 32],
    labels: DeviceLabels,
    memory: Memory,
    state: Option<StateFile>,
    seconds: Option<u64>,
}

impl Device {
    fn mac_key(&self) -> MacKey {
        MacKey::new(&self.key)
    }

    /// Keeps what is to be kept, where there is a place for it.
    fn keep(&self, memory: &Memory) -> Result<(), Failure> {
        let saved = self.state.as_ref().map_or(Ok(()), |state| state.save(memory));
        saved.map_err(|error| Failure::Runtime(error.into()))
    }
}

/// Runs the command.
pub(super) fn device(arguments: DeviceArgs) -> Result<(), Failure> {
    let style = match (arguments.json, arguments.count) {
        (true, _) => Style::Json,
        (false, None) => Style::Lines,
        (false, Some(_)) => Style::NamedLines,
    };
    let output = Output::new(style);
    match (arguments.transport, arguments.count) {
        (Transport::Udp, None) => {
            udp::run(vec![Device::of(&arguments, arguments.id.id)?], arguments.start_within, output)
        }
        (Transport::Udp, Some(count)) => udp::run(many(&arguments, count)?, arguments.start_within, output),
        (Transport::Grpc, None) => grpc::run(Device::of(&arguments, arguments.id.id)?, output),
        (Transport::Grpc, Some(_)) => Err(usage("--count is for --transport udp: a session is a process of its own")),
    }
}

/// ID-1 to ID-N.
fn many(arguments: &DeviceArgs, count: u32) -> Result<Vec<Device>, Failure> {
    if let Err(error) = crate::socket::raise_nofile_limit() {
        eprintln!("warning: the limit on open files stays as it is: {error}");
    }
    let numbered = |number: u32| {
        let id = format!("{}-{number}", arguments.id.text);
        id.parse().map_err(|error| usage(&format!("{id}: {error}")))
    };
    (1..=count).map(|number| Device::of(arguments, numbered(number)?)).collect()
}

impl Device {
    fn of(arguments: &DeviceArgs, id: DeviceId) -> Result<Self, Failure> {
        let bounds = Bounds::new(arguments.min, arguments.max).map_err(|error| usage(&error.to_string()))?;
        let (key_id, key) = key(arguments, id)?;
        let state = arguments.state.clone().map(StateFile::new);
        let last = state.as_ref().map_or(Ok(None), StateFile::load);
        let last = last.map_err(|error| Failure::Runtime(error.into()))?;
        let device = Self {
            server: arguments.server.clone(),
            settings: Settings { bounds, follows_up: !arguments.no_follow_up, ..Settings::new(id, key_id) },
            key,
            labels: arguments.labels.clone(),
            memory: Memory::for_next_boot(last, unix_seconds()),
            state,
            seconds: arguments.seconds,
        };
        // Before the first beat: a start that the memory does not know would be taken for the one before.
        device.keep(&device.memory)?;
        Ok(device)
    }
}

/// The device's own key, or the one that a master key makes.
fn key(arguments: &DeviceArgs, id: DeviceId) -> Result<(u16, [u8; 32]), Failure> {
    let (Some(file), is_master) = (match &arguments.master_key_file {
        Some(file) => (Some(file), true),
        None => (arguments.key_file.as_ref(), false),
    }) else {
        return Err(usage("needs --key-file or --master-key-file"));
    };
    let keys = MasterKeys::read(file).map_err(|problems| Failure::Invalid(problems.to_string()))?;
    let (key_id, key) =
        one_of(&keys, arguments.key_id).ok_or_else(|| Failure::Invalid(no_such_key(file, &keys, arguments.key_id)))?;
    Ok((key_id, if is_master { derive(key, key_id, id) } else { *key }))
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn usage(what: &str) -> Failure {
    Failure::Usage(super::Arguments::command().error(ErrorKind::ValueValidation, what))
}

/// What to say of a file that holds other keys.
pub(super) fn no_such_key(file: &Path, keys: &MasterKeys, wanted: Option<u16>) -> String {
    let ids: Vec<String> = keys.ids().map(|id| id.to_string()).collect();
    let wanted = wanted.map_or_else(|| "any".to_owned(), |id| id.to_string());
    format!("error: {}: no key with id {wanted}; there is {}", file.display(), ids.join(", "))
}

fn id(text: &str) -> Result<Named, <DeviceId as std::str::FromStr>::Err> {
    text.parse().map(|id| Named { text: text.to_owned(), id })
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "a duration is written as 15s or 1m30s".to_owned())
}

fn host_and_port(text: &str) -> Result<String, String> {
    let is_sound = text.rsplit_once(':').is_some_and(|(host, port)| {
        let is_bare_ipv6 = host.contains(':') && !host.starts_with('[');
        !host.is_empty() && !is_bare_ipv6 && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    is_sound
        .then(|| text.to_owned())
        .ok_or_else(|| "write HOST:PORT, such as fleet.example.com:5783 or [::1]:5783".to_owned())
}
