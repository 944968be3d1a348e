//! What does the second ack of a heartbeat add?
//!
//! The same heartbeats, at the same pace, to a server that acks each once and to one that acks each twice.

use std::time::Duration;

use crate::fleet::Fleet;
use crate::flood::Flood;
use crate::running::Running;
use crate::thread::Processor;
use crate::verdict;

const DEVICES: usize = 100_000;
/// So that those that wait for their second ack fit.
const PER_SECOND: u32 = 40_000;
const TIME: Duration = Duration::from_secs(5);
/// Until the second acks of what was sent are out.
const SECONDS_ARE_OUT: Duration = Duration::from_millis(2_500);
/// Part of the second acks that must have been sent.
const SENT_MIN: f64 = 0.999;

/// What one server did.
struct Cost {
    heartbeats: f64,
    second_acks: f64,
    nanoseconds: f64,
}

pub(crate) fn row() -> bool {
    let [once, twice] = [false, true].map(cost);
    let [one, two] = [&once, &twice].map(|cost| cost.nanoseconds / cost.heartbeats);
    let sent = twice.second_acks / twice.heartbeats;
    let is_within = sent >= SENT_MIN;
    println!("\nat {PER_SECOND} heartbeats/s, ns of processor time each: acked once {one:.0}, twice {two:.0}");
    println!(
        "a second ack adds {:.0} ns; {:.2} % of {:.0} were sent{}",
        two - one,
        100.0 * sent,
        twice.heartbeats,
        verdict(is_within)
    );
    is_within
}

fn cost(is_acked_twice: bool) -> Cost {
    let server = Running::server(DEVICES);
    let flood = Flood { per_second: Some(PER_SECOND), ..Flood::new() };
    let mut fleet = Fleet::registered(DEVICES, server.address(), &flood.socket);
    if is_acked_twice {
        server.ack_twice();
    }
    let beats = fleet.beats();
    let (handled, acked, processor) = (server.handled(), server.second_acks(), Processor::of(server.thread()));
    flood.run(&beats, server.address(), TIME);
    std::thread::sleep(SECONDS_ARE_OUT);
    Cost {
        heartbeats: (server.handled() - handled) as f64,
        second_acks: (server.second_acks() - acked) as f64,
        nanoseconds: processor.spent().as_nanos() as f64,
    }
}
