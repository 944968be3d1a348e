//! What the monitor watches, and which cohort a device is of.

use std::path::PathBuf;

use super::raw::{RawFleet, RawMonitor};
use crate::document::check::Check;
use crate::monitor::key::Key;
use crate::monitor::prefixes::Prefixes;
use crate::monitor::settings::{
    DEVICES, DEVICES_MAX, GAP, GAP_MAX, GAP_MIN, INTERFACE_NAME_MAX, INTERFACES_MAX, PORT, PORTS_MAX, Settings,
};

/// The monitor's settings; `None` where it is not configured, or where `check` holds an error.
pub(super) fn monitor(raw: Option<RawMonitor>, fleet: Option<RawFleet>, check: &mut Check<'_>) -> Option<Settings> {
    let prefixes = prefixes(fleet.unwrap_or_default(), check);
    let is_written = check.root().at("monitor").is_some();
    let raw = if is_written { raw.unwrap_or_default() } else { return unused(prefixes.is_some(), check) };
    let interfaces = interfaces(raw.interfaces, check);
    let key = key(raw.key, check);
    let ports = ports(raw.ports, check);
    let gap = check.duration("monitor.gap", raw.gap, GAP, GAP_MIN..=GAP_MAX);
    let devices = check.count("monitor.devices", raw.devices, DEVICES, 1..=DEVICES_MAX);
    Some(Settings { interfaces, key: key?, ports, gap, devices, prefixes: prefixes.unwrap_or_default() })
}

fn unused(has_prefixes: bool, check: &mut Check<'_>) -> Option<Settings> {
    if has_prefixes {
        check.warn("fleet.prefixes", "has no effect without `monitor`");
    }
    None
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
fn prefixes(raw: RawFleet, check: &mut Check<'_>) -> Option<Prefixes> {
    const KEY: &str = "fleet.prefixes";
    let path: PathBuf = check.path(KEY, &raw.prefixes?);
    match Prefixes::read(&path) {
        Ok(prefixes) => Some(prefixes),
        Err(problems) => {
            check.errors.extend(problems.0);
            None
        }
    }
}
