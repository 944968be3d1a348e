//! The captures in `ebpf/captures` that a kernel made: recorded here, and read here on any machine.
//!
//! `UPDATE=1 cargo test --test monitor captures` records them anew; it needs what the lab needs.

use std::path::PathBuf;
use std::time::Duration;

use flyball::lab::Nat;
use flyball::monitor::capture::{Capture, Header, Recorder};
use flyball::monitor::event::Event;
use flyball::monitor::event::EventKind::{self, Gap, New, Rebinding};
use flyball::monitor::key::Key;
use flyball::monitor::room::kernel_zero;
use flyball::monitor::view::View;
use libtest_mimic::{Completion, Failed, Trial};

use super::stage::Stage;
use super::told::{NEVER_ANSWERED, Told, Watching};
use super::{SECOND, stay_silent, tenths, trial};

/// As told in the README beside them: a NAT that forgets after 2 s, and a silence of 3 s.
const TIMEOUT: Duration = Duration::from_secs(2);
const SILENCE: Duration = Duration::from_secs(3);
const BYTES_MAX: u64 = 100_000;

pub(super) fn trials() -> Vec<Trial> {
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        return vec![trial("the_kernels_captures_are_recorded", record)];
    }
    let read = || read().map(|()| Completion::Completed);
    vec![Trial::ignorable_test("the_kernels_captures_tell_what_happened", read)]
}

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "ebpf/captures", name].iter().collect()
}

fn record() -> Result<(), Failed> {
    write("expiry.capture", &story(&Nat::random_ports(TIMEOUT))?)?;
    write("preserved.capture", &story(&Nat::preserved_ports(TIMEOUT))?)?;
    read()
}

/// Two devices beat twice a second, one of them is answered; then the other is silent for [`SILENCE`].
fn story(nat: &Nat) -> Result<Told, Failed> {
    let stage = Stage::start(std::slice::from_ref(nat))?;
    let watching = Watching::start(&stage, SECOND)?;
    let ((_steady_device, mut steady), (_silent_device, mut silent)) = (stage.phone(0)?, stage.phone(0)?);
    for _ in 0..3 {
        stage.answered_beat(&mut steady)?;
        stage.beat(&mut silent)?;
        stay_silent(tenths(5));
    }
    stage.beat(&mut silent)?;
    for _ in 0..6 {
        stage.answered_beat(&mut steady)?;
        stay_silent(SILENCE / 6);
    }
    stage.beat(&mut silent)?;
    stage.answered_beat(&mut steady)?;
    watching.end(&stage)
}

fn write(name: &str, told: &Told) -> Result<(), Failed> {
    let (settings, gap_ms) = (&told.settings, told.settings.gap.as_millis() as u64);
    let header = Header::new(Key::Heartbeat, &settings.ports, gap_ms, &settings.prefixes.names, kernel_zero());
    let mut recorder = Recorder::open(&path(name))?.begin(&header)?;
    told.frames.iter().try_for_each(|frame| recorder.write(frame))?;
    Ok(recorder.flush()?)
}

fn read() -> Result<(), Failed> {
    for (name, kind) in [("expiry.capture", Rebinding), ("preserved.capture", Gap)] {
        assert!(path(name).metadata()?.len() <= BYTES_MAX, "{name}");
        if cfg!(target_endian = "little") {
            check(name, kind)?;
        }
    }
    Ok(())
}

fn check(name: &str, kind: EventKind) -> Result<(), Failed> {
    let capture = Capture::open(&path(name))?;
    let mut view = View::new(capture.decoder());
    let mut events: Vec<Event> = Vec::new();
    for frame in capture {
        events.extend(view.take(frame?)?);
    }
    let told: Vec<_> = events.iter().map(|event| (event.kind, event.cohort.as_ref())).collect();
    assert_eq!(told, [New, New, kind].map(|kind| (kind, "carrier=a,region=eu")), "{name}");
    let last = &events[2];
    assert_eq!((last.device, last.binding), (events[1].device, NEVER_ANSWERED), "{name}");
    assert!(last.gap.is_some_and(|gap| gap.abs_diff(SILENCE) < tenths(2)), "{name}: {last:?}");
    let totals = view.all().totals;
    assert_eq!((totals.from, totals.to, totals.gaps.count()), (15, 10, 13), "{name}");
    Ok(())
}
