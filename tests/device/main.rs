//! The command `flyball device` against the server itself, over the loopback.

mod bench;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::Duration;

use flyball::keepalive::observation::{BindingClass, ObservationKind};
use flyball::keepalive::order::DeviceOrder;
use flyball_sdk::device::machine::Memory;
use flyball_sdk::device::probe::{Cell, ProbeOrder, ProbeOutcome};
use libtest_mimic::{Arguments, Failed, Trial};

use self::bench::{Bench, INTERVAL, LIMIT};
use self::support::child::wait_for;

fn main() -> ExitCode {
    let trials = vec![
        trial("a_device_is_told_its_pace_keeps_it_and_ends_well", paced),
        trial("a_device_tests_what_it_is_ordered_and_the_loop_hears_of_it", probed),
        trial("a_device_that_lost_its_memory_is_believed_again", forgetful),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial(name: &str, test: fn(&mut Bench)) -> Trial {
    Trial::test(name, move || {
        test(&mut Bench::new());
        Ok::<(), Failed>(())
    })
}

fn paced(bench: &mut Bench) {
    let mut device = bench.device(&["--labels", "carrier=a"]);
    wait_for("acks", LIMIT, || (device.count("acked") >= 4).then_some(()));
    let pace = device.find("pace").expect("told");
    assert_eq!(pace["interval_s"], INTERVAL.as_secs_f64());
    assert_eq!(device.count("stream"), 1, "by the second ack");
    assert_eq!(device.stop(), Some(0));
    let memory = Memory::from_bytes(&std::fs::read(bench.state()).expect("kept")).expect("a memory");
    assert_eq!(memory.pace.map(|pace| pace.generation), pace["generation"].as_u64());
    let again = bench.device(&[]);
    wait_for("an ack", LIMIT, || (again.count("acked") >= 1).then_some(()));
    assert_eq!(again.count("pace"), 0, "it began with it");
}

fn probed(bench: &mut Bench) {
    let device = bench.device(&["--labels", "carrier=a"]);
    wait_for("acks", LIMIT, || (device.count("acked") >= 2).then_some(()));
    let order = ProbeOrder { first: Cell::new(60), flows: 3, step: 2 };
    bench.command(DeviceOrder::Probe { order, class: BindingClass::Stream });
    wait_for("three results", LIMIT, || (device.count("probed") == 3).then_some(()));
    let told: Vec<Duration> = wait_for("three observations", LIMIT, || {
        let probes = bench.observed().into_iter().filter_map(|observation| match observation.kind {
            ObservationKind::Probe(probe) => Some(probe),
            _ => None,
        });
        let probes: Vec<_> = probes.collect();
        assert!(probes.iter().all(|probe| probe.outcome == ProbeOutcome::Survived && probe.is_port_kept == Some(true)));
        (probes.len() == 3).then(|| probes.iter().map(|probe| probe.silence).collect())
    });
    assert_eq!(told, order.cells().map(Cell::silence).collect::<Vec<_>>());
}

fn forgetful(bench: &mut Bench) {
    let boot = Memory { boot: u32::MAX - 1, pace: None };
    std::fs::write(bench.state(), boot.to_bytes()).expect("written");
    let mut device = bench.device(&[]);
    wait_for("an ack", LIMIT, || (device.count("acked") >= 1).then_some(()));
    assert_eq!(device.stop(), Some(0));
    std::fs::remove_file(bench.state()).expect("removed");
    let device = bench.device(&[]);
    wait_for("an ack", LIMIT, || (device.count("acked") >= 2).then_some(()));
}
