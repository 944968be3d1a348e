//! Does the last command show in the data yet? SDKs adopt a probability seconds (stream) to minutes (polling) after it
//! was decided, and scrapes add their own delay. A law that rises again before its last rise shows compounds its own
//! dead time; one that measures spans a trace meanwhile measures nonsense.
//!
//! The data shows a command when an interval that began after it carries about the load that the command should cause,
//! or when the load has settled at something else (clients that ignore us), or when nobody can be waited for longer.

use std::time::Duration;

use super::traffic::Interval;
use crate::time::WallTime;

/// Relative change of the offered load, at constant demand, that makes a decision a new command.
const COMMAND: f64 = 0.05;
/// Relative distance from the expected load that still counts as adopted, beside three standard deviations of noise.
const TOLERANCE: f64 = 0.1;
/// Relative change between two intervals that still counts as settled, beside two standard deviations of noise.
const SETTLED: f64 = 0.03;
/// Settled intervals in a row that end the wait. Clients that poll once in 60 s with random phases move the load by
/// more than that between intervals of 5 s.
const SETTLED_INTERVALS: u32 = 2;
/// Nobody is waited for longer: the slowest known client polls every 5 minutes.
const PATIENCE: Duration = Duration::from_secs(330);

/// Follows commands into the data.
#[derive(Debug, Clone, PartialEq)]
pub struct Effect {
    commanded_at: WallTime,
    /// Offered load at constant demand, relative to the last command.
    drift: f64,
    last: Option<(Interval, f64)>,
    settled: u32,
}

/// What one interval carried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// The interval.
    pub over: Interval,
    /// Spans/s received.
    pub received: f64,
    /// Spans/s that the served probabilities should cause; `None` while spans a trace are unknown.
    pub expected: Option<f64>,
    /// Traces that `received` stands for, for the noise.
    pub traces: f64,
}

/// How an interval relates to the last command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// It began before the command.
    Before,
    /// The command is still being adopted.
    Adopting,
    /// It carries what the command should cause.
    Adopted,
    /// It has settled, at something else than expected.
    Settled,
}

impl Visibility {
    /// Whether a further rise may be based on it.
    pub fn is_visible(self) -> bool {
        matches!(self, Self::Adopted | Self::Settled)
    }
}

impl Effect {
    /// Nothing was commanded yet: the clients' first probability counts as a command at `now`.
    pub fn new(now: WallTime) -> Self {
        Self { commanded_at: now, drift: 1.0, last: None, settled: 0 }
    }

    /// Notes a decision that multiplies the offered load, at constant demand, by `factor`.
    pub fn command(&mut self, now: WallTime, factor: f64) {
        self.drift *= factor;
        if (self.drift - 1.0).abs() > COMMAND {
            *self = Self::new(now);
        }
    }

    /// Judges an interval; each is given once, in order.
    pub fn judge(&mut self, now: WallTime, load: Load) -> Visibility {
        // A wall clock that went back would make every interval one from before the command, for as long as it went.
        self.commanded_at = self.commanded_at.min(now);
        if now.since(self.commanded_at) > PATIENCE {
            return Visibility::Settled;
        }
        if load.over.from < self.commanded_at {
            return Visibility::Before;
        }
        self.count_settled(load);
        let noise = 1.0 / load.traces.max(1.0).sqrt();
        let is_adopted = load.expected.is_some_and(|e| is_close(load.received, e, TOLERANCE + 3.0 * noise));
        match is_adopted {
            true => Visibility::Adopted,
            false if self.settled >= SETTLED_INTERVALS => Visibility::Settled,
            false => Visibility::Adopting,
        }
    }

    fn count_settled(&mut self, load: Load) {
        // The pipeline may be scraped less often than demand: the same facts again settle nothing.
        if self.last.is_some_and(|(over, _)| over == load.over) {
            return;
        }
        let noise = 2.0 / load.traces.max(1.0).sqrt();
        let is_settled = self.last.is_some_and(|(_, r)| is_close(load.received, r, SETTLED + noise));
        self.settled = if is_settled { self.settled + 1 } else { 0 };
        self.last = Some((load.over, load.received));
    }
}

fn is_close(a: f64, b: f64, relative: f64) -> bool {
    (a - b).abs() <= relative * b
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> WallTime {
        WallTime::from_unix_ms(1000 * seconds)
    }

    fn load(to: i64, received: f64, expected: f64) -> Load {
        let over = Interval::before(at(to), Duration::from_secs(5));
        Load { over, received, expected: Some(expected), traces: 1e6 }
    }

    #[test]
    fn an_interval_that_began_before_the_command_shows_nothing() {
        let mut effect = Effect::new(at(10));
        assert_eq!(effect.judge(at(14), load(14, 100.0, 100.0)), Visibility::Before);
        assert_eq!(effect.judge(at(15), load(15, 100.0, 100.0)), Visibility::Adopted);
    }

    #[test]
    fn a_load_that_moves_is_being_adopted_and_one_that_rests_has_settled() {
        let mut effect = Effect::new(at(0));
        let moving = [1000.0, 900.0, 800.0, 700.0, 650.0, 640.0, 635.0];
        let seen: Vec<_> =
            moving.iter().zip(1..).map(|(r, i)| effect.judge(at(5 * i), load(5 * i, *r, 100.0))).collect();
        let (waiting, settled) = seen.split_at(6);
        assert!(waiting.iter().all(|v| *v == Visibility::Adopting), "{seen:?}");
        assert_eq!(settled, [Visibility::Settled]);
    }

    #[test]
    fn patience_ends() {
        let mut effect = Effect::new(at(0));
        assert_eq!(effect.judge(at(331), load(331, 7.0, 100.0)), Visibility::Settled);
    }

    #[test]
    fn a_wall_clock_that_goes_back_delays_nothing() {
        let mut effect = Effect::new(at(3_600));
        assert_eq!(effect.judge(at(10), load(10, 100.0, 100.0)), Visibility::Before);
        assert_eq!(effect.judge(at(15), load(15, 100.0, 100.0)), Visibility::Adopted);
    }

    #[test]
    fn small_changes_add_up_to_a_command() {
        let mut effect = Effect::new(at(0));
        effect.command(at(10), 0.98);
        assert_eq!(effect.commanded_at, at(0));
        effect.command(at(20), 0.96);
        assert_eq!(effect.commanded_at, at(20));
    }
}
