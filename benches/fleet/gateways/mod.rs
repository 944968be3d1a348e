//! What does a gateway's session cost the server, and how soon is one change with all of them?
//!
//! The server is a process of its own (this program again), so that its memory and its processor time are its own; the
//! clients are one thread here that speaks just enough HTTP/2. Two shapes: each session on a connection of its own, as
//! gateways come, and a hundred on a connection, as a proxy in front joins them.
//!
//! Memory is the server's resident set, with the sessions less without, by sessions; what the kernel takes for a socket
//! is not in it. A change takes from its publication to the order's arrival in the client, with every setting at its
//! default; both processes share the machine's cores, so that the clients' reading is in it. Their acks follow a round trip
//! of a carrier's network later. The figure is of a wall clock: on a busy machine it tells of that.
//!
//! Last, what a session costs the SDK's own device.

mod client;
mod own;
pub(crate) mod server;

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use self::client::Clients;
use self::server::Server;
use crate::{median, verdict};

const SESSIONS: usize = 10_000;
const CHANGES: usize = 20;
const SESSION_MAX_BYTES: f64 = 30_000.0;
const CHANGE_MAX_MS: f64 = 150.0;
/// Generations begin here.
const FIRST: u64 = 100;
/// Between two changes.
const PAUSE: Duration = Duration::from_millis(500);

/// What one shape showed.
struct Seen {
    bytes: f64,
    p50_ms: f64,
    /// Of each change, sorted.
    p99_ms: Vec<f64>,
    processor_ms: f64,
}

pub(crate) fn row() -> bool {
    flyball::serve::raise_nofile_limit().expect("a limit on open files");
    println!(
        "\n{SESSIONS} gateways: KB of the server's memory each; ms until one change is with them, of {CHANGES} changes"
    );
    println!("{:<24} {:>8} {:>8} {:>8}   {:<14} {:>12}", "", "KB each", "p50", "p99", "best, worst", "of processor");
    let shapes = [("a connection each", 1), ("a hundred a connection", 100)];
    let missed = shapes.into_iter().filter(|(name, each)| !print(name, &seen(*each))).count();
    let is_own_within = own::row();
    missed == 0 && is_own_within
}

/// Whether it is within the budget.
fn print(name: &str, seen: &Seen) -> bool {
    let p99_ms = median(seen.p99_ms.clone());
    let is_within = seen.bytes <= SESSION_MAX_BYTES && p99_ms <= CHANGE_MAX_MS;
    println!(
        "{name:<24} {:>8.1} {:>8.0} {p99_ms:>8.0}   {:>5.0} {:>8.0} {:>12.0}{}",
        seen.bytes / 1e3,
        seen.p50_ms,
        seen.p99_ms[0],
        seen.p99_ms[CHANGES - 1],
        seen.processor_ms,
        verdict(is_within)
    );
    is_within
}

fn seen(sessions_per_connection: usize) -> Seen {
    let mut server = Server::start();
    let mut clients = Clients::new(server.address);
    // The first session brings what all share.
    clients.open(&[SESSIONS]);
    clients.arrivals(FIRST, 1);
    let before = server.memory_bytes();
    let numbers: Vec<usize> = (0..SESSIONS).collect();
    numbers.chunks(sessions_per_connection).for_each(|numbers| clients.open(numbers));
    clients.arrivals(FIRST, SESSIONS);
    let (mut p99_ms, mut all_ms, processor) = (Vec::new(), Vec::new(), server.processor());
    for generation in FIRST + 1..=FIRST + CHANGES as u64 {
        clients.rest(PAUSE);
        let published = server.publish(generation);
        let arrived = clients.arrivals(generation, SESSIONS + 1);
        let mut took_ms: Vec<f64> =
            arrived.into_iter().map(|at| at.saturating_sub(published).as_secs_f64() * 1e3).collect();
        took_ms.sort_by(f64::total_cmp);
        p99_ms.push(took_ms[SESSIONS * 99 / 100]);
        all_ms.append(&mut took_ms);
    }
    clients.rest(PAUSE);
    p99_ms.sort_by(f64::total_cmp);
    let processor_ms = (server.processor() - processor).as_secs_f64() * 1e3 / CHANGES as f64;
    // After the changes: buffers have been used.
    let bytes = server.memory_bytes().saturating_sub(before) as f64 / SESSIONS as f64;
    Seen { bytes, p50_ms: median(all_ms), p99_ms, processor_ms }
}

/// The same clock in both processes.
fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock").into()
}
