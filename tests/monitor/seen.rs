//! A running monitor, and all that it said.

use std::collections::HashMap;
use std::time::Duration;

use flyball::monitor::frame::{Census, Frame};
use flyball::monitor::live::Monitor;
use flyball::monitor::mirror::{CohortCounts, Record, Troubles};
use flyball::monitor::reader::ReadError;
use flyball::monitor::steering::Steering;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Nothing here takes a tenth of it.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// What a monitor said so far.
pub(crate) struct Seen {
    pub(crate) records: Vec<Record>,
    pub(crate) counts: HashMap<u16, CohortCounts>,
    pub(crate) troubles: Option<Troubles>,
    pub(crate) census: Option<Census>,
    pub(crate) steering: Steering,
    frames: mpsc::Receiver<Frame>,
    running: JoinHandle<Result<(), ReadError>>,
    shutdown: CancellationToken,
}

/// Runs the monitor and the test in one runtime of this thread.
pub(crate) fn while_running<F: Future<Output = ()>>(monitor: Monitor, test: impl FnOnce(Seen) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (sender, frames) = mpsc::channel(64);
        let (shutdown, steering) = (CancellationToken::new(), monitor.steering());
        let running = tokio::spawn(monitor.run(sender, shutdown.clone()));
        let (records, counts) = (Vec::new(), HashMap::new());
        let seen = Seen { records, counts, troubles: None, census: None, steering, frames, running, shutdown };
        tokio::time::timeout(WAIT_MAX, test(seen)).await.expect("a test does not take so long");
    });
}

impl Seen {
    /// Reads until it is so.
    pub(crate) async fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let reading = async {
            while !is_so(self) {
                let frame = self.frames.recv().await.expect("the monitor runs");
                self.take(frame);
            }
        };
        let in_time = tokio::time::timeout(WAIT_MAX, reading).await;
        assert!(in_time.is_ok(), "waited in vain for {what}; records {:?}, census {:?}", self.records, self.census);
    }

    /// Reads what comes in a moment: between two tries of something.
    pub(crate) async fn for_a_moment(&mut self) {
        let moment = Duration::from_millis(30);
        while let Ok(Some(frame)) = tokio::time::timeout(moment, self.frames.recv()).await {
            self.take(frame);
        }
    }

    /// Ends the monitor, and reads the rest.
    pub(crate) async fn finish(mut self) -> Self {
        self.shutdown.cancel();
        while let Some(frame) = self.frames.recv().await {
            self.take(frame);
        }
        (&mut self.running).await.expect("no panic").expect("readable to the end");
        self
    }

    /// Kinds of the records, in order.
    pub(crate) fn kinds(&self) -> Vec<u8> {
        self.records.iter().map(|record| record.kind).collect()
    }

    /// Everything counted.
    pub(crate) fn from(&self) -> u64 {
        self.counts.values().map(|counts| counts.from).sum()
    }

    fn take(&mut self, frame: Frame) {
        match frame {
            Frame::Record(record) => self.records.push(record),
            Frame::Counts { cohort, counts } => drop(self.counts.insert(cohort, *counts)),
            Frame::Troubles(troubles) => self.troubles = Some(troubles),
            Frame::Census(census) => self.census = Some(census),
        }
    }
}
