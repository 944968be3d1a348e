//! What the loop does about rollouts beside deciding: writes down what happened, takes commands, asks queries.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::audit::{AuditLog, Audited, PaceChange};
use super::rollouts::{Book, Record, RolloutBoard, RolloutCommand, RolloutCommands};
use crate::cluster::ledger::Ledger;
use crate::keepalive::governor::Governor;
use crate::keepalive::governor::rollouts::NotDone;
use crate::keepalive::order::Orders;
use crate::keepalive::policy::WaveQuery;
use crate::keepalive::report::{CohortReport, RolloutReport};
use crate::keepalive::wave::audit::{Event, Who};
use crate::keepalive::wave::metric::Sample;
use crate::keepalive::wave::spec::{Command, Refused, State};
use crate::source::Asker;
use crate::time::{MonoTime, Tick, WallTime};

/// Commands that wait for the loop.
const COMMANDS_QUEUE: usize = 16;
/// Values that wait for the loop: all queries of all rollouts.
const VALUES_QUEUE: usize = 1_024;

/// A value that a query had.
#[derive(Debug)]
pub(super) struct Value {
    pub(super) rollout: Arc<str>,
    pub(super) query: usize,
    pub(super) sample: Sample,
}

/// What comes to the loop about rollouts.
#[derive(Debug)]
pub(super) enum Heard {
    Command(RolloutCommand),
    Value(Value),
}

/// See the module.
#[derive(Debug)]
pub(super) struct RolloutRoom {
    audit: AuditLog,
    book: Book,
    ledger: Option<Ledger>,
    asker: Option<Asker>,
    commands: (RolloutCommands, mpsc::Receiver<RolloutCommand>),
    values: (mpsc::Sender<Value>, mpsc::Receiver<Value>),
    under_way: Vec<RolloutReport>,
    /// When each was asked about last.
    asked: HashMap<Arc<str>, MonoTime>,
}

impl RolloutRoom {
    pub(super) fn new() -> Self {
        Self {
            audit: AuditLog::default(),
            book: Book::new(&[], None),
            ledger: None,
            asker: None,
            commands: mpsc::channel(COMMANDS_QUEUE),
            values: mpsc::channel(VALUES_QUEUE),
            under_way: Vec::new(),
            asked: HashMap::new(),
        }
    }

    pub(super) fn set_books(
        &mut self,
        audit: AuditLog,
        written: &[Vec<u8>],
        ledger: Option<Ledger>,
        asker: Option<Asker>,
    ) {
        self.audit = audit;
        self.book = Book::new(written, ledger.clone());
        (self.ledger, self.asker) = (ledger, asker);
    }

    pub(super) fn doors(&self) -> (RolloutBoard, RolloutCommands) {
        (self.book.board(), self.commands.0.clone())
    }

    /// What comes next: a person's word before a query's value. `None` never comes, as the room can send to itself.
    pub(super) async fn heard(&mut self) -> Option<Heard> {
        tokio::select! {
            biased;
            command = self.commands.1.recv() => command.map(Heard::Command),
            value = self.values.1.recv() => value.map(Heard::Value),
        }
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.iter().any(|report| matches!(report.state, State::Running | State::Held))
    }

    /// How rollouts stand, and what happened to them since the last time.
    pub(super) fn note(&mut self, reports: Vec<RolloutReport>, events: &[Event], now: WallTime) {
        for event in events {
            log(event);
            self.audit.append(WallTime::from_unix_ms(event.at_ms), Audited::Rollout(event.clone()));
        }
        self.under_way.clone_from(&reports);
        self.book.take(reports, events, now);
    }

    /// A line and an entry for each cohort whose pace is another, not for each decision.
    pub(super) fn note_paces(&self, before: &Orders, now: &Orders, reports: &[CohortReport], at: WallTime) {
        for (index, order) in now.cohorts.iter().enumerate() {
            let earlier = before.cohorts.get(index);
            if earlier.is_some_and(|earlier| earlier.pace == order.pace) {
                continue;
            }
            let (cohort, transport, interval) = (&order.key.name, order.key.transport, order.pace.interval);
            tracing::info!(%cohort, %transport, ?interval, generation = order.pace.generation, "another pace");
            let is_same = earlier.is_some_and(|earlier| earlier.pace.interval == interval);
            if is_same || earlier.is_none() {
                continue;
            }
            let change = PaceChange {
                cohort: Arc::clone(cohort),
                transport: transport.to_string(),
                from_s: earlier.map(|earlier| earlier.pace.interval.as_secs_f64()),
                interval_s: interval.as_secs_f64(),
                reason: reports.get(index).map_or("", |report| report.reason.as_str()).to_owned(),
                generation: order.pace.generation,
            };
            self.audit.append(at, Audited::Pace(change));
        }
    }

    /// What came of a command.
    pub(super) fn result(&self, id: &str, command: Command, done: Result<(), NotDone>) -> Result<Arc<Record>, NotDone> {
        let record = self.book.board().find(id).ok_or(NotDone::Unknown)?;
        match done {
            Err(NotDone::Unknown) => Err(NotDone::Refused(Refused { command, state: record.report.state })),
            Err(refused) => Err(refused),
            Ok(()) => Ok(record),
        }
    }

    /// Asks the queries of each rollout once a round. Without a server to ask each value is one that is missing.
    pub(super) fn ask(&mut self, governor: &Governor, now: Tick) {
        self.asked.retain(|id, _| self.under_way.iter().any(|report| report.spec.id == *id));
        for report in &self.under_way {
            let is_judged = matches!(report.state, State::Running | State::Held);
            let is_due = self.asked.get(&report.spec.id).is_none_or(|at| now.mono.since(*at) >= report.round);
            if !is_judged || !is_due || report.spec.gates.queries.is_empty() {
                continue;
            }
            self.asked.insert(Arc::clone(&report.spec.id), now.mono);
            let task = Asking::of(report, governor, self.asker.clone(), self.values.0.clone());
            tokio::spawn(task.run());
        }
    }

    /// What was written is on the disk when this returns.
    pub(super) fn finish(&self) {
        self.ledger.iter().for_each(Ledger::finish);
    }
}

/// The queries of one rollout in one round.
struct Asking {
    rollout: Arc<str>,
    queries: Vec<Option<WaveQuery>>,
    cohort: Arc<str>,
    asker: Option<Asker>,
    values: mpsc::Sender<Value>,
}

impl Asking {
    /// By the names in the rollout's plan: what the fleet's file does not ask any more has no value.
    fn of(report: &RolloutReport, governor: &Governor, asker: Option<Asker>, values: mpsc::Sender<Value>) -> Self {
        let known = governor.queries(&report.spec.id);
        let query = |name: &str| known.iter().find(|query| &*query.spec.name == name).cloned();
        let queries = report.spec.gates.queries.iter().map(|spec| query(&spec.name)).collect();
        let (rollout, cohort) = (Arc::clone(&report.spec.id), Arc::clone(&report.spec.cohort));
        Self { rollout, queries, cohort, asker, values }
    }

    async fn run(self) {
        for (query, asked) in self.queries.iter().enumerate() {
            let (treated, control) = match asked {
                Some(asked) => (self.value(Some(&asked.treated)).await, self.value(asked.control.as_ref()).await),
                None => (None, None),
            };
            let value = Value { rollout: Arc::clone(&self.rollout), query, sample: Sample { treated, control } };
            if self.values.send(value).await.is_err() {
                return;
            }
        }
    }

    async fn value(&self, promql: Option<&Arc<str>>) -> Option<f64> {
        let promql = filled_in(promql?, &self.cohort, &self.rollout);
        let warn = |error: &crate::source::QueryError| {
            let error: &dyn std::error::Error = error;
            tracing::warn!(rollout = %self.rollout, error, "a query of a rollout has no value");
        };
        self.asker.as_ref()?.value(&promql).await.inspect_err(warn).ok().flatten()
    }
}

/// With the cohort's name and the rollout's id in it, as they stand in a quoted string.
fn filled_in(promql: &str, cohort: &str, rollout: &str) -> String {
    let quoted = cohort.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    promql.replace("$cohort", &quoted).replace("$rollout", rollout)
}

/// A line for each step.
fn log(event: &Event) {
    let who = match &event.who {
        Who::Law => "law",
        Who::Person(name) => name,
    };
    let Event { rollout, cohort, wave, what, why, from, to, .. } = event;
    tracing::info!(%rollout, %cohort, wave, who, ?what, ?why, ?from, ?to, "rollout");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_its_cohort_whatever_that_is_called() {
        let filled = filled_in("up{cohort=\"$cohort\", rollout=\"$rollout\"}", "carrier=a\"b\\", "1-2");
        assert_eq!(filled, "up{cohort=\"carrier=a\\\"b\\\\\", rollout=\"1-2\"}");
    }
}
