//! Frames as a kernel would make them, for the tests of this room and the captures that they ship.

use std::net::Ipv4Addr;
use std::time::Duration;

use bytemuck::Zeroable;

use super::frame::{Census, Frame};
use super::histogram::bucket_of;
use super::mirror::{
    BINDING_REPLIED, BINDING_STREAM, CohortCounts, RECORD_BLIND, RECORD_REBOOTED, Record, Troubles, record_kind,
};

/// A duration of so many seconds.
pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::from_millis((seconds * 1000.0) as u64)
}

/// One device of cohort `cohort` comes back after `silence` seconds from another port.
pub(crate) fn rebinding(cohort: u16, silence: f64) -> Record {
    let silence = seconds(silence).as_nanos() as u64;
    Record {
        at: 200_000_000_000 + silence,
        gap: silence,
        silence,
        device: std::array::from_fn(|i| 0x11 * i as u8),
        from: Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().octets(),
        to: Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().octets(),
        from_port: 4000,
        to_port: 4711,
        cohort,
        kind: record_kind::REBINDING,
        flags: BINDING_REPLIED,
        missed: 0,
        interface: 2,
    }
}

/// Counts of a cohort whose devices were silent for so long.
pub(crate) fn counts(cohort: u16, gaps: &[f64]) -> Frame {
    let mut counts = Box::new(CohortCounts::zeroed());
    for gap in gaps {
        let ns = seconds(*gap).as_nanos() as u64;
        counts.gaps[bucket_of(ns)] += 1;
        counts.gap_sum += ns;
    }
    counts.from = gaps.len() as u64 + 1;
    counts.to = gaps.len() as u64;
    counts.new_devices = 1;
    Frame::Counts { cohort, counts }
}

fn with(frame: Frame, more: impl FnOnce(&mut CohortCounts)) -> Frame {
    let Frame::Counts { cohort, mut counts } = frame else { return frame };
    more(&mut counts);
    Frame::Counts { cohort, counts }
}

/// The monitor's own troubles: none but packets to strangers.
pub(crate) fn troubles(unknown_egress: u64) -> Frame {
    Frame::Troubles(Troubles { unknown_egress, ..Troubles::zeroed() })
}

/// A device map of 1,500 with so many devices by cohort.
pub(crate) fn census(by_cohort: &[u32]) -> Frame {
    let devices = by_cohort.iter().sum();
    Frame::Census(Census { capacity: 1_500, devices, evicted: 0, by_cohort: by_cohort.to_vec() })
}

/// Captures by name: each a small story.
pub(crate) fn stories() -> [(&'static str, Vec<Frame>); 2] {
    [("rebinding.capture", one_lost_binding()), ("kinds.capture", every_kind())]
}

/// A device behind a NAT that forgets after some 40 s, and its neighbour that does not notice.
fn one_lost_binding() -> Vec<Frame> {
    let lost = rebinding(1, 45.1);
    let new = |second: u64, device: u8| Record {
        at: second * 1_000_000_000,
        kind: record_kind::NEW,
        gap: 0,
        silence: 0,
        flags: 0,
        device: [device; 16],
        to_port: 4000,
        ..lost
    };
    vec![
        Frame::Record(Record { device: lost.device, ..new(200, 0) }),
        Frame::Record(new(203, 0x22)),
        counts(1, &[]),
        troubles(0),
        census(&[0, 2]),
        Frame::Record(lost),
        with(counts(1, &[15.0, 15.0, 15.0, 45.1]), |counts| (counts.rebindings, counts.new_devices) = (1, 2)),
        troubles(1),
        census(&[0, 2]),
    ]
}

/// Each kind of record once, over both families, and a monitor that has troubles of its own.
fn every_kind() -> Vec<Frame> {
    let v6 = |last: u16| std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).octets();
    let at = |second: u64, record: Record| Frame::Record(Record { at: second * 1_000_000_000, ..record });
    let base = rebinding(1, 45.1);
    let six = Record { from: v6(1), to: v6(1), from_port: 4433, to_port: 4433, cohort: 2, device: [0xab; 16], ..base };
    let stay = Record { to_port: base.from_port, ..base };
    vec![
        at(10, Record { kind: record_kind::NEW, flags: 0, gap: 0, silence: 0, ..stay }),
        at(11, Record { kind: record_kind::NEW, flags: 0, gap: 0, silence: 0, ..six }),
        at(70, Record { flags: 0, ..base }),
        at(80, Record { flags: RECORD_BLIND, ..base }),
        at(90, Record { flags: BINDING_REPLIED | BINDING_STREAM | RECORD_REBOOTED, ..base }),
        at(95, Record { kind: record_kind::MIGRATION, to: v6(2), ..six }),
        at(140, Record { kind: record_kind::GAP, flags: BINDING_REPLIED | BINDING_STREAM, ..stay }),
        at(170, Record { kind: record_kind::GAP, gap: base.silence * 2, missed: 1, ..stay }),
        at(171, Record { kind: record_kind::JUMP, gap: 15 << 30, silence: 15 << 30, missed: 3, ..stay }),
        at(172, Record { kind: record_kind::TCP_UNREACHABLE, flags: 0, device: [0; 16], gap: 1_400_000_000, ..six }),
        with(counts(0, &[]), |counts| (counts.connections, counts.unreachable) = (1, 0)),
        with(counts(1, &[15.0, 16.0, 45.1, 45.1, 45.1, 90.2]), |counts| (counts.rebindings, counts.missed) = (3, 4)),
        with(counts(2, &[20.0, 25.0, 45.1]), |counts| (counts.migrations, counts.unreachable) = (1, 1)),
        Frame::Troubles(Troubles { lost_records: 3, not_stored: 1, unknown_egress: 12, contended: 2 }),
        Frame::Census(Census { capacity: 1_500, devices: 3, evicted: 40, by_cohort: vec![1, 1, 1] }),
    ]
}
