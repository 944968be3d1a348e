//! Where devices are answered, what the monitor watches, and which cohort a device is of.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::address::Listener;
use super::raw::{RawFleet, RawMonitor};
use super::validate::listener;
use super::{FleetConfig, KeyFile};
use crate::document::check::Check;
use crate::fleet::heartbeat::settings::WORKERS_MAX;
use crate::fleet::keys::MasterKeys;
use crate::monitor::key::Key;
use crate::monitor::prefixes::Prefixes;
use crate::monitor::settings::{
    DEVICES, DEVICES_MAX, GAP, GAP_MAX, GAP_MIN, INTERFACE_NAME_MAX, INTERFACES_MAX, PORT, PORTS_MAX, Settings,
};

const SESSIONS: usize = 100_000;

/// Both parts of the second loop; each `None` where it is not configured, or where `check` holds an error.
pub(super) fn second_loop(
    monitor: Option<RawMonitor>,
    fleet: Option<RawFleet>,
    check: &mut Check<'_>,
) -> (Option<Settings>, Option<FleetConfig>) {
    let is_written = |key: &str| check.root().at(key).is_some();
    let (has_fleet, has_monitor) = (is_written("fleet"), is_written("monitor"));
    let fleet = self::fleet(fleet.unwrap_or_default(), check);
    let monitor = has_monitor.then(|| self::monitor(monitor.unwrap_or_default(), &fleet.prefixes, check)).flatten();
    let is_fed = has_monitor || check.is_written("fleet.heartbeat") || check.is_written("fleet.grpc");
    if has_fleet && !is_fed {
        let key = if check.is_written("fleet.prefixes") { "fleet.prefixes" } else { "fleet" };
        check.warn(key, "has no effect without `fleet.heartbeat`, `fleet.grpc` or `monitor`");
    }
    (monitor, (has_fleet && is_fed).then_some(fleet))
}

fn fleet(raw: RawFleet, check: &mut Check<'_>) -> FleetConfig {
    const MASTER_KEY_FILE: &str = "fleet.master_key_file";
    let prefixes = prefixes(raw.prefixes, check).unwrap_or_default();
    let mut ignored: Vec<Listener> = Vec::new();
    let heartbeat = raw.heartbeat.and_then(|text| listener("fleet.heartbeat", &text, check, &mut ignored));
    let grpc = raw.grpc.and_then(|text| listener("fleet.grpc", &text, check, &mut ignored));
    if heartbeat.is_some() || grpc.is_some() {
        check.require(MASTER_KEY_FILE, "needs the file with the master key; `flyball device-key --help` tells of it");
    }
    let keys = raw.master_key_file.and_then(|path| keys(MASTER_KEY_FILE, &path, check));
    FleetConfig {
        heartbeat,
        grpc,
        keys,
        prefixes,
        devices: check.count("fleet.devices", raw.devices, DEVICES, 1..=DEVICES_MAX),
        workers: raw.workers.map(|workers| check.count("fleet.workers", Some(workers), 1, 1..=WORKERS_MAX)),
        sessions_max: check.count("fleet.sessions_max", raw.sessions_max, SESSIONS, 16..=1_000_000),
    }
}

fn keys(key: &str, path: &str, check: &mut Check<'_>) -> Option<KeyFile> {
    let path = check.readable_file(key, path);
    if check.has_errors_under(key) {
        return None;
    }
    warn_if_others_may_read(key, &path, check);
    match MasterKeys::read(&path) {
        Ok(keys) => Some(KeyFile { path, keys: Arc::new(keys) }),
        Err(problems) => {
            check.errors.extend(problems.0);
            None
        }
    }
}

/// Whoever reads a master key can be any device.
fn warn_if_others_may_read(key: &str, path: &Path, check: &mut Check<'_>) {
    let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        check.warn(key, format_args!("others than its owner may read it (mode {:03o}): chmod 600", mode & 0o777));
    }
}

/// The streams' address: of TCP, as all the others that may conflict with it.
pub(super) fn tcp_listener(fleet: Option<&FleetConfig>) -> Option<Listener> {
    Some(("fleet.grpc".to_owned(), fleet?.grpc?))
}

fn monitor(raw: RawMonitor, prefixes: &Prefixes, check: &mut Check<'_>) -> Option<Settings> {
    let interfaces = interfaces(raw.interfaces, check);
    let key = key(raw.key, check);
    let ports = ports(raw.ports, check);
    let gap = check.duration("monitor.gap", raw.gap, GAP, GAP_MIN..=GAP_MAX);
    let devices = check.count("monitor.devices", raw.devices, DEVICES, 1..=DEVICES_MAX);
    Some(Settings { interfaces, key: key?, ports, gap, devices, prefixes: prefixes.clone() })
}

fn interfaces(written: Option<Vec<String>>, check: &mut Check<'_>) -> Vec<String> {
    const KEY: &str = "monitor.interfaces";
    check.require(KEY, "needs the interfaces that the devices' packets come in by, such as [eth0]");
    let names = written.unwrap_or_default();
    if names.len() > INTERFACES_MAX || (names.is_empty() && check.is_written(KEY) && !check.has_errors_under(KEY)) {
        check.fail(KEY, format_args!("allowed are 1 to {INTERFACES_MAX} interfaces"));
    }
    for (i, name) in names.iter().enumerate().take(INTERFACES_MAX) {
        let key = format!("{KEY}[{i}]");
        // What the kernel itself allows (dev_valid_name).
        let is_name = (1..=INTERFACE_NAME_MAX).contains(&name.len()) && !name.contains(['/', ':']);
        if !is_name || name.contains(char::is_whitespace) || name == "." || name == ".." {
            check.fail(
                &key,
                format_args!("an interface's name is 1 to {INTERFACE_NAME_MAX} bytes without /, : and spaces"),
            );
        } else if names[..i].contains(name) {
            check.fail(&key, "this interface is there twice; its packets would count twice");
        }
    }
    names
}

fn key(written: Option<String>, check: &mut Check<'_>) -> Option<Key> {
    match written.map_or(Ok(Key::Heartbeat), |text| text.parse()) {
        Ok(key) => Some(key),
        Err(error) => {
            check.fail("monitor.key", error);
            None
        }
    }
}

fn ports(written: Option<Vec<u16>>, check: &mut Check<'_>) -> Vec<u16> {
    const KEY: &str = "monitor.ports";
    let Some(ports) = written else { return vec![PORT] };
    if ports.is_empty() || ports.len() > PORTS_MAX {
        check.fail(KEY, format_args!("allowed are 1 to {PORTS_MAX} ports"));
    }
    for (i, _) in ports.iter().enumerate().filter(|(_, port)| **port == 0) {
        check.fail(&format!("{KEY}[{i}]"), "allowed are whole numbers from 1 to 65535");
    }
    ports
}

/// Every line of the file that is wrong is an error beside those of the configuration.
fn prefixes(written: Option<String>, check: &mut Check<'_>) -> Option<Prefixes> {
    const KEY: &str = "fleet.prefixes";
    let path: PathBuf = check.readable_file(KEY, &written?);
    if check.has_errors_under(KEY) {
        return None;
    }
    match Prefixes::read(&path) {
        Ok(prefixes) => Some(prefixes),
        Err(problems) => {
            check.errors.extend(problems.0);
            None
        }
    }
}
