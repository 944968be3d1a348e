//! The monitor as a room of the house: opened before the runtime starts its threads, because capabilities belong to a
//! thread; run within it; shown on a [`Board`]. Where it cannot attach, or ends, the house goes on without: the board
//! says why, and the log says it once.

use std::error::Error;
use std::time::Duration;

use caps::Capability;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::board::{Board, Watch};
use super::capability::Capabilities;
use super::clock::KernelTime;
use super::error::AttachError;
use super::event::{Decoder, Event, Gap};
use super::live::{AttachOptions, Monitor};
use super::reader::ReadError;
use super::settings::Settings;
use super::view::View;
use crate::error_chain::chain;
use crate::time::{Clock, WallTime};

/// Frames that wait to be put together; beyond, they wait in the kernel's ring.
pub const FRAMES_QUEUE: usize = 4_096;
/// How often the board is brought up to date.
pub const SHOWN_EVERY: Duration = Duration::from_secs(1);

/// Who wants to know of silences.
pub type OnGap = Box<dyn FnMut(&Gap) + Send>;

/// The monitor, or none.
pub struct Room {
    board: Board,
    open: Option<(Monitor, View)>,
}

impl Room {
    /// Nothing is watched.
    pub fn off() -> Self {
        Self { board: Board::default(), open: None }
    }

    /// Attaches, and drops every capability of this thread but the monitor's own and `keep`. What cannot be done is
    /// logged and shown.
    pub fn open(settings: Option<&Settings>, keep: Vec<Capability>) -> Self {
        let Some(settings) = settings else { return Self::off() };
        let board = Board::default();
        match open(settings, keep) {
            Ok(open) => {
                tracing::info!(interfaces = ?settings.interfaces, key = %settings.key, ports = ?settings.ports, "monitor: watching");
                open.0.notes().iter().for_each(|note| tracing::warn!("monitor: {note}"));
                Self { board, open: Some(open) }
            }
            Err(error) => {
                blind(&board, &error, "monitor: cannot watch; everything else runs");
                Self { board, open: None }
            }
        }
    }

    /// Whether there is something to see.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Where it is shown.
    pub fn board(&self) -> Board {
        self.board.clone()
    }

    /// Watches until the shutdown; each silence that ended is told to `on_gap`, which must not wait.
    pub async fn run(self, mut on_gap: Option<OnGap>, shutdown: CancellationToken) {
        let Some((monitor, mut view)) = self.open else { return };
        // The first of its own comes later; until then nobody could tell how much the map can hold.
        monitor.steering().request_census();
        let (sender, mut frames) = mpsc::channel(FRAMES_QUEUE);
        let watching = tokio::spawn(monitor.run(sender, shutdown));
        let mut shown = tokio::time::interval(SHOWN_EVERY);
        shown.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                frame = frames.recv() => match frame {
                    Some(frame) => match view.take(frame) {
                        Ok(event) => tell(event, &mut on_gap),
                        Err(error) => tracing::debug!(%error, "monitor"),
                    },
                    None => break,
                },
                _ = shown.tick() => {
                    view.set_zero(kernel_zero());
                    self.board.show(Watch::Seeing(Box::new(view.clone())));
                }
            }
        }
        match watching.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => blind::<ReadError>(&self.board, &error, "monitor: it ended; everything else runs"),
            Err(error) => blind(&self.board, &error, "monitor: its task fell; everything else runs"),
        }
    }
}

/// The wall time at which the kernel's clock was zero, as both are now: it moves where the wall's time is set.
pub fn kernel_zero() -> WallTime {
    Clock::start().now().wall.minus(Duration::from_nanos(KernelTime::now().0))
}

fn open(settings: &Settings, keep: Vec<Capability>) -> Result<(Monitor, View), AttachError> {
    let options = AttachOptions { capabilities: Capabilities::Only(keep), ..AttachOptions::default() };
    let monitor = Monitor::open(settings, &options)?;
    let view = View::new(Decoder::new(settings.key, settings.prefixes.names.clone(), kernel_zero()));
    Ok((monitor, view))
}

fn blind<E: Error + 'static>(board: &Board, error: &E, message: &str) {
    let why = chain(error);
    tracing::error!(reason = "monitor", error = why, "{message}");
    board.show(Watch::Blind(why));
}

fn tell(event: Option<Event>, on_gap: &mut Option<OnGap>) {
    let Some(event) = event else { return };
    log(&event);
    if let (Some(on_gap), Some(gap)) = (on_gap, event.ended_gap()) {
        on_gap(&gap);
    }
}

fn log(event: &Event) {
    let device = event.device.map(|device| device.to_string());
    let (from, to, cohort) = (event.path.from, event.path.to, &event.cohort);
    tracing::debug!(event = event.kind.as_str(), device, %cohort, %from, %to, silence = ?event.silence, "monitor");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::key::Key;
    use crate::monitor::prefixes::Prefixes;

    #[test]
    fn a_monitor_that_cannot_attach_is_shown_as_blind_with_the_reason() {
        let settings = Settings {
            interfaces: vec!["no-such-if0".to_owned()],
            key: Key::Heartbeat,
            ports: vec![1],
            gap: Duration::from_secs(30),
            devices: 16,
            prefixes: Prefixes::default(),
        };
        let room = Room::open(Some(&settings), Vec::new());
        assert!(room.board().is_blind());
        // With the capabilities it is the interface that is missing, else the first of the capabilities.
        match &*room.board().read() {
            Watch::Blind(why) => {
                assert!(why.contains("no-such-if0") || why.contains("CAP_") || why.contains("BTF"), "{why}")
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_house_without_a_monitor_is_not_degraded() {
        let room = Room::open(None, Vec::new());
        assert!(!room.board().is_blind() && matches!(*room.board().read(), Watch::Off));
    }
}
