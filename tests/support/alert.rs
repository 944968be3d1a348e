//! An alarm for tests of whatever shows or tells one, inside the library and outside.

use std::time::Duration;

use flyball::alert::told::{Alert, Severity};
use flyball::keepalive::alarm::diagnosis::diagnose;
use flyball::keepalive::alarm::health::{DeviceHealth, Obedience, Reach};
use flyball::keepalive::cohort::{CohortKey, Transport};
use flyball::time::WallTime;
use flyball_sdk::device::id::DeviceId;

/// Two devices of a cohort in the north: one is silent, one ignores its orders.
pub(crate) fn alert(cohort: &str) -> Alert {
    let devices = vec![
        device(1, "SN-1", [900, 90], Reach::Silent, Obedience::AsTold),
        device(2, "SN-2", [10, 180], Reach::Answered, Obedience::Slower),
    ];
    let diagnosis = diagnose(None, &devices, 3, 1.5);
    Alert {
        id: format!("{cohort}-1").into(),
        key: CohortKey { name: cohort.into(), transport: Transport::Udp },
        labels: [("carrier".into(), "a".into()), ("region".into(), "north".into())].into(),
        fleet: Some("gateways".into()),
        group: "team-north".into(),
        severity: Severity::of(&diagnosis, &devices),
        opened_at: WallTime::from_unix_ms(1_795_000_000_000),
        resolved_at: None,
        end: None,
        p99_gap: 9.0,
        threshold: 1.5,
        diagnosis,
        devices,
        devices_more: 3,
        nat: None,
        scanned_at: WallTime::from_unix_ms(1_795_000_000_000),
    }
}

fn device(id: u8, serial: &str, [silent, gap]: [u64; 2], reach: Reach, pace: Obedience) -> DeviceHealth {
    DeviceHealth {
        device: DeviceId([id; 16]),
        serial: Some(serial.into()),
        firmware: Some("4.2".into()),
        silent_for: Duration::from_secs(silent),
        gap: Duration::from_secs(gap),
        intended: Duration::from_secs(100),
        rebindings: 1,
        reach,
        pace,
    }
}
