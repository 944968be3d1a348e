//! What a running monitor keeps up with: interfaces, prefixes, and more devices than it has room for.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use flyball::monitor::attach::Via;
use flyball::monitor::live::Monitor;
use flyball::monitor::mirror::{DeviceKey, RECORD_BLIND, Record, record_kind};
use flyball::monitor::prefixes::{Prefix, Prefixes};
use flyball::monitor::settings::Settings;
use flyball::monitor::steering::SteerError;
use libtest_mimic::Trial;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

use crate::bed::{Bed, PORT, WATCHED, ip, options, settings};
use crate::packet::{device_id, heartbeat};
use crate::seen::{Seen, while_running};
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("an_interface_that_comes_back_is_watched_again_and_the_gap_is_unknown", comes_back),
        trial("a_gap_over_a_link_that_was_down_is_unknown", down_and_up),
        trial("eviction_is_counted_and_is_no_gap", eviction),
        trial("a_device_follows_the_prefixes_and_its_own_assignment", cohorts),
        trial("1500_records_a_second_take_under_5_percent_of_a_core", few_cycles),
        trial("a_slow_reader_loses_nothing_that_the_ring_holds", slow_reader),
    ]
}

fn open(settings: &Settings) -> Monitor {
    Monitor::open(settings, &options(Via::Best)).expect("attached")
}

fn source(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), port)
}

/// Sends a device's heartbeats from `port` until one more record came.
async fn until_recorded(bed: &Bed, seen: &mut Seen, sequence: &mut u32, port: u16) {
    let before = seen.records.len();
    while seen.records.len() == before {
        *sequence += 1;
        bed.arrive(&heartbeat(1, *sequence, source(port), PORT));
        seen.for_a_moment().await;
    }
}

fn comes_back(bed: &Bed) {
    let quiet = Settings { gap: Duration::from_secs(3_600), ..settings() };
    while_running(open(&quiet), async |mut seen| {
        let mut sequence = 0;
        until_recorded(bed, &mut seen, &mut sequence, 40_000).await;
        bed.unplug();
        bed.plug_in();
        // Another address each time, so that each is told.
        let mut port = 40_000;
        while !seen.records.last().is_some_and(|last| is_known(last) && last.kind == record_kind::REBINDING) {
            port += 1;
            until_recorded(bed, &mut seen, &mut sequence, port).await;
        }
        let [first, back] = seen.records[..2] else { panic!("{:?}", seen.records) };
        assert_ne!(first.interface, back.interface, "it came back as another one");
        assert_eq!((back.kind, is_known(&back)), (record_kind::REBINDING, false), "nobody watched in between");
    });
}

/// Whether the gap before it is known.
fn is_known(record: &Record) -> bool {
    record.flags & RECORD_BLIND == 0
}

fn down_and_up(bed: &Bed) {
    let quiet = Settings { gap: Duration::from_secs(3_600), ..settings() };
    while_running(open(&quiet), async |mut seen| {
        let mut sequence = 0;
        until_recorded(bed, &mut seen, &mut sequence, 40_000).await;
        ip(&["link", "set", WATCHED, "down"]);
        // Longer than from one look to the next: a shorter interruption is nobody's.
        tokio::time::sleep(Duration::from_millis(600)).await;
        ip(&["link", "set", WATCHED, "up"]);
        until_recorded(bed, &mut seen, &mut sequence, 40_001).await;
        assert_eq!(seen.records.last().map(is_known), Some(false));
    });
}

fn eviction(bed: &Bed) {
    const FLEET: u32 = 600;
    let small = Settings { devices: 100, gap: Duration::from_millis(1), ..settings() };
    while_running(open(&small), async |mut seen| {
        for sequence in 1..=2 {
            for device in 0..FLEET {
                bed.arrive(&heartbeat(device, sequence, source(40_000), PORT));
            }
        }
        seen.until("all packets", |seen| seen.from() == u64::from(2 * FLEET)).await;
        let seen = seen.finish().await;
        let (counts, census) = (seen.counts[&0], seen.census.as_ref().expect("taken at the end"));
        assert!(census.devices <= census.capacity && census.capacity == 100, "{census:?}");
        assert!(counts.new_devices > u64::from(FLEET), "most came back as new: {}", counts.new_devices);
        assert_eq!(census.evicted, counts.new_devices - u64::from(census.devices));
        assert_eq!(counts.gaps.iter().sum::<u64>(), counts.from - counts.new_devices, "a gap is of a known device");
        let told = |kind| seen.records.iter().filter(|record| record.kind == kind).count() as u64;
        assert_eq!(told(record_kind::NEW), counts.new_devices);
        assert!(told(record_kind::GAP) <= counts.from - counts.new_devices);
    });
}

/// One prefix, which is the second cohort's.
fn of_the_second() -> Prefixes {
    let address = Ipv4Addr::new(198, 51, 100, 0).to_ipv6_mapped().octets();
    let names = vec!["carrier=unknown,region=unknown".into(), "carrier=a,region=eu".into()];
    Prefixes { names, rows: vec![Prefix { address, bits: 120, cohort: 1 }] }
}

fn cohorts(bed: &Bed) {
    let settings = Settings { prefixes: of_the_second(), ..settings() };
    while_running(open(&settings), async |mut seen| {
        let mut sequence = 0;
        until_recorded(bed, &mut seen, &mut sequence, 40_000).await;
        seen.steering.set_prefixes(&Prefixes::default()).expect("told");
        until_recorded(bed, &mut seen, &mut sequence, 40_001).await;
        seen.steering.assign(&[(DeviceKey { id: device_id(1) }, 1)]).expect("told");
        until_recorded(bed, &mut seen, &mut sequence, 40_002).await;
        // The record is of the binding before, and the cohort is of the new address.
        assert_eq!(seen.records.iter().map(|record| record.cohort).collect::<Vec<_>>(), [1, 0, 1]);
        seen.steering.request_census();
        seen.until("a census", |seen| seen.census.is_some()).await;
        assert_eq!(seen.census.as_ref().map(|census| &census.by_cohort[..]), Some(&[0, 1][..]));
        let error = seen.steering.assign(&[(DeviceKey { id: device_id(1) }, 2)]).expect_err("no such cohort");
        assert!(matches!(error, SteerError::Unknown { cohort: 2, known: 2 }), "{error}");
    });
}

fn slow_reader(bed: &Bed) {
    const FLEET: u32 = 5_000;
    while_running(open(&Settings { devices: 2 * FLEET, ..settings() }), async |mut seen| {
        for device in 0..FLEET {
            bed.arrive(&heartbeat(device, 1, source(40_000), PORT));
        }
        // The queue to the test is much shorter.
        seen.until("every record", |seen| seen.records.len() == FLEET as usize).await;
        assert_eq!(seen.finish().await.troubles.map(|troubles| troubles.lost_records), Some(0));
    });
}

fn few_cycles(bed: &Bed) {
    const SECONDS: u32 = 4;
    const BURST: u32 = 15;
    const BURSTS: u32 = SECONDS * 100;
    let settings = Settings { devices: 2 * BURST * BURSTS, ..settings() };
    let monitor = open(&settings);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let started = Instant::now();
            for burst in 0..BURSTS {
                let due = started + burst * Duration::from_millis(10);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                for device in burst * BURST..(burst + 1) * BURST {
                    bed.arrive(&heartbeat(device, 1, source(40_000), PORT));
                }
            }
        });
        while_running(monitor, async |mut seen| {
            let (started, before) = (Instant::now(), cpu_time());
            seen.until("every record", |seen| seen.records.len() == (BURST * BURSTS) as usize).await;
            let share = (cpu_time() - before).as_secs_f64() / started.elapsed().as_secs_f64();
            assert!(share < 0.05, "{:.1} % of a core", share * 100.0);
            println!(
                "{:.2} % of a core for {:.0}/s",
                share * 100.0,
                f64::from(BURST * BURSTS) / started.elapsed().as_secs_f64()
            );
        });
    });
}

/// Of this thread, in the kernel too.
fn cpu_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("asked");
    let times = [usage.user_time(), usage.system_time()];
    times.iter().map(|time| Duration::from_micros(u64::try_from(time.num_microseconds()).expect("positive"))).sum()
}
