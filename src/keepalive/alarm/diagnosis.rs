//! What a scan makes of a cohort: what most of the late devices have in common, in a word and in a sentence with its
//! numbers. It names what was seen; why a device is silent is for somebody to find out who can get to it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::health::{DeviceHealth, Obedience, Reach};
use crate::keepalive::report::{CohortReport, Verdict};

/// The part of the late devices that makes something their cause.
const MOST: f64 = 0.5;
/// Versions that are named.
const FIRMWARES_SHOWN: usize = 3;

/// What a cohort was found to be like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// In one word.
    pub cause: Cause,
    /// In sentences, with numbers.
    pub text: String,
    /// Devices that are overdue.
    pub overdue: usize,
    /// Of those, the ones that answered the probe.
    pub reachable: usize,
    /// Devices that ignore their orders.
    pub ignoring: usize,
}

/// What most of the late devices have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// They beat by another pace than they are told: their firmware ignores orders.
    OrdersIgnored,
    /// They are silent and nothing reaches them: off, out of coverage, or behind a NAT that forgot them.
    Unreachable,
    /// They are overdue and answer: their beats do not get through, or their firmware is stuck.
    BeatsMissing,
    /// They are late and back.
    Late,
    /// No device was late when the scan came.
    Recovered,
}

impl Cause {
    /// The name in labels and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OrdersIgnored => "orders_ignored",
            Self::Unreachable => "unreachable",
            Self::BeatsMissing => "beats_missing",
            Self::Late => "late",
            Self::Recovered => "recovered",
        }
    }
}

/// Of the worst devices of a cohort; `late_from` is the ratio from which one is late, `more` those that were not scanned.
pub fn diagnose(report: Option<&CohortReport>, devices: &[DeviceHealth], more: u64, late_from: f64) -> Diagnosis {
    let late: Vec<&DeviceHealth> = devices.iter().filter(|device| device.ratio() >= late_from).collect();
    let overdue: Vec<&&DeviceHealth> = late.iter().filter(|device| device.is_overdue()).collect();
    let reachable = overdue.iter().filter(|device| device.reach == Reach::Answered).count();
    let ignoring: Vec<&DeviceHealth> = devices.iter().filter(|device| device.pace != Obedience::AsTold).collect();
    let slower = late.iter().filter(|device| device.pace == Obedience::Slower).count();
    let is_most = |n: usize| n as f64 >= MOST * late.len() as f64;
    let cause = match late.len() {
        0 => Cause::Recovered,
        _ if is_most(slower) => Cause::OrdersIgnored,
        _ if is_most(overdue.len() - reachable) => Cause::Unreachable,
        _ if is_most(overdue.len()) => Cause::BeatsMissing,
        _ => Cause::Late,
    };
    let mut text = format!(
        "{} of {} devices scanned are late; {} are silent now, of which {reachable} answered a probe.",
        late.len(),
        devices.len(),
        overdue.len(),
    );
    if more > 0 {
        let _ = write!(text, " {more} more devices of the cohort were not scanned.");
    }
    if !ignoring.is_empty() {
        let _ = write!(text, " {} ignore their orders{}.", ignoring.len(), of_firmware(&ignoring));
    }
    let rebound = late.iter().filter(|device| device.rebindings > 0).count();
    if rebound > 0 {
        let _ = write!(text, " {rebound} of the late ones have changed their public address.");
    }
    text += &of_nat(report);
    Diagnosis { cause, text, overdue: overdue.len(), reachable, ignoring: ignoring.len() }
}

/// The versions that most of them run.
fn of_firmware(devices: &[&DeviceHealth]) -> String {
    let mut counts: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
    devices.iter().filter_map(|device| device.firmware.as_ref()).for_each(|name| *counts.entry(name).or_default() += 1);
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let shown: Vec<String> = counts.iter().take(FIRMWARES_SHOWN).map(|(name, n)| format!("{name}: {n}")).collect();
    if shown.is_empty() { String::new() } else { format!(" (firmware {})", shown.join(", ")) }
}

fn of_nat(report: Option<&CohortReport>) -> String {
    let Some(report) = report else { return String::new() };
    let stream = report.stream();
    let [lower, upper] = [stream.lower_bound, stream.upper_bound].map(|bound| bound.as_secs_f64());
    let interval = report.pace.interval.as_secs_f64();
    let known = match report.verdict {
        Verdict::Learning => format!("is still learnt (above {lower:.0} s so far)"),
        Verdict::Learnt => format!("keeps a binding for {lower:.0} to {upper:.0} s"),
        Verdict::Pinned => match report.pinned {
            Some(pin) => format!("is pinned by the operator, at {} s", pin.as_secs_f64()),
            None => "is pinned by the operator".to_owned(),
        },
        Verdict::Hostile => format!("is hostile: it forgets within {upper:.0} s"),
    };
    format!(" Their NAT {known}; they are told to beat each {interval:.1} s.")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use flyball_sdk::device::id::DeviceId;

    use super::*;

    fn device(silent: u64, gap: u64, reach: Reach, pace: Obedience) -> DeviceHealth {
        DeviceHealth {
            device: DeviceId([1; 16]),
            serial: Some("SN-1".into()),
            firmware: Some("4.2".into()),
            silent_for: Duration::from_secs(silent),
            gap: Duration::from_secs(gap),
            intended: Duration::from_secs(100),
            rebindings: 0,
            reach,
            pace,
        }
    }

    fn cause(devices: &[DeviceHealth]) -> Cause {
        diagnose(None, devices, 0, 1.5).cause
    }

    #[test]
    fn what_most_late_devices_have_in_common_is_the_cause() {
        let fine = || device(10, 90, Reach::Answered, Obedience::AsTold);
        let gone = || device(900, 90, Reach::Silent, Obedience::AsTold);
        let stuck = || device(900, 90, Reach::Answered, Obedience::AsTold);
        let slow = || device(10, 180, Reach::Answered, Obedience::Slower);
        let late = || device(10, 180, Reach::Answered, Obedience::AsTold);
        assert_eq!(cause(&[fine(), fine()]), Cause::Recovered);
        assert_eq!(cause(&[fine(), gone(), gone(), slow()]), Cause::Unreachable);
        assert_eq!(cause(&[gone(), stuck(), stuck(), stuck()]), Cause::BeatsMissing);
        assert_eq!(cause(&[slow(), slow(), gone()]), Cause::OrdersIgnored);
        assert_eq!(cause(&[late(), late(), gone()]), Cause::Late);
    }

    #[test]
    fn a_diagnosis_says_its_numbers_and_names_firmware_that_ignores_orders() {
        let devices = [
            device(900, 90, Reach::Silent, Obedience::AsTold),
            device(10, 180, Reach::Answered, Obedience::Slower),
            device(10, 90, Reach::Answered, Obedience::AsTold),
        ];
        let found = diagnose(None, &devices, 7, 1.5);
        assert_eq!((found.overdue, found.reachable, found.ignoring), (1, 0, 1));
        let said = "2 of 3 devices scanned are late; 1 are silent now, of which 0 answered a probe. 7 more devices of the \
                    cohort were not scanned. 1 ignore their orders (firmware 4.2: 1).";
        assert_eq!(found.text, said);
    }
}
