//! A cohort for tests of whatever shows one, inside the library and outside.

use std::time::Duration;

use flyball::keepalive::cohort::{CohortKey, Transport};
use flyball::keepalive::observation::BindingClass;
use flyball::keepalive::report::{CohortReport, Evidence, LifetimeReport, Reason, Verdict};
use flyball::time::WallTime;
use flyball_sdk::device::jitter::Pace;

/// Devices behind NATs of 112 s, learnt.
pub(crate) fn cohort(name: &str, transport: Transport) -> CohortReport {
    let seconds = Duration::from_secs;
    let lifetime = |class, middle: u64| LifetimeReport {
        class,
        quantiles: [middle - 1, middle, middle + 1].map(seconds),
        lower_bound: seconds(middle - 1),
        upper_bound: seconds(middle + 1),
        confidence: 0.999,
    };
    CohortReport {
        key: CohortKey { name: name.into(), transport },
        fleet: Some("gateways".into()),
        lifetimes: [lifetime(BindingClass::Stream, 112), lifetime(BindingClass::Unreplied, 30)],
        pace: Pace { generation: 9, interval: seconds(83), jitter: 64, retry: 150, is_hostile: false },
        devices: 40,
        devices_own: 2,
        loss_ratio: 0.01,
        evidence: Evidence { survived: 60, expired: 12, lost: 3 },
        pinned: None,
        verdict: Verdict::Learnt,
        reason: Reason::LowerBound,
        rollout: None,
        tests_to_be_surer: 4,
        decided_at: WallTime::from_unix_ms(1_795_000_000_000),
    }
}
