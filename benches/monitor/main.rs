//! What does the monitor cost the kernel, a packet?
//!
//! One packet again and again goes by `BPF_PROG_TEST_RUN`, which repeats it inside the kernel; a million devices go over a
//! veth pair, timed by the kernel's own statistics of each program (`kernel.bpf_stats_enabled`, switched on while this
//! runs). Everything is above an empty program measured in the same run, at the same place.
//!
//! Budget: 100 ns a heartbeat of one device, 350 ns over a million in random order, 15 ns for a packet of another port;
//! 136 bytes a device in the map of devices (64 of them the kernel's own), a key of 16. At 150,000 heartbeats/s of
//! which 1 % are eventful: no record lost, and 5 % of a core in user space.
//!
//! Run as root: `cargo bench --bench monitor` (about 40 s), or with one of `hot`, `many`, `flood` behind `--`.

mod flood;
mod live;
mod packets;
mod programs;

use std::mem::size_of;

use aya::sys::{Stats, enable_stats};
use flyball::monitor::mirror::{Device, DeviceKey};

use self::live::Road;
use self::packets::{PORT, frame, heartbeat};
use self::programs::{EMPTY, FROM, Programs, TO};

const ROUNDS: usize = 5;
const DEVICES: u64 = 1_000_000;
/// Beats of the million that are timed.
const BEATS: u64 = 2_000_000;
/// The kernel's part of an entry of an LRU map: its node (48) and its bucket (16).
const ENTRY_BYTES: usize = 64;

fn main() {
    println!("{:<44} {:>9} {:>9}", "ns above an empty program, median", "measured", "budget");
    if is_wanted("hot") {
        hot();
    }
    if is_wanted("many") {
        many();
    }
    if is_wanted("flood") {
        flood::flood();
    }
    let bytes = ENTRY_BYTES + size_of::<DeviceKey>() + size_of::<Device>();
    row("bytes a device", bytes as f64, 136.0);
}

/// Named on the command line, or nothing is.
fn is_wanted(name: &str) -> bool {
    let mut names = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    names.peek().is_none() || names.any(|wanted| wanted == name)
}

fn row(what: &str, measured: f64, budget: f64) {
    println!("{what:<44} {measured:>9.0} {budget:>9.0}{}", if measured > budget { "  over" } else { "" });
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One packet, repeated in the kernel.
fn hot() {
    let mut programs = Programs::load(1_500_000);
    let (ours, other) = (frame(PORT, &heartbeat(1, 1)), frame(PORT + 1, &heartbeat(1, 1)));
    let mut above = |name: &str, frame: &[u8]| {
        let rounds = (0..ROUNDS).map(|_| programs.time(name, frame) - programs.time(EMPTY, frame));
        median(rounds.collect())
    };
    row("a heartbeat of one device", above(FROM, &ours), 100.0);
    row("a packet of another port, in", above(FROM, &other), 15.0);
    row("a packet of another port, out", above(TO, &other), 15.0);
}

/// Over a veth pair: one device whose sequence rises, then a million in random order.
fn many() {
    let _statistics = enable_stats(Stats::RunTime).expect("the kernel's statistics of programs");
    let (road, mut programs) = (Road::build(), Programs::load(1_500_000));
    road.attach(&mut programs, &[EMPTY, FROM]);
    let one = timed(&mut programs, || road.send(&mut (1..=BEATS as u32).map(|n| (0, n)), None));
    // No budget: what the rest of the kernel, run between two packets, adds to the same work.
    println!("{:<44} {one:>9.0}", "a heartbeat of one device, over a veth");
    road.send(&mut (1..=DEVICES).map(|device| (device, 1)), None);
    let random = |n: u64| (1 + n.wrapping_mul(2_654_435_761) % DEVICES, 2 + (n / DEVICES) as u32);
    let each = timed(&mut programs, || road.send(&mut (0..BEATS).map(random), None));
    row("a heartbeat of a million devices, over a veth", each, 350.0);
}

/// Mean time a packet of `FROM` above `EMPTY` while `load` runs.
fn timed(programs: &mut Programs, load: impl FnOnce()) -> f64 {
    let before = [EMPTY, FROM].map(|name| programs.run(name));
    load();
    let after = [EMPTY, FROM].map(|name| programs.run(name));
    let [empty, from] = [0, 1].map(|i| {
        let (time, packets) = (after[i].0 - before[i].0, after[i].1 - before[i].1);
        time.as_nanos() as f64 / packets.max(1) as f64
    });
    from - empty
}
