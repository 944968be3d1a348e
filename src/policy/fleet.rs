//! The raw shape of one fleet file to the one that the second loop uses: every default filled in, every relation checked.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::ab;
use super::fleet_raw::{
    DurationOrOff, RawAlarm, RawAlarmOrOff, RawFleetFile, RawFleetPin, RawInterval, RawProbes, RawRelease,
};
use super::services;
use super::validate;
use super::waves;
use super::waves_raw::WavesOrOff;
use crate::document::check::Check;
use crate::document::values::format_duration;
use crate::keepalive::alarm::AlarmPolicy;
use crate::keepalive::cohort::Labels;
use crate::keepalive::policy::{Fleet, IntervalBounds, Pin, ProbeBudget, SecondAck};
use crate::sampling::pattern::Pattern;
use crate::time::WallTime;

/// RFC 8085, section 3.5: not more often than this.
const INTERVAL_POLITE: Duration = Duration::from_secs(15);
const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(12 * 3_600);
const SAFETY: RangeInclusive<f64> = 0.1..=0.95;
const JITTER: RangeInclusive<f64> = 0.0..=0.9;
const SECOND_ACK: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3_600);
const NAT_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);
const P99_GAP: RangeInclusive<f64> = 1.05..=20.0;
const ALARM_FOR: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);
const FLOWS_MAX: u8 = 4;
const PACKETS_PER_DAY_MAX: u32 = 100_000;
const MATCHES_MAX: usize = 16;
const COHORT_BY_MAX: usize = 8;
const PINS_MAX: usize = 1_000;
const REASON_MAX: usize = 256;
/// Longest label key, in bytes.
const KEY_MAX: usize = 64;

/// The validated fleet; `None` only where `check` holds an error.
pub(crate) fn validate(raw: RawFleetFile, now: WallTime, check: &mut Check<'_>) -> Option<Arc<Fleet>> {
    let name = validate::name("fleet", raw.fleet.clone(), check);
    let fleet = named(name.clone().unwrap_or_default(), raw, now, check);
    name.map(|_| Arc::new(fleet))
}

/// The same of a file whose fleet has its name from elsewhere.
pub(crate) fn named(name: Arc<str>, raw: RawFleetFile, now: WallTime, check: &mut Check<'_>) -> Fleet {
    let defaults = Fleet::named("");
    let matches = matches(raw.matches.unwrap_or_default(), check);
    let cohort_by = raw.cohort_by.map_or(defaults.cohort_by, |keys| cohort_by(&keys, check));
    let interval = interval(&raw.interval.unwrap_or_default(), check);
    let probes = probes(&raw.probes.unwrap_or_default(), check);
    let second_ack = match raw.second_ack {
        None => defaults.second_ack,
        Some(DurationOrOff::Off) => SecondAck::Off,
        Some(DurationOrOff::Duration(after)) => SecondAck::After(second_ack(after, check)),
    };
    let alarm = alarm(raw.alarm, check);
    let is_longer_released = raw.release != Some(RawRelease::Hold);
    let waves = match raw.waves {
        None | Some(WavesOrOff::Off) => None,
        Some(WavesOrOff::Waves(raw)) => Some(waves::waves(*raw, &interval, check)),
    };
    if waves.is_some() && !is_longer_released {
        check.warn("waves", "`release: hold` lets nothing longer out: there is nothing to release in waves");
    }
    let ab_tests = ab::tests(raw.ab_tests.unwrap_or_default(), &cohort_by, &interval, check);
    let pins = pins(raw.pins.unwrap_or_default(), &cohort_by, now, check);
    Fleet { name, matches, cohort_by, interval, probes, pins, second_ack, alarm, is_longer_released, waves, ab_tests }
}

fn matches(raw: BTreeMap<String, String>, check: &mut Check<'_>) -> Vec<(Arc<str>, Pattern)> {
    if raw.len() > MATCHES_MAX {
        check.fail("match", format_args!("at most {MATCHES_MAX} labels"));
        return Vec::new();
    }
    let mut matches = Vec::with_capacity(raw.len());
    for (label, glob) in raw {
        let key = format!("match.{label}");
        refuse_unusable(&key, &label, check);
        match Pattern::new(&glob) {
            Some(pattern) => matches.push((label.into(), pattern)),
            None => check.fail(&key, format_args!("allowed are 1 to {} bytes", Pattern::LENGTH_MAX)),
        }
    }
    matches
}

fn cohort_by(keys: &[String], check: &mut Check<'_>) -> Vec<Arc<str>> {
    if keys.len() > COHORT_BY_MAX {
        check.fail("cohort_by", format_args!("at most {COHORT_BY_MAX} labels"));
        return Vec::new();
    }
    if keys.is_empty() {
        check.warn("cohort_by", "empty: all devices of the fleet are one cohort, paced by the worst NAT among them");
    }
    for (i, label) in keys.iter().enumerate() {
        let key = format!("cohort_by[{i}]");
        refuse_unusable(&key, label, check);
        if keys[..i].contains(label) {
            check.fail(&key, "this label is there twice");
        }
    }
    keys.iter().map(|key| Arc::from(key.as_str())).collect()
}

/// What would make a cohort's name ambiguous, `carrier=a,region=eu`.
fn refuse_unusable(key: &str, label: &str, check: &mut Check<'_>) {
    let is_usable = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if label.is_empty() || label.len() > KEY_MAX || !label.chars().all(is_usable) {
        check.fail(key, format_args!("a label's name is 1 to {KEY_MAX} characters of A-Z a-z 0-9 _ . -"));
    }
}

fn interval(raw: &RawInterval, check: &mut Check<'_>) -> IntervalBounds {
    let default = IntervalBounds::default();
    let max = check.duration("interval.max", raw.max, default.max, INTERVAL);
    let min = check.duration("interval.min", raw.min, default.min.min(max), INTERVAL);
    // A default gives way to what is written.
    let max = if raw.max.is_none() { max.max(min) } else { max };
    let safety = check.number("interval.safety", raw.safety, default.safety, SAFETY);
    let jitter = check.number("interval.jitter", raw.jitter, default.jitter, JITTER);
    if min > max {
        check.fail("interval.min", format_args!("above interval.max ({})", format_duration(max)));
    }
    if min < INTERVAL_POLITE {
        check.warn("interval.min", "under 15s: RFC 8085, section 3.5, asks for at least that between keepalives");
    }
    if safety * (1.0 + jitter) > 1.0 {
        let key = if raw.jitter.is_some() { "interval.jitter" } else { "interval.safety" };
        let latest = safety * (1.0 + jitter);
        check.fail(
            key,
            format_args!("safety x (1 + jitter) is {latest:.3}: beats would come after the binding's end; at most 1"),
        );
    }
    IntervalBounds { min, max, safety, jitter }
}

fn probes(raw: &RawProbes, check: &mut Check<'_>) -> ProbeBudget {
    let default = ProbeBudget::default();
    let learning = ("probes.devices_learning", raw.devices_learning);
    let watching = ("probes.devices_watching", raw.devices_watching);
    let packets = ("probes.packets_per_day", raw.packets_per_day);
    let budget = ProbeBudget {
        devices_learning: check.number(learning.0, learning.1, default.devices_learning, 0.0..=1.0),
        devices_watching: check.number(watching.0, watching.1, default.devices_watching, 0.0..=1.0),
        flows: check.count("probes.flows", raw.flows, default.flows, 0..=FLOWS_MAX),
        packets_per_day: check.count(packets.0, packets.1, default.packets_per_day, 0..=PACKETS_PER_DAY_MAX),
    };
    if budget.flows == 0 && (raw.devices_learning.is_some() || raw.devices_watching.is_some()) {
        check.warn("probes", "`flows: 0` switches all tests off: the other keys have no effect");
    }
    budget
}

fn alarm(raw: Option<RawAlarmOrOff>, check: &mut Check<'_>) -> Option<AlarmPolicy> {
    let raw = match raw {
        None => RawAlarm::default(),
        Some(RawAlarmOrOff::Off) => return None,
        Some(RawAlarmOrOff::On(raw)) => raw,
    };
    let default = AlarmPolicy::default();
    let p99_gap = check.number("alarm.p99_gap", raw.p99_gap, default.p99_gap, P99_GAP);
    // A default gives way to what is written.
    let recover = check.number("alarm.recover", raw.recover, default.recover.min(p99_gap), 1.0..=*P99_GAP.end());
    if recover > p99_gap {
        check.fail("alarm.recover", format_args!("above alarm.p99_gap ({p99_gap}): it would be over as it opens"));
    }
    Some(AlarmPolicy {
        p99_gap,
        recover,
        lasting: check.duration("alarm.for", raw.lasting, default.lasting, ALARM_FOR),
    })
}

fn second_ack(after: Duration, check: &mut Check<'_>) -> Duration {
    if !SECOND_ACK.contains(&after) {
        let (from, to) = (format_duration(*SECOND_ACK.start()), format_duration(*SECOND_ACK.end()));
        check.fail("second_ack", format_args!("allowed are durations from {from} to {to}, or off"));
    }
    after
}

fn pins(raw: Vec<RawFleetPin>, by: &[Arc<str>], now: WallTime, check: &mut Check<'_>) -> Vec<Pin> {
    if raw.len() > PINS_MAX {
        check.fail("pins", format_args!("at most {PINS_MAX} pins"));
        return Vec::new();
    }
    let numbered = raw.into_iter().enumerate();
    numbered.filter_map(|(i, raw)| pin(&format!("pins[{i}]"), raw, by, now, check)).collect()
}

fn pin(key: &str, raw: RawFleetPin, by: &[Arc<str>], now: WallTime, check: &mut Check<'_>) -> Option<Pin> {
    let [cohort_key, timeout, until, reason] =
        ["cohort", "nat_timeout", "until", "reason"].map(|name| format!("{key}.{name}"));
    check.require(&cohort_key, "needs the labels of the cohorts that it is for, such as {carrier: a}");
    check.require(&timeout, "needs the NAT's timeout, such as 112.347s");
    check.require(&reason, "needs a reason: whoever finds the pin will ask");
    let cohort = raw.cohort.map(|labels| pinned(&cohort_key, labels, by, check));
    let nat_timeout = check.duration(&timeout, raw.nat_timeout, *NAT_TIMEOUT.start(), NAT_TIMEOUT);
    let end = raw.until.and_then(|text| services::date(&until, &text, now, check));
    let why = raw.reason?;
    if why.trim().is_empty() || why.chars().count() > REASON_MAX {
        check.fail(&reason, format_args!("allowed are 1 to {REASON_MAX} characters"));
    }
    Some(Pin { cohort: cohort?, nat_timeout, until: end, reason: why.into() })
}

fn pinned(key: &str, labels: BTreeMap<String, String>, by: &[Arc<str>], check: &mut Check<'_>) -> Labels {
    if labels.is_empty() {
        check.fail(key, "needs at least one label; all cohorts at once cannot be pinned");
    }
    for label in labels.keys().filter(|label| !by.iter().any(|known| **known == ***label)) {
        let known: Vec<&str> = by.iter().map(AsRef::as_ref).collect();
        check.fail(&format!("{key}.{label}"), format_args!("no label of `cohort_by` ({})", known.join(", ")));
    }
    labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect()
}
