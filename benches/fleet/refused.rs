//! What does each kind of datagram cost, those that are refused above all?
//!
//! Each kind is sent alone, as fast as one thread can, and is counted by the server under one name: a row whose datagrams
//! were counted under another measured something else, and says so. Nanoseconds are of processor time of the thread that
//! answers, the system's part of them included; where the server keeps up, its batches are small and each costs more.
//!
//! Budget: what is refused costs less than what is taken.

use std::time::Duration;

use flyball::fleet::heartbeat::counters::{COUNTS, Count};
use flyball_sdk::device::probe::{Cell, ProbeOrder, ProbeOutcome, ProbePhase, ProbeReport};
use flyball_sdk::device::wire::{Request, kind};

use crate::fleet::{self, BEATS, Datagram, Fleet};
use crate::flood::Flood;
use crate::running::Running;
use crate::thread::Processor;
use crate::verdict;

const DEVICES: usize = 100_000;
const ROUND: Duration = Duration::from_millis(1_200);
/// Part of a row's datagrams that must have been counted as meant.
const PURE_MIN: f64 = 0.99;
/// A boot of the past; the devices are in their first.
const BOOT_BEFORE: u32 = 0;

/// What is sent, and what the server makes of it.
struct Kind {
    name: &'static str,
    count: Count,
    datagrams: Vec<Datagram>,
    is_elsewhere: bool,
}

pub(crate) fn row() -> bool {
    // Room for one more, so that new devices are asked.
    let server = Running::server(DEVICES + 1);
    let [flood, elsewhere] = [Flood::new(), Flood::new()];
    let mut fleet = Fleet::registered(DEVICES, server.address(), &flood.socket);
    println!("\n{:<56} {:>9} {:>9}", "ns of processor time a datagram", "measured", "counted");
    let measured = |kind: &Kind| measure(&server, if kind.is_elsewhere { &elsewhere } else { &flood }, kind);
    let taken = measured(&Kind::new("taken, and acked", Count::Accepted, fleet.beats()));
    print("taken, and acked", taken, taken.0);
    let [older, newest] = [0; 2].map(|_| fleet.taken(server.address(), &flood.socket));
    let mut is_within = true;
    for kind in kinds(&mut fleet, &older, &newest) {
        let most = if kind.count.is_refusal() { taken.0 } else { f64::INFINITY };
        is_within &= print(kind.name, measured(&kind), most);
    }
    is_within
}

/// Whether it is within its budget.
fn print(name: &str, (ns, pure): (f64, f64), ns_max: f64) -> bool {
    let is_within = ns <= ns_max && pure >= PURE_MIN;
    println!("{name:<56} {ns:>9.0} {:>7.1} %{}", 100.0 * pure, verdict(is_within));
    is_within
}

/// Nanoseconds a datagram, and the part of them that was counted as meant.
fn measure(server: &Running, flood: &Flood, kind: &Kind) -> (f64, f64) {
    let (meant, all, processor) = (server.counted(kind.count), received(server), Processor::of(server.thread()));
    flood.run(&kind.datagrams, server.address(), ROUND);
    let all = (received(server) - all).max(1) as f64;
    (processor.spent().as_nanos() as f64 / all, (server.counted(kind.count) - meant) as f64 / all)
}

/// Datagrams that came: each is counted under one of these.
fn received(server: &Running) -> u64 {
    let is_one = |count: &Count| {
        let answered = [Count::Accepted, Count::Duplicate, Count::Challenged, Count::AddressAsked];
        count.is_refusal() || answered.contains(count)
    };
    COUNTS.into_iter().filter(is_one).map(|count| server.counted(count)).sum()
}

impl Kind {
    fn new(name: &'static str, count: Count, datagrams: Vec<Datagram>) -> Self {
        Self { name, count, datagrams, is_elsewhere: false }
    }
}

/// All kinds; of the registered devices, the last two heartbeats are given.
fn kinds(fleet: &mut Fleet, older: &[Datagram], newest: &[Datagram]) -> Vec<Kind> {
    let new = fleet.beats();
    let changed = |change: fn(&mut Datagram)| {
        let mut datagrams = new.clone();
        datagrams.iter_mut().for_each(change);
        datagrams
    };
    let before = |cookie| move |heartbeat| Request { boot: BOOT_BEFORE, cookie, ..heartbeat };
    let copied = Kind::new("copied: the newest, from elsewhere", Count::Copied, newest.repeat(BEATS));
    vec![
        Kind::new("malformed", Count::Malformed, changed(|bytes| bytes[0] = 0)),
        Kind::new("of another version", Count::Version, changed(|bytes| bytes[2] = 9)),
        Kind::new("under an unknown key", Count::UnknownKey, changed(|bytes| bytes[7] = 9)),
        Kind::new("forged, of a known device", Count::Forged, changed(|bytes| bytes[79] ^= 1)),
        Kind::new("forged, of an unknown device", Count::Forged, changed(|bytes| bytes[8] ^= 0x55)),
        Kind::new("a test of an unknown device", Count::Unregistered, strangers(probe)),
        Kind::new("replayed: older than the newest", Count::Replayed, older.repeat(BEATS)),
        Kind { is_elsewhere: true, ..copied },
        Kind::new(
            "of a boot before, with a nonce that is not ours",
            Count::StaleNonce,
            fleet.requests(before([7; 16])),
        ),
        Kind::new("answered: the newest again, acked again", Count::Duplicate, newest.repeat(BEATS)),
        Kind::new("answered: of a boot before, challenged", Count::Challenged, fleet.requests(before([0; 16]))),
        Kind::new("answered: a new device, asked whether it is there", Count::AddressAsked, strangers(|beat| beat)),
        // The last, because it is newer than the newest.
        Kind::new("about a test that was not ordered", Count::UnknownTest, fleet.requests(probe)),
    ]
}

/// Opens a side flow for an order that was not given.
fn probe(heartbeat: Request) -> Request {
    let order = ProbeOrder { first: Cell::new(1), flows: 1, step: 0 };
    let (phase, outcome) = (ProbePhase::Open, ProbeOutcome::Lost);
    let report = ProbeReport { order, flow: 0, phase, outcome, controls: 0, passed: 0 };
    Request { kind: kind::PROBE, report: report.to_bytes(), ..heartbeat }
}

/// Of devices that the server does not know.
fn strangers(change: fn(Request) -> Request) -> Vec<Datagram> {
    let one = |n: usize| {
        let sequence = 1 + (n / DEVICES) as u32;
        let n = DEVICES + n % DEVICES;
        change(Request::heartbeat(1, fleet::id(n), 1, sequence)).sealed(&fleet::key(n))
    };
    (0..BEATS * DEVICES).map(one).collect()
}
