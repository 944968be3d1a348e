//! The SDK's own device, over its own sockets.

use std::time::Duration;

use flyball::fleet::heartbeat::counters::Count;
use flyball::keepalive::observation::{BindingClass, ObservationKind};
use flyball::keepalive::order::{CohortOrder, DeviceCommand, DeviceOrder};
use flyball_sdk::device::endpoint::Endpoint;
use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::key::{MacKey, derive};
use flyball_sdk::device::machine::{Bounds, GAP_MIN, Machine, Memory, Settings};
use flyball_sdk::device::probe::{Cell, ProbeOrder, ProbeOutcome};
use flyball_sdk::device::udp::{UdpDevice, UdpFleet};
use libtest_mimic::Trial;

use crate::bed::{Bed, GENERATION, Plan, order, pace};
use crate::device::MASTER;
use crate::trial;

const LABELS: &str = "carrier=a,region=eu";

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("real::the_sdks_device_registers_says_its_labels_and_tests_what_it_is_asked", whole)]
}

fn device(bed: &Bed, id: DeviceId) -> UdpDevice {
    let bounds = Bounds::new(GAP_MIN, Duration::from_secs(60)).expect("sound");
    let initial = pace(0, 1_000);
    let settings = Settings { bounds, initial, ..Settings::new(id, 1) };
    let memory = Memory::for_next_boot(None, 1_795_000_000);
    let key = MacKey::new(&derive(&MASTER, 1, id));
    let machine = Machine::new(settings, memory, Duration::ZERO);
    UdpDevice::new(Endpoint::new(machine, key, &LABELS.parse().expect("labels")), bed.address.to_string())
}

fn whole() {
    let order = CohortOrder { pace: pace(GENERATION, 500), ..order() };
    let mut bed = Bed::with(Plan { workers: 2, order, ..Plan::default() });
    let id: DeviceId = "real".parse().expect("a name");
    let mut fleet = UdpFleet::new(vec![device(&bed, id)]).expect("a fleet");
    let handle = fleet.handle();
    let running = std::thread::spawn(move || fleet.run(|_, _| ()));
    bed.await_count(Count::Registered, 1);
    let cohorts = std::sync::Arc::clone(&bed.cohorts);
    bed.observed("its cohort", |seen| {
        let is_labelled = *cohorts.since(seen.cohort.0 as usize)[0].key.name == *LABELS;
        (is_labelled && matches!(seen.kind, ObservationKind::Present { .. })).then_some(())
    });
    let asked = ProbeOrder { first: Cell::at_most(Duration::from_millis(700)), flows: 2, step: 3 };
    let cohort = bed.cohort(&[("carrier", "a"), ("region", "eu")]);
    let order = DeviceOrder::Probe { order: asked, class: BindingClass::Stream };
    bed.command_all(vec![DeviceCommand { device: id, cohort, order, is_urgent: false }]);
    // Both may come in one batch.
    let mut probes = Vec::new();
    bed.observed("both results", |seen| {
        if let ObservationKind::Probe(probe) = seen.kind {
            probes.push(probe);
        }
        (probes.len() == 2).then_some(())
    });
    for probe in probes {
        assert_eq!((probe.device, probe.outcome, probe.is_port_kept), (id, ProbeOutcome::Survived, Some(true)));
    }
    assert_eq!((bed.count(Count::Report), bed.count(Count::Forged), bed.count(Count::Replayed)), (2, 0, 0));
    handle.stop();
    running.join().expect("it ended").expect("without an error");
}
