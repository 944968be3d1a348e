//! The kernel itself.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Error};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::super::Failure;
use super::super::run::until_signal;
use super::output::{Output, Style};
use crate::error_chain::chain;
use crate::monitor::capture::{CaptureError, Header, Recorder};
use crate::monitor::event::Decoder;
use crate::monitor::frame::Frame;
use crate::monitor::live::{AttachOptions, Monitor};
use crate::monitor::room::{FRAMES_QUEUE, SHOWN_EVERY, kernel_zero};
use crate::monitor::settings::Settings;
use crate::monitor::steering::Steering;
use crate::monitor::view::View;

/// What bounds a live run, and what it leaves behind.
#[derive(Debug)]
pub(super) struct Limits {
    /// Where a capture is written to.
    pub(super) record: Option<PathBuf>,
    /// When it ends by itself.
    pub(super) seconds: Option<u64>,
}

/// Watches until SIGINT, SIGTERM, the end of its time, or until nobody reads.
pub(super) fn live(settings: &Settings, limits: &Limits, output: Output) -> Result<(), Failure> {
    // Before capabilities are dropped: root without them cannot write into a user's folder.
    let capture = limits.record.as_deref().map(Recorder::open).transpose().map_err(failed)?;
    let monitor =
        Monitor::open(settings, &AttachOptions::default()).map_err(|error| Failure::Machine(chain(&error)))?;
    monitor.notes().iter().for_each(|note| eprintln!("note: {note}"));
    let recorder = capture.map(|capture| capture.begin(&header(settings))).transpose().map_err(failed)?;
    let decoder = Decoder::new(settings.key, settings.prefixes.names.clone(), kernel_zero());
    let view = View::new(decoder);
    let watch = Watch { steering: monitor.steering(), view, recorder, unwritable: None, output };
    // One thread reads the kernel's ring and writes; a second would only wait.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(run(monitor, watch, limits.seconds))
}

fn header(settings: &Settings) -> Header {
    let gap_ms = u64::try_from(settings.gap.as_millis()).unwrap_or(u64::MAX);
    Header::new(settings.key, &settings.ports, gap_ms, &settings.prefixes.names, kernel_zero())
}

fn failed(error: CaptureError) -> Failure {
    Failure::Runtime(Error::from(error))
}

async fn run(monitor: Monitor, mut watch: Watch, seconds: Option<u64>) -> Result<(), Failure> {
    let shutdown = until_signal()?;
    if let Some(seconds) = seconds {
        tokio::spawn(end_after(Duration::from_secs(seconds), shutdown.clone()));
    }
    let (sender, frames) = mpsc::channel(FRAMES_QUEUE);
    let watching = tokio::spawn(monitor.run(sender, shutdown));
    watch.all(frames).await?;
    let ended = watching.await.map_err(Error::from)?;
    watch.end()?;
    ended.map_err(|error| Failure::Runtime(error.into()))
}

async fn end_after(time: Duration, shutdown: CancellationToken) {
    tokio::time::sleep(time).await;
    shutdown.cancel();
}

/// What is done with each frame.
struct Watch {
    steering: Steering,
    view: View,
    recorder: Option<Recorder>,
    /// Why there is no recorder any more.
    unwritable: Option<CaptureError>,
    output: Output,
}

impl Watch {
    /// Until no more frames come. Where nobody reads any more, `frames` is dropped, which ends the monitor.
    async fn all(&mut self, mut frames: mpsc::Receiver<Frame>) -> Result<(), Failure> {
        let mut due = every(SHOWN_EVERY);
        loop {
            let go_on = tokio::select! {
                frame = frames.recv() => match frame {
                    Some(frame) => self.frame(frame)?,
                    None => ControlFlow::Break(()),
                },
                _ = due.tick() => self.tick()?,
            };
            if go_on.is_break() {
                return Ok(());
            }
        }
    }

    fn frame(&mut self, frame: Frame) -> Result<ControlFlow<()>, Failure> {
        self.record(|recorder| recorder.write(&frame));
        match self.view.take(frame) {
            Ok(Some(event)) => self.output.event(&event),
            // A record of another version is counted by the view, which tells it at the end.
            Ok(None) | Err(_) => Ok(ControlFlow::Continue(())),
        }
    }

    fn tick(&mut self) -> Result<ControlFlow<()>, Failure> {
        self.view.set_zero(kernel_zero());
        self.record(Recorder::flush);
        if self.output.style() == Style::Top {
            self.steering.request_census();
        }
        self.output.tick(&self.view)
    }

    fn end(mut self) -> Result<(), Failure> {
        self.record(Recorder::flush);
        self.output.end(&self.view)?;
        self.unwritable.map_or(Ok(()), |error| Err(failed(error)))
    }

    /// A full disk ends the recording and not the watch, and is told at the end.
    fn record(&mut self, write: impl FnOnce(&mut Recorder) -> Result<(), CaptureError>) {
        let Some(recorder) = &mut self.recorder else { return };
        if let Err(error) = write(recorder) {
            self.recorder = None;
            self.unwritable = Some(error);
        }
    }
}

fn every(time: Duration) -> Interval {
    let mut interval = tokio::time::interval(time);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
