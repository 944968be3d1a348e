//! What does Flyball's answer cost beside the least that its libraries can do?
//!
//! HTTP is measured against bare hyper returning the same bytes, gRPC against bare tonic returning an equal message,
//! in one run, in turns. Each server has one thread of its own and the clients another; the clients speak just enough of
//! the protocol to keep the server busy, so that the server is what is measured. Connections and requests in flight are
//! bounded.
//!
//! Budget: requests/s of ours / bare >= 0.9 over HTTP and >= 1.0 over gRPC (medians of the rounds);
//! 10,000 new connections with one request each within 1 s of one processor.
//!
//! Run: `cargo bench --bench serve` (about 30 s), or with one of `http`, `grpc`, `burst` behind `--`.

#[path = "../support/http2.rs"]
mod http2;
mod load;
mod servers;

use std::time::Duration;

use flyball::serve::raise_nofile_limit;

use self::load::{Load, Protocol};
use self::servers::Running;

const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(900);

const BURST: usize = 10_000;
const BURST_IN_FLIGHT: usize = 1000;
const BURST_MAX: Duration = Duration::from_secs(1);

fn main() {
    println!(
        "{:<6} {:>12} {:>12} {:>7}   {:>9} {:>9} {:>7}",
        "", "ours/s", "bare/s", "ratio", "ours µs", "bare µs", "ratio"
    );
    if is_wanted("http") {
        compare("http", Protocol::Http, &servers::flyball(), &servers::bare_hyper(), 0.9);
    }
    if is_wanted("grpc") {
        compare("grpc", Protocol::Grpc, &servers::flyball(), &servers::bare_tonic(), 1.0);
    }
    if is_wanted("burst") {
        burst();
    }
    println!(
        "\n/s: requests answered a second; µs: processor time of the server a request; medians of {ROUNDS} rounds"
    );
}

/// Named on the command line, or nothing is.
fn is_wanted(name: &str) -> bool {
    let mut names = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    names.peek().is_none() || names.any(|wanted| wanted == name)
}

/// A fleet of pollers that wakes at once behind one address. The client's half of each connection costs as much as the
/// server's and shares the machine, so the verdict is on the server's processor time.
fn burst() {
    raise_nofile_limit().expect("a limit on open files");
    let server = servers::flyball();
    let once = |_| {
        let before = server.cpu();
        let took = load::burst(server.http, BURST, BURST_IN_FLIGHT);
        (server.cpu() - before, took)
    };
    let mut runs: Vec<(Duration, Duration)> = (0..3).map(once).collect();
    runs.sort();
    let (cpu, took) = (runs[1].0.as_millis(), runs[1].1.as_millis());
    let verdict = if runs[1].0 <= BURST_MAX { "within" } else { "MISSES" };
    println!("burst  {BURST} new connections, one request each: {took} ms, {cpu} ms of the server's processor");
    println!("       {verdict} the budget of {} ms of one processor", BURST_MAX.as_millis());
}

fn compare(name: &str, protocol: Protocol, ours: &Running, bare: &Running, budget: f64) {
    let [mut rates, mut costs] = [Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        let (ours, bare) = (measure(protocol, ours), measure(protocol, bare));
        if round > 0 {
            rates.push([ours.0, bare.0, ours.0 / bare.0]);
            costs.push([ours.1, bare.1, bare.1 / ours.1]);
        }
    }
    let ([ours, bare, ratio], [our_cost, bare_cost, cost_ratio]) = (medians(&rates), medians(&costs));
    println!("{name:<6} {ours:>12.0} {bare:>12.0} {ratio:>7.3}   {our_cost:>9.2} {bare_cost:>9.2} {cost_ratio:>7.3}");
    let verdict = if ratio >= budget { "within" } else { "MISSES" };
    println!("       {verdict} the budget of {budget}");
}

/// Requests/s, and the server's microseconds a request.
fn measure(protocol: Protocol, server: &Running) -> (f64, f64) {
    let address = match protocol {
        Protocol::Http => server.http,
        Protocol::Grpc => server.grpc,
    };
    let before = server.cpu();
    let done = Load { protocol, address, length: ROUND }.run();
    let spent = server.cpu() - before;
    (done.requests as f64 / done.took.as_secs_f64(), spent.as_secs_f64() * 1e6 / done.requests as f64)
}

fn medians(rows: &[[f64; 3]]) -> [f64; 3] {
    [0, 1, 2].map(|column| {
        let mut values: Vec<f64> = rows.iter().map(|row| row[column]).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    })
}
