//! `flyball monitor` itself, inside the server's namespace: what it prints, how it ends, what it records.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use flyball::lab::{Nat, UPLINK};
use jiff::Timestamp;
use libtest_mimic::{Failed, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::phone::{Beat, Phone, WAIT_MAX};
use super::stage::Stage;
use super::{SECOND, stay_silent, tenths, trial};
use crate::support::child::Reaped;

/// How long a line may be on its way.
const SOON: Duration = Duration::from_millis(50);
/// `at` of the run and of its replay: each reads the wall's clock once for itself.
const CLOCKS_AGREE_MS: i64 = 5;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("a_line_of_a_rebinding_has_the_contracts_fields_and_its_replay_is_the_same", json),
        trial("without_json_there_are_lines_for_people_and_a_table_at_the_end", lines),
    ]
}

/// A running `flyball monitor`.
struct Running {
    child: Reaped,
    lines: Receiver<String>,
    seen: Vec<String>,
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flyball"));
    command.arg("monitor").args(arguments);
    command
}

impl Running {
    /// Returns when it watches: a device of its own beats until it is seen.
    fn start(stage: &Stage, also: &[&str]) -> Result<Self, Failed> {
        let (port, prefixes) = (stage.port().to_string(), stage.prefixes());
        let prefixes = prefixes.to_str().expect("UTF-8");
        let mut command =
            command(&["--interface", UPLINK, "--port", &port, "--prefixes", prefixes, "--devices", "1000"]);
        command.args(also).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = Reaped(stage.lab.server().spawn(&mut command)?);
        let (sender, lines) = mpsc::channel();
        let stdout = BufReader::new(child.0.stdout.take().expect("piped"));
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut running = Self { child, lines, seen: Vec::new() };
        let (_device, mut phone) = stage.phone(0)?;
        let started = Instant::now();
        while !running.has(&phone.hex()) {
            assert!(started.elapsed() < WAIT_MAX, "it sees nothing: {:?}", running.child.0.try_wait());
            stage.beat(&mut phone)?;
            running.seen.extend(running.lines.recv_timeout(SOON));
        }
        Ok(running)
    }

    fn has(&self, text: &str) -> bool {
        self.seen.iter().any(|line| line.contains(text))
    }

    /// Reads until a line has all of `texts`.
    fn until(&mut self, texts: [&str; 2]) {
        while !self.seen.iter().any(|line| texts.iter().all(|text| line.contains(text))) {
            self.seen
                .push(self.lines.recv_timeout(WAIT_MAX).unwrap_or_else(|_| panic!("no {texts:?}: {:?}", self.seen)));
        }
    }

    /// Ends it as a person or a supervisor does. Returns all that it printed.
    fn end(mut self, signal: Signal) -> Vec<String> {
        kill(Pid::from_raw(self.child.0.id().cast_signed()), signal).expect("it runs");
        while let Ok(line) = self.lines.recv_timeout(WAIT_MAX) {
            self.seen.push(line);
        }
        assert_eq!(self.child.0.wait().expect("ended").code(), Some(0));
        self.seen
    }
}

/// The device beats, is silent for longer than its NAT's timeout, and beats.
fn lose_a_binding(stage: &Stage, phone: &mut Phone) -> Result<[Beat; 2], Failed> {
    let before = stage.answered_beat(phone)?;
    stay_silent(tenths(15));
    Ok([before, stage.beat(phone)?])
}

fn replay(capture: &Path, also: &[&str]) -> Vec<String> {
    let output = command(&["--replay", capture.to_str().expect("UTF-8")]).args(also).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_owned).collect()
}

fn json() -> Result<(), Failed> {
    let stage = Stage::start(&[Nat::random_ports(SECOND)])?;
    let capture = stage.folder().join("capture");
    let mut running = Running::start(&stage, &["--json", "--record", capture.to_str().expect("UTF-8")])?;
    let (_device, mut phone) = stage.phone(0)?;
    let beats = lose_a_binding(&stage, &mut phone)?;
    running.until(["\"rebinding\"", &phone.hex()]);
    let lines = running.end(Signal::SIGINT);
    let rows = lines.iter().map(|line| parse(line)).collect::<Vec<_>>();
    assert_eq!(rows.iter().map(|row| &row["event"]).collect::<Vec<_>>(), ["new", "new", "rebinding"]);
    check_rebinding(&rows[2], &phone, beats);
    let replayed = replay(&capture, &["--json"]);
    assert_eq!(replayed.len(), rows.len());
    for (row, line) in rows.into_iter().zip(replayed) {
        let (mut first, mut again) = (row, parse(&line));
        let [at, at_again] = [&mut first, &mut again].map(|row| timestamp(&row["at"].take()));
        assert!((at.as_millisecond() - at_again.as_millisecond()).abs() <= CLOCKS_AGREE_MS);
        assert_eq!(first, again);
    }
    Ok(())
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

fn timestamp(value: &Value) -> Timestamp {
    value.as_str().expect("a string").parse().expect("RFC 3339")
}

fn check_rebinding(row: &Value, phone: &Phone, [before, after]: [Beat; 2]) {
    let (gap, at) = (row["gap_ms"].as_u64().expect("milliseconds"), timestamp(&row["at"]));
    let expected = (after.passed.0 - before.passed.1).as_millis() as u64;
    assert!(gap.abs_diff(expected) <= 50, "{gap} ms, not {expected}");
    assert!((Timestamp::now().as_millisecond() - at.as_millisecond()).unsigned_abs() < WAIT_MAX.as_millis() as u64);
    let whole = serde_json::json!({
        "event": "rebinding", "device": phone.hex(), "cohort": "carrier=a,region=eu", "gap_ms": row["gap_ms"],
        "from": before.from.to_string(), "to": after.from.to_string(), "at": row["at"],
    });
    assert_eq!(*row, whole);
}

fn lines() -> Result<(), Failed> {
    let stage = Stage::start(&[Nat::random_ports(SECOND)])?;
    let capture = stage.folder().join("capture");
    let mut running = Running::start(&stage, &["--record", capture.to_str().expect("UTF-8")])?;
    let (_device, mut phone) = stage.phone(0)?;
    let [before, after] = lose_a_binding(&stage, &mut phone)?;
    let path = format!("binding lost: {} -> {}", before.from, after.from);
    running.until([&phone.hex(), &path]);
    let lines = running.end(Signal::SIGTERM);
    assert!(lines[0].starts_with("time "), "{lines:#?}");
    let at = lines.iter().position(|line| line.starts_with("cohort ")).expect("a table");
    let row: Vec<&str> = lines[at + 1].split_whitespace().collect();
    // Devices, packets from them and to them, rebindings.
    let (arrived, answered) = stage.passed();
    let counted = row[2].parse::<u64>().expect("a number");
    assert!((3..=arrived).contains(&counted), "those before it watched were not seen: {lines:#?}");
    assert_eq!((row[0], row[1], row[4]), ("carrier=a,region=eu", "2", "1"));
    assert_eq!((row[3], answered), ("1", 1));
    let replayed = replay(&capture, &[]);
    assert_eq!(replayed[at..], lines[at..]);
    Ok(())
}
