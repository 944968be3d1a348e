//! Records of rollouts: how each stands, everything that happened to it, and how its evidence grew. The loop writes them,
//! the rest of the house reads; with a state folder they outlive the process.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::cluster::ledger::{Ledger, Write};
use crate::keepalive::governor::rollouts::NotDone;
use crate::keepalive::report::RolloutReport;
use crate::keepalive::wave::audit::{Event, GateReport, What};
use crate::keepalive::wave::spec::{Command, State};
use crate::time::WallTime;

/// Records that are kept; of more, those that ended first go. Rollouts under way are at most 64.
const RECORDS_MAX: usize = 256;
/// Steps of one rollout; of more, the oldest go: only a person can make so many.
const STEPS_MAX: usize = 256;
/// Points of one rollout's series: of more, every second one goes, and what follows is as sparse.
const POINTS_MAX: usize = 240;
/// How often the record of a rollout under way is written, beside its events.
const WRITE_EVERY: Duration = Duration::from_secs(30);

/// One rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// How it stands.
    pub report: RolloutReport,
    /// When it was released or rolled back.
    pub ended_at: Option<WallTime>,
    /// What happened, oldest first.
    pub history: Vec<Event>,
    /// How the evidence grew, oldest first.
    pub series: Vec<Point>,
    /// Rounds from one point to the next.
    stride: u32,
    written_at: WallTime,
}

/// The evidence at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// When.
    pub at: WallTime,
    /// Counted from 1.
    pub wave: usize,
    /// Of each gate.
    pub gates: Vec<GateReport>,
}

/// Where the rest of the house reads the records, newest first. Cheap to clone: clones share it.
#[derive(Debug, Clone, Default)]
pub struct RolloutBoard(Arc<ArcSwap<Vec<Arc<Record>>>>);

/// What a person says.
#[derive(Debug)]
pub struct RolloutCommand {
    /// Of which rollout.
    pub id: Arc<str>,
    /// What.
    pub command: Command,
    /// Who.
    pub who: Arc<str>,
    /// Why.
    pub why: Arc<str>,
    /// How it stands then, or why nothing came of it.
    pub reply: oneshot::Sender<Result<Arc<Record>, NotDone>>,
}

/// How commands come to the loop.
pub type RolloutCommands = mpsc::Sender<RolloutCommand>;

/// The records, and where they are written.
#[derive(Debug)]
pub(super) struct Book {
    board: RolloutBoard,
    ledger: Option<Ledger>,
}

impl RolloutBoard {
    /// As they are now, newest first.
    pub fn load(&self) -> Arc<Vec<Arc<Record>>> {
        self.0.load_full()
    }

    /// The one of this id.
    pub fn find(&self, id: &str) -> Option<Arc<Record>> {
        self.load().iter().find(|record| &*record.report.spec.id == id).cloned()
    }
}

impl Book {
    /// With what an earlier process wrote; records that cannot be read are left out, with a warning.
    pub(super) fn new(written: &[Vec<u8>], ledger: Option<Ledger>) -> Self {
        let warn = |error: &serde_json::Error| tracing::warn!(%error, "cannot read the record of a rollout");
        let mut records: Vec<Arc<Record>> = written
            .iter()
            .filter_map(|bytes| serde_json::from_slice::<Record>(bytes).inspect_err(warn).ok().map(Arc::new))
            .collect();
        records.sort_by_key(|record| std::cmp::Reverse(record.report.began[0]));
        let board = RolloutBoard::default();
        board.0.store(Arc::new(records));
        Self { board, ledger }
    }

    /// Where they are read.
    pub(super) fn board(&self) -> RolloutBoard {
        self.board.clone()
    }

    /// Takes over how rollouts stand, and what happened to them.
    pub(super) fn take(&self, reports: Vec<RolloutReport>, events: &[Event], now: WallTime) {
        if reports.is_empty() && events.is_empty() {
            return;
        }
        let mut records = Vec::clone(&self.board.load());
        for report in reports {
            match records.iter_mut().find(|record| record.report.spec.id == report.spec.id) {
                Some(record) if record.report == report && !record.is_point_due(now) => {}
                Some(record) => Arc::make_mut(record).stand(report, now),
                None => records.insert(0, Arc::new(Record::new(report, now))),
            }
        }
        for event in events {
            if let Some(record) = records.iter_mut().find(|record| record.report.spec.id == event.rollout) {
                Arc::make_mut(record).happen(event.clone());
            }
        }
        self.write(&mut records, events, now);
        self.forget(&mut records);
        self.board.0.store(Arc::new(records));
    }

    fn write(&self, records: &mut [Arc<Record>], events: &[Event], now: WallTime) {
        let Some(ledger) = &self.ledger else { return };
        for record in records {
            let has_happened = events.iter().any(|event| event.rollout == record.report.spec.id);
            let is_due = record.ended_at.is_none() && now.since(record.written_at) >= WRITE_EVERY;
            if has_happened || is_due {
                let record = Arc::make_mut(record);
                record.written_at = now;
                let bytes = serde_json::to_vec(record).expect("plain structs become JSON");
                ledger.write(Write::Rollout(Arc::clone(&record.report.spec.id), bytes));
            }
        }
    }

    fn forget(&self, records: &mut Vec<Arc<Record>>) {
        while records.len() > RECORDS_MAX {
            let Some(at) = records.iter().rposition(|record| record.ended_at.is_some()) else { return };
            let record = records.remove(at);
            if let Some(ledger) = &self.ledger {
                ledger.write(Write::Forget(Arc::clone(&record.report.spec.id)));
            }
        }
    }
}

impl Record {
    fn new(report: RolloutReport, now: WallTime) -> Self {
        let mut record = Self {
            report,
            ended_at: None,
            history: Vec::new(),
            series: Vec::new(),
            stride: 1,
            written_at: WallTime::default(),
        };
        record.point(now);
        record
    }

    fn stand(&mut self, report: RolloutReport, now: WallTime) {
        self.report = report;
        if self.is_point_due(now) {
            self.point(now);
        }
    }

    fn is_point_due(&self, now: WallTime) -> bool {
        let every = self.report.round * self.stride;
        let is_judged = matches!(self.report.state, State::Running | State::Held);
        is_judged && self.series.last().is_none_or(|point| now.since(point.at) >= every)
    }

    fn happen(&mut self, event: Event) {
        let at = WallTime::from_unix_ms(event.at_ms);
        self.report.state = match event.what {
            What::WaveBegan | What::Resumed => State::Running,
            What::Held => State::Held,
            What::Paused => State::Paused,
            What::Released => State::Released,
            What::RolledBack => State::RolledBack,
        };
        if matches!(event.what, What::Released | What::RolledBack) {
            self.ended_at = Some(at);
        }
        // What it was decided on: with the wave's end its evidence begins anew.
        let wave = self.series.last().map_or(event.wave, |point| point.wave);
        self.add(Point { at, wave, gates: event.evidence.clone() });
        self.history.push(event);
        if self.history.len() > STEPS_MAX {
            self.history.remove(0);
        }
    }

    fn point(&mut self, now: WallTime) {
        self.add(Point { at: now, wave: self.report.wave.0, gates: self.report.gates.clone() });
    }

    fn add(&mut self, point: Point) {
        self.series.push(point);
        if self.series.len() > POINTS_MAX {
            let mut nth = 0;
            self.series.retain(|_| {
                nth += 1;
                nth % 2 == 1
            });
            self.stride = self.stride.saturating_mul(2);
        }
    }
}
