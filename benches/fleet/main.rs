//! What does an authenticated heartbeat cost beside the least that a datagram and its answer can cost?
//!
//! A worker of the server (registry, replay window, MAC, ack) is measured against a bare echo: `recvmmsg`, 40 bytes back to
//! where 80 came from, `sendmmsg`, batches of the same 64. Both get the same prepared heartbeats of 100,000 devices in
//! random order from one flooding thread, in turns in one run. What is compared is heartbeats a second *of processor time*
//! of the one thread that answers: so the flood's share of the machine, and whatever else runs, count for neither.
//!
//! Budget: ours / bare >= 0.75 (median of the rounds); 300 bytes of memory a device at a million of them; what is refused
//! costs less than what is taken.
//!
//! Run: `cargo bench --bench fleet` (about a minute), or with one of `rate`, `second`, `memory`, `refused` behind `--`.

mod bare;
mod fleet;
mod flood;
mod running;
mod thread;

use std::time::Duration;

use self::fleet::Fleet;
use self::flood::Flood;
use self::running::Running;
use self::thread::Processor;

/// Turns of each.
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(1_200);
const DEVICES: usize = 100_000;
const MILLION: usize = 1_000_000;
const RATIO_MIN: f64 = 0.75;
const BYTES_MAX: f64 = 300e6;

fn main() {
    if is_wanted("rate") {
        rate();
    }
    if is_wanted("second") {
        second();
    }
    if is_wanted("refused") {
        refused();
    }
    if is_wanted("memory") {
        memory();
    }
}

/// Named on the command line, or nothing is.
fn is_wanted(name: &str) -> bool {
    let mut names = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    names.peek().is_none() || names.any(|wanted| wanted == name)
}

fn verdict(is_within: bool) -> &'static str {
    if is_within { "" } else { "  over budget" }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn rate() {
    let (server, bare) = (Running::server(DEVICES, None), bare::start());
    let flood = Flood::new();
    let mut fleet = Fleet::registered(DEVICES, server.address(), &flood.socket);
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    println!(
        "{:>6} {:>12} {:>12} {:>7}   of one core's time; {DEVICES} devices in random order",
        "round", "ours/s", "bare/s", "ratio"
    );
    for round in 0..ROUNDS {
        let mut turn = |target: &Running| {
            let beats = fleet.beats();
            let (before, processor) = (target.handled(), Processor::of(target.thread()));
            flood.run(&beats, target.address(), ROUND);
            (target.handled() - before) as f64 / processor.spent().as_secs_f64()
        };
        let (a, b) = (turn(&server), turn(&bare));
        println!("{:>6} {a:>12.0} {b:>12.0} {:>7.3}", round + 1, a / b);
        ours.push(a);
        theirs.push(b);
        ratios.push(a / b);
    }
    ratios.sort_by(f64::total_cmp);
    let (least, most, ratio) = (ratios[0], ratios[ROUNDS - 1], ratios[ROUNDS / 2]);
    println!(
        "{:>6} {:>12.0} {:>12.0} {ratio:>7.3}   ({least:.3} to {most:.3}; budget {RATIO_MIN}){}",
        "median",
        median(ours),
        median(theirs),
        verdict(ratio >= RATIO_MIN)
    );
}

/// Each heartbeat acked twice: what the second one adds.
fn second() {
    let server = Running::server(DEVICES, Some(Duration::ZERO));
    let mut flood = Flood::new();
    let mut fleet = Fleet::registered(DEVICES, server.address(), &flood.socket);
    // Paced, so that what waits for its second ack fits.
    flood.per_second = Some(40_000);
    let (beats, before, processor) = (fleet.beats(), server.handled(), Processor::of(server.thread()));
    flood.run(&beats, server.address(), Duration::from_secs(5));
    std::thread::sleep(Duration::from_millis(2_300));
    let (handled, spent) = ((server.handled() - before) as f64, processor.spent());
    println!(
        "\neach heartbeat acked twice: {:.0}/s of one core's time, {} second acks for {handled:.0} heartbeats",
        handled / spent.as_secs_f64(),
        server.second_acks()
    );
}

/// Nanoseconds of processor time a datagram, the system's part of it included.
fn refused() {
    let server = Running::server(DEVICES, None);
    let flood = Flood::new();
    let mut fleet = Fleet::registered(DEVICES, server.address(), &flood.socket);
    println!("\n{:<44} {:>9}", "ns of processor time a datagram", "measured");
    for (name, datagrams) in fleet.kinds() {
        let (before, processor) = (server.received(), Processor::of(server.thread()));
        flood.run(&datagrams, server.address(), ROUND);
        let received = (server.received() - before).max(1) as f64;
        println!("{name:<44} {:>9.0}", processor.spent().as_nanos() as f64 / received);
    }
}

fn memory() {
    let before = thread::resident_bytes();
    let server = Running::server(MILLION, None);
    let flood = Flood::new();
    fleet::register(MILLION, server.address(), &flood.socket);
    let used = (thread::resident_bytes() - before) as f64;
    let devices = server.devices();
    println!(
        "\n{devices} devices registered: {:.0} MB of memory, {:.0} bytes each{}",
        used / 1e6,
        used / devices as f64,
        verdict(used <= BYTES_MAX && devices == MILLION)
    );
}
