//! The monitor on the lab's server, and what it told when it ended.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use flyball::error_chain::chain;
use flyball::monitor::attach::Via;
use flyball::monitor::event::{Binding, Decoder, Event, EventKind};
use flyball::monitor::frame::Frame;
use flyball::monitor::key::Key;
use flyball::monitor::live::Monitor;
use flyball::monitor::room::kernel_zero;
use flyball::monitor::settings::Settings;
use flyball::monitor::view::View;
use libtest_mimic::Failed;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::phone::{Beat, Passed, Phone};
use super::stage::Stage;
use crate::bed::options;

/// How far the monitor's times may be from the test's.
const RIGHT_TO: Duration = Duration::from_millis(50);

/// A packet came, and nothing went out.
pub(crate) const NEVER_ANSWERED: Binding = Binding { is_replied: false, is_stream: false };
/// It was answered at once.
pub(crate) const ANSWERED: Binding = Binding { is_replied: true, is_stream: false };
/// It was answered again, when a NAT takes it for a stream.
pub(crate) const STREAM: Binding = Binding { is_replied: true, is_stream: true };

type Frames = Result<Vec<Frame>, String>;

/// A monitor on the server's uplink, on a thread that is inside.
pub(crate) struct Watching {
    shutdown: DropGuard,
    thread: JoinHandle<Frames>,
    settings: Settings,
}

/// Everything that a monitor told.
pub(crate) struct Told {
    pub(crate) frames: Vec<Frame>,
    pub(crate) events: Vec<Event>,
    pub(crate) view: View,
    pub(crate) settings: Settings,
}

impl Watching {
    /// Returns when it watches.
    pub(crate) fn start(stage: &Stage, gap: Duration) -> Result<Self, Failed> {
        let settings = stage.settings(gap)?;
        let (namespace, shutdown) = (stage.lab.server().clone(), CancellationToken::new());
        let (opened, is_open) = mpsc::channel();
        let (token, told) = (shutdown.clone(), settings.clone());
        let inside = move || match Monitor::open(&told, &options(Via::Best)) {
            Ok(monitor) => {
                let _ = opened.send(());
                run(monitor, token)
            }
            Err(error) => Err(chain(&error)),
        };
        let thread = thread::spawn(move || namespace.enter(inside).unwrap_or_else(|error| Err(error.to_string())));
        if is_open.recv().is_err() {
            return Err(thread.join().expect("no panic").err().unwrap_or_default().into());
        }
        Ok(Self { shutdown: shutdown.drop_guard(), thread, settings })
    }

    /// Ends it. In whatever the test did, its sums must be those of the server.
    pub(crate) fn end(self, stage: &Stage) -> Result<Told, Failed> {
        drop(self.shutdown);
        let frames = self.thread.join().expect("no panic")?;
        let decoder = Decoder::new(Key::Heartbeat, self.settings.prefixes.names.clone(), kernel_zero());
        let mut view = View::new(decoder);
        let events = frames.iter().filter_map(|frame| view.take(frame.clone()).expect("a known kind")).collect();
        let told = Told { frames, events, view, settings: self.settings };
        told.check_sums(stage);
        Ok(told)
    }
}

fn run(monitor: Monitor, shutdown: CancellationToken) -> Frames {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(64);
        let running = tokio::spawn(monitor.run(sender, shutdown));
        let mut frames = Vec::new();
        while let Some(frame) = receiver.recv().await {
            frames.push(frame);
        }
        running.await.expect("no panic").map_err(|error| chain(&error))?;
        Ok(frames)
    })
}

impl Told {
    /// The events, of each the kind and the device: its number is how its id begins.
    pub(crate) fn story(&self) -> Vec<(EventKind, u32)> {
        self.events.iter().map(|event| (event.kind, number(event))).collect()
    }

    /// The events of one device after its first packet.
    pub(crate) fn of(&self, phone: &Phone) -> Vec<&Event> {
        self.events.iter().filter(|event| number(event) == phone.id && event.kind != EventKind::New).collect()
    }

    /// The one event of a device after its first packet.
    pub(crate) fn only(&self, phone: &Phone) -> &Event {
        let events = self.of(phone);
        assert_eq!(events.len(), 1, "one event of device {}: {events:?}", phone.id);
        events[0]
    }

    /// Each heartbeat that reached the server is counted once: a device's first as new, each other as a gap.
    fn check_sums(&self, stage: &Stage) {
        let of = |kind| self.events.iter().filter(|event| event.kind == kind).count() as u64;
        let (all, troubles) = (self.view.all(), self.view.troubles());
        let (arrived, answered) = stage.passed();
        assert_eq!((all.totals.from, all.totals.new_devices), (arrived, of(EventKind::New)));
        assert_eq!(all.totals.gaps.count(), arrived - of(EventKind::New));
        assert_eq!(all.totals.rebindings, of(EventKind::Rebinding));
        assert_eq!((all.totals.to, troubles.unknown_egress), (answered, 0));
        assert_eq!((troubles.lost_records, troubles.not_stored, troubles.contended), (0, 0, 0));
        let census = self.view.census().expect("taken at the end");
        assert_eq!((u64::from(census.devices), census.evicted), (of(EventKind::New), 0));
    }
}

fn number(event: &Event) -> u32 {
    let device = event.device.expect("not TCP");
    device.as_bytes().first_chunk().copied().map_or(0, u32::from_be_bytes)
}

/// The event says what happened between these two beats.
pub(crate) fn check(event: &Event, kind: EventKind, beats: [Beat; 2]) {
    assert_eq!((event.kind, event.path.from, event.path.to), (kind, beats[0].from, beats[1].from));
    check_time(event.gap, beats[0].passed, beats[1].passed);
}

/// The time is the one between these two packets, right to [`RIGHT_TO`].
pub(crate) fn check_time(time: Option<Duration>, first: Passed, last: Passed) {
    let time = time.expect("it was watched");
    let (least, most) = (last.0 - first.1, last.1 - first.0);
    assert!((least.saturating_sub(RIGHT_TO)..=most + RIGHT_TO).contains(&time), "{time:?}, not {least:?} to {most:?}");
}
