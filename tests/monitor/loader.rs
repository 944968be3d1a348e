//! Loading, attaching, and what is said when it cannot be.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::ExitCode;

use flyball::monitor::attach::Via;
use flyball::monitor::live::Monitor;
use flyball::monitor::mirror::record_kind;
use libtest_mimic::Trial;

use crate::bed::{Bed, PORT, options, settings};
use crate::packet::heartbeat;
use crate::seen::while_running;
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("packets_of_a_device_become_frames", packets_become_frames)]
}

/// This binary as a monitor that waits to be killed.
pub(crate) fn child() -> Option<ExitCode> {
    None
}

fn source(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), port)
}

fn packets_become_frames(bed: &Bed) {
    watches_a_device(bed, Via::Best);
}

/// A new device, its rebinding, and all that is counted.
fn watches_a_device(bed: &Bed, via: Via) {
    let monitor = Monitor::open(&settings(), &options(via)).expect("attached");
    assert_eq!(monitor.notes(), &[] as &[String]);
    while_running(monitor, async |mut seen| {
        bed.arrive(&heartbeat(1, 1, source(40_000), PORT));
        bed.arrive(&heartbeat(1, 2, source(40_000), PORT));
        bed.arrive(&heartbeat(1, 3, source(40_001), PORT));
        seen.until("two records", |seen| seen.records.len() == 2).await;
        assert_eq!(seen.kinds(), [record_kind::NEW, record_kind::REBINDING]);
        let seen = seen.finish().await;
        assert_eq!((seen.from(), seen.census.as_ref().map(|census| census.devices)), (3, Some(1)));
    });
}
