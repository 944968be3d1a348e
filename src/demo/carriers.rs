//! What the demo shows of the second loop: a block of one line a carrier, and what came of it.

use std::fmt::Write as _;
use std::time::Duration;

use super::fleet::CarrierSecond;
use super::screen::Second;
use super::story::{self, FIXED_INTERVAL, SCALE};

/// Reach is told over this many seconds: an interval or two.
const WINDOW_SECONDS: usize = 10;
/// Bounds further apart than by this factor say nothing that is worth showing.
const KNOWN_FACTOR: u32 = 3;

/// One line a carrier.
pub(super) fn block(second: &Second, all: &[Second]) -> String {
    if second.carriers.is_empty() {
        return String::new();
    }
    let mut text = columns("carrier", "NAT keeps", "learnt", "interval", "reachable", "why");
    for (i, carrier) in second.carriers.iter().enumerate() {
        let recent = &all[all.len().saturating_sub(WINDOW_SECONDS)..];
        text += &columns(
            carrier.name,
            &seconds(carrier.truth),
            &learnt(carrier),
            &seconds(carrier.interval),
            &percent(reach(recent, i)),
            carrier.why,
        );
    }
    text
}

fn columns(name: &str, truth: &str, learnt: &str, interval: &str, reachable: &str, why: &str) -> String {
    format!("      {name:<8} {truth:>9} {learnt:>17} {interval:>9} {reachable:>10}  {why}\n")
}

fn learnt(carrier: &CarrierSecond) -> String {
    match carrier.learnt {
        Some((from, to)) if to < from * KNOWN_FACTOR => format!("{} to {}", seconds(from), seconds(to)),
        Some(_) => "learning".to_owned(),
        None => "-".to_owned(),
    }
}

/// How it went, against a fixed interval.
pub(super) fn summary(all: &[Second]) -> String {
    let Some(last) = all.last().filter(|last| !last.carriers.is_empty()) else { return String::new() };
    let tail = &all[all.len().saturating_sub(WINDOW_SECONDS)..];
    let mut text = format!(
        "\nShare of the time in which a packet to a device would have passed its NAT\n(all times {SCALE} times faster than in the field):\n"
    );
    for (i, carrier) in last.carriers.iter().enumerate() {
        let (whole, now) = (percent(reach(all, i)), percent(reach(tail, i)));
        let interval = seconds(carrier.interval);
        let _ = writeln!(
            text,
            "  {:<8} NAT keeps {:>6}, interval {interval:>6}: {whole:>8} in all, {now:>8} in the last {} s",
            carrier.name,
            seconds(carrier.truth),
            tail.len()
        );
    }
    let carriers = last.carriers.len();
    let all_reach = (0..carriers).map(|i| reach(all, i)).sum::<f64>() / carriers as f64;
    let _ = writeln!(text, "  {:<38} {:>8}", "Flyball, learning included", percent(all_reach));
    let fixed = story::reachable_with_fixed_interval(all.len() as u64);
    let name = format!("a fixed interval of {:.1} s (computed)", FIXED_INTERVAL / SCALE);
    let _ = writeln!(text, "  {name:<38} {:>8}", percent(fixed));
    text
}

fn reach(of: &[Second], carrier: usize) -> f64 {
    let known: Vec<f64> = of.iter().filter_map(|s| Some(s.carriers.get(carrier)?.reachable)).collect();
    known.iter().sum::<f64>() / known.len().max(1) as f64
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn percent(ratio: f64) -> String {
    format!("{:.2} %", 100.0 * ratio)
}
