//! Loading and attaching: what is said when it cannot be, and what stays behind.

use std::net::{Ipv4Addr, SocketAddrV4};

use caps::{CapSet, Capability, CapsHashSet};
use flyball::monitor::attach::Via;
use flyball::monitor::capability::Capabilities;
use flyball::monitor::error::AttachError;
use flyball::monitor::live::{AttachOptions, Monitor};
use flyball::monitor::mirror::record_kind;
use flyball::monitor::settings::Settings;
use libtest_mimic::Trial;

use crate::bed::{Bed, PORT, WATCHED, options, settings, tc};
use crate::left_behind::Killed;
use crate::packet::{SERVER, heartbeat, udp};
use crate::seen::while_running;
use crate::trial;

const NEEDED: [Capability; 2] = [Capability::CAP_BPF, Capability::CAP_NET_ADMIN];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_device_is_watched_both_ways", |bed| watches_a_device(bed, Via::Best)),
        trial("without_a_capability_it_says_which", says_which_capability),
        trial("a_missing_interface_is_named_with_those_there", names_interfaces),
        trial("a_port_is_watched_once_on_an_interface", watched_once),
        trial("a_fleet_beyond_memory_is_refused_as_that", beyond_memory),
        trial("two_capabilities_are_enough_and_the_rest_is_named", two_are_enough),
        trial("every_other_capability_is_dropped_for_good", drops_the_others),
        trial("clsact_watches_as_tcx_does_and_leaves_nothing", clsact_leaves_nothing),
        trial("a_qdisc_that_others_use_stays", others_keep_the_qdisc),
        trial("what_a_killed_run_left_is_swept", leftovers_are_swept),
        trial("what_a_living_run_attached_is_not_swept", the_living_are_left_alone),
    ]
}

fn source(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), port)
}

fn refusal(settings: &Settings) -> AttachError {
    Monitor::open(settings, &options(Via::Best)).err().expect("it cannot be")
}

/// A new device, an answer to it, its rebinding.
fn watches_a_device(bed: &Bed, via: Via) {
    let monitor = Monitor::open(&settings(), &options(via)).expect("attached");
    assert_eq!(monitor.notes(), &[] as &[String]);
    while_running(monitor, async |mut seen| {
        bed.arrive(&heartbeat(1, 1, source(40_000), PORT));
        seen.until("the device", |seen| seen.records.len() == 1).await;
        bed.leave(&udp(SocketAddrV4::new(SERVER, PORT), source(40_000), &[0; 40]));
        bed.arrive(&heartbeat(1, 2, source(40_000), PORT));
        bed.arrive(&heartbeat(1, 3, source(40_001), PORT));
        seen.until("its rebinding", |seen| seen.records.len() == 2).await;
        assert_eq!(seen.kinds(), [record_kind::NEW, record_kind::REBINDING]);
        let seen = seen.finish().await;
        let counts = seen.counts[&0];
        assert_eq!((counts.from, counts.to, counts.new_devices, counts.rebindings), (3, 1, 1, 1));
        assert_eq!(seen.census.map(|census| (census.devices, census.evicted)), Some((1, 0)));
        assert_eq!(seen.troubles.map(|troubles| troubles.lost_records), Some(0));
    });
}

fn says_which_capability(_: &Bed) {
    for capability in NEEDED {
        caps::drop(None, CapSet::Effective, capability).expect("dropped");
        let error = refusal(&settings());
        assert!(matches!(error, AttachError::Capability(missing) if missing == capability), "{error}");
        assert!(error.to_string().starts_with(&format!("needs {capability}: run as root")), "{error}");
        caps::raise(None, CapSet::Effective, capability).expect("still permitted");
    }
}

fn names_interfaces(_: &Bed) {
    let error = refusal(&Settings { interfaces: vec!["eth7".to_owned()], ..settings() });
    assert_eq!(error.to_string(), "interface `eth7` does not exist here; there are: lo, fleet, watched");
}

fn watched_once(_: &Bed) {
    let first = Monitor::open(&settings(), &options(Via::Best)).expect("attached");
    let error = refusal(&Settings { ports: vec![1, PORT], ..settings() });
    let said = format!("port already watched: port {PORT} on `{WATCHED}` by process {}", std::process::id());
    assert!(error.to_string().starts_with(&said), "{error}");
    let other = Monitor::open(&Settings { ports: vec![1], ..settings() }, &options(Via::Best));
    drop(other.expect("another port is free, also after it was refused together with this one"));
    drop(first);
    Monitor::open(&settings(), &options(Via::Best)).expect("the port is free again");
}

fn beyond_memory(_: &Bed) {
    let error = refusal(&Settings { devices: u32::MAX, ..settings() });
    assert!(matches!(&error, AttachError::NoMemory { map, .. } if map == "devices" || map == "tuples"), "{error}");
}

fn two_are_enough(bed: &Bed) {
    let needed = CapsHashSet::from(NEEDED);
    caps::set(None, CapSet::Effective, &needed).expect("dropped");
    caps::set(None, CapSet::Permitted, &needed).expect("dropped");
    // The verifier is stricter now, and each key is a program of its own to it.
    for key in ["offset:0,len:16", "quic:8,prefix:4", "quic:20", "dtls12:8", "dtls13:20"] {
        let settings = Settings { key: key.parse().expect("a key"), ..settings() };
        Monitor::open(&settings, &AttachOptions::default()).expect("attached");
    }
    let monitor = Monitor::open(&settings(), &AttachOptions::default()).expect("attached");
    let notes = monitor.notes();
    let [slower, tcp] = notes else { panic!("{notes:?}") };
    assert!(slower.contains("CAP_PERFMON"), "{slower}");
    assert_eq!(tcp, "TCP connections that were there before are not watched: needs CAP_PERFMON");
    while_running(monitor, async |mut seen| {
        bed.arrive(&heartbeat(1, 1, source(40_000), PORT));
        seen.until("the device", |seen| seen.records.len() == 1).await;
        assert_eq!(seen.finish().await.census.map(|census| census.devices), Some(1));
    });
}

fn drops_the_others(bed: &Bed) {
    let kept = Capability::CAP_NET_BIND_SERVICE;
    let options = AttachOptions { via: Via::Best, capabilities: Capabilities::Only(vec![kept]) };
    let monitor = Monitor::open(&settings(), &options).expect("attached");
    let wanted = CapsHashSet::from([Capability::CAP_BPF, Capability::CAP_NET_ADMIN, kept]);
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Bounding] {
        assert_eq!(caps::read(None, set).expect("read"), wanted, "{set:?}");
    }
    for set in [CapSet::Inheritable, CapSet::Ambient] {
        assert_eq!(caps::read(None, set).expect("read"), CapsHashSet::new(), "{set:?}");
    }
    while_running(monitor, async |mut seen| {
        bed.unplug();
        bed.plug_in();
        let mut sequence = 0;
        while seen.records.is_empty() {
            sequence += 1;
            bed.arrive(&heartbeat(1, sequence, source(40_000), PORT));
            seen.for_a_moment().await;
        }
    });
}

fn clsact_leaves_nothing(bed: &Bed) {
    watches_a_device(bed, Via::Clsact);
    assert!(!tc("qdisc", &[]).contains("clsact"), "{}", tc("qdisc", &[]));
}

fn others_keep_the_qdisc(_: &Bed) {
    let ours = Monitor::open(&settings(), &options(Via::Clsact)).expect("attached");
    let other = Settings { ports: vec![PORT + 1], ..settings() };
    let other = Monitor::open(&other, &options(Via::Clsact)).expect("attached");
    assert_eq!(filters(), 4);
    drop(ours);
    assert_eq!(filters(), 2, "the other's");
    drop(other);
    assert_eq!(filters(), 0);
}

fn leftovers_are_swept(bed: &Bed) {
    Killed::start(PORT).kill();
    assert_eq!(filters(), 2, "nobody cleans up behind a killed process");
    watches_a_device(bed, Via::Best);
    assert_eq!(filters(), 0, "also a run that needs no clsact itself cleans up");
    Killed::start(PORT + 1).kill();
    watches_a_device(bed, Via::Clsact);
    assert_eq!(filters(), 0, "of another port too");
    assert!(!tc("qdisc", &[]).contains("clsact"), "the killed run had made it");
}

fn the_living_are_left_alone(_: &Bed) {
    let other = Killed::start(PORT + 1);
    let ours = Monitor::open(&settings(), &options(Via::Clsact)).expect("attached");
    assert_eq!(filters(), 4);
    drop(ours);
    assert_eq!(filters(), 2);
    other.kill();
}

/// How many of ours hang at the watched end.
fn filters() -> usize {
    let count = |side| tc("filter", &[side]).lines().filter(|line| line.contains("flyball_")).count();
    count("ingress") + count("egress")
}
