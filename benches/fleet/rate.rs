//! What does an authenticated heartbeat cost beside the least that a datagram and its answer can cost?
//!
//! A worker of the server (registry, replay window, MAC, ack) is measured against a bare echo: `recvmmsg`, 40 bytes back to
//! where 80 came from, `sendmmsg`, batches of the same 64. Both get the same prepared heartbeats of 100,000 devices in
//! random order from one flooding thread, in turns in one run. What is compared is heartbeats a second *of processor time*
//! of the one thread that answers: so the flood's share of the machine, and whatever else runs, count for neither.

use std::time::Duration;

use crate::fleet::Fleet;
use crate::flood::Flood;
use crate::running::Running;
use crate::thread::Processor;
use crate::{bare, median, verdict};

/// Turns of each.
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(1_200);
const DEVICES: usize = 100_000;
const RATIO_MIN: f64 = 0.75;

pub(crate) fn row() -> bool {
    let (server, bare) = (Running::server(DEVICES), bare::start());
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
    let is_within = ratio >= RATIO_MIN;
    println!(
        "{:>6} {:>12.0} {:>12.0} {ratio:>7.3}   ({least:.3} to {most:.3}; budget {RATIO_MIN}){}",
        "median",
        median(ours),
        median(theirs),
        verdict(is_within)
    );
    is_within
}
