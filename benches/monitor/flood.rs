//! The real binary beside 150,000 heartbeats a second, of which one in a hundred is an event.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use flyball::lab::UPLINK;

use crate::live::Road;
use crate::row;

const PER_SECOND: f64 = 150_000.0;
const SECONDS: u64 = 10;
const DEVICES: u64 = 100_000;
/// They are all new: a tenth of the pace, so that what is measured is what comes after.
const WARM_UP_PER_SECOND: f64 = 20_000.0;
/// One beat in this many skips a sequence number.
const EVENTFUL: u64 = 100;
/// The kernel counts processor time in these (USER_HZ).
const TICK: Duration = Duration::from_millis(10);
const LINES_WAIT_MAX: Duration = Duration::from_secs(5);

pub(crate) fn flood() {
    let road = Road::build();
    let mut command = Command::new(env!("CARGO_BIN_EXE_flyball"));
    command.args(["monitor", "--interface", UPLINK, "--json"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut monitor = road.lab.server().spawn(&mut command).expect("the monitor");
    let (lines, stdout) = (Arc::new(AtomicU64::new(0)), monitor.stdout.take().expect("piped"));
    let count = Arc::clone(&lines);
    let reader = thread::spawn(move || {
        BufReader::new(stdout).lines().map_while(Result::ok).for_each(|_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
    });
    // The first beat that is told shows that it watches.
    while lines.load(Ordering::Relaxed) == 0 {
        road.send(&mut std::iter::once((0, 1)), None);
        thread::sleep(Duration::from_millis(20));
    }
    road.send(&mut (1..=DEVICES).map(|device| (device, 1)), Some(WARM_UP_PER_SECOND));
    let known = await_lines(&lines, DEVICES + 1);
    let (processor, started) = (processor_time(monitor.id()), Instant::now());
    let beats = (PER_SECOND as u64) * SECONDS;
    road.send(&mut (0..beats).map(beat), Some(PER_SECOND));
    let (took, processor) = (started.elapsed(), processor_time(monitor.id()) - processor);
    let eventful = beats / EVENTFUL;
    let told = await_lines(&lines, known + eventful) - known;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(monitor.id() as i32), nix::sys::signal::SIGINT).expect("it runs");
    monitor.wait().expect("ended");
    reader.join().expect("read to the end");
    println!(
        "\n{:.0} heartbeats/s for {:.1} s, {eventful} eventful",
        beats as f64 / took.as_secs_f64(),
        took.as_secs_f64()
    );
    row("events lost", eventful.saturating_sub(told) as f64, 0.0);
    row("user space, in thousandths of a core", 1000.0 * processor.as_secs_f64() / took.as_secs_f64(), 50.0);
}

/// Round by round through all devices; the eventful one skips a number.
fn beat(n: u64) -> (u64, u32) {
    let (device, round) = (1 + n % DEVICES, n / DEVICES);
    // A device whose turn it once was stays one ahead.
    let skipped = if device % EVENTFUL == 0 { round + 1 } else { 0 };
    (device, (2 + round + skipped) as u32)
}

fn await_lines(lines: &AtomicU64, wanted: u64) -> u64 {
    let started = Instant::now();
    while lines.load(Ordering::Relaxed) < wanted && started.elapsed() < LINES_WAIT_MAX {
        thread::sleep(Duration::from_millis(10));
    }
    lines.load(Ordering::Relaxed)
}

/// User and system time of a process, all its threads (proc(5), stat: fields 14 and 15).
fn processor_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let after_name = stat.rsplit_once(')').expect("proc(5)").1;
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum();
    TICK * ticks as u32
}
