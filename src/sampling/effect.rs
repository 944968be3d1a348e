//! Does a command show in the data yet? SDKs adopt a probability seconds (stream) to minutes (polling) after it
//! was decided, and scrapes add their own delay. A law that rises again before its last rise shows compounds its own
//! dead time; one that measures spans a trace meanwhile measures nonsense.
//!
//! The data shows a command when an interval that began after it carries about the load that the command should cause,
//! or when the load has settled at something else (clients that ignore us), or when nobody can be waited for longer.
//! How long that takes is learnt from each large command: it tells a fleet that follows the stream from one that polls.

use std::time::Duration;

use super::traffic::Interval;
use crate::time::WallTime;

/// Relative change of the offered load, at constant demand, that makes a decision a new command.
const COMMAND: f64 = 0.05;
/// Relative change from which adoption is told from noise.
const LARGE_COMMAND: f64 = 0.3;
/// Relative distance from the expected load that still counts as adopted, beside three standard deviations of noise.
const TOLERANCE: f64 = 0.1;
/// Relative change of load over expectation between two intervals that still counts as settled, beside two standard
/// deviations of noise.
const SETTLED: f64 = 0.03;
/// Time that a load must have settled for while it is not known how fast clients adopt. Clients that poll once a minute
/// move a load by a twelfth of the change in 5 s, which passes for rest.
const SETTLED_FOR: Duration = Duration::from_secs(60);
/// Part of an interval that may lie before a command that shows in it.
const LATE_MAX: f64 = 0.2;
/// Longest time that prompt clients take.
const PROMPT_MAX: Duration = Duration::from_millis(1_500);
/// What adoption takes in all, relative to the time until the load is within the tolerance.
const COMPLETE: f64 = 1.2;
/// Part of the way that a load must have gone for its rest to be believed after [`SETTLED_FOR`].
const PROGRESS: f64 = 0.2;
/// Intervals at rest before the first command.
const SETTLED_FIRST: u32 = 2;
/// Nobody is waited for longer: the slowest known client polls every 5 minutes.
const PATIENCE: Duration = Duration::from_secs(330);

/// Follows commands into the data.
#[derive(Debug, Clone, PartialEq)]
pub struct Effect {
    commanded_at: WallTime,
    /// Offered load at constant demand, relative to the last command.
    drift: f64,
    /// By which the last command changed the load, relative.
    size: f64,
    /// Spans/s received in the newest interval before the command.
    load_before: f64,
    /// Spans/s received in the newest interval.
    received: f64,
    /// The newest interval since the command, and spans received for each trace that should be sampled in it.
    last: Option<(Interval, f64)>,
    settled_since: Option<WallTime>,
    /// An interval that began after the command was judged.
    was_judged: bool,
    is_visible: bool,
    adoption: Option<Adoption>,
}

/// How fast clients do what they are told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Adoption {
    /// Before the first interval that could show it.
    Prompt,
    /// Within about this time.
    Within(Duration),
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
    /// Root traces/s that they should sample.
    pub sampled: f64,
}

impl Load {
    /// Relative standard deviation of what is received, by chance.
    pub fn noise(&self) -> f64 {
        1.0 / (self.sampled * self.over.length().as_secs_f64()).max(1.0).sqrt()
    }
}

/// How an interval relates to the last command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// It began before the command.
    Before,
    /// It began just before the command, and what it carries is what was before for a moment and then what the command
    /// should cause.
    Shown,
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
        matches!(self, Self::Shown | Self::Adopted | Self::Settled)
    }
}

impl Effect {
    /// Nothing was commanded yet: the clients' first probability counts as a command at `now`.
    pub fn new(now: WallTime) -> Self {
        Self {
            commanded_at: now,
            drift: 1.0,
            size: 0.0,
            load_before: 0.0,
            received: 0.0,
            last: None,
            settled_since: None,
            was_judged: false,
            is_visible: false,
            adoption: None,
        }
    }

    /// Notes a decision that multiplies the offered load, at constant demand, by `factor`.
    pub fn command(&mut self, now: WallTime, factor: f64) {
        self.drift *= factor;
        let size = (self.drift - 1.0).abs();
        if size > COMMAND {
            let is_large = size > LARGE_COMMAND;
            *self = Self {
                adoption: self.adoption,
                load_before: self.received,
                received: self.received,
                size,
                // Small commands one after the other must not keep a load from ever settling.
                last: self.last.filter(|_| !is_large),
                settled_since: self.settled_since.filter(|_| !is_large),
                ..Self::new(now)
            };
        }
    }

    /// Input comes back after a time in which nothing was seen, and something else may have been served: what is served
    /// now counts as the clients' first probability.
    pub fn resume(&mut self, now: WallTime) {
        *self = Self { adoption: self.adoption, ..Self::new(now) };
    }

    /// Whether the last command has had the time that clients take, and a little more.
    pub fn is_complete(&self, now: WallTime) -> bool {
        let takes = match self.adoption {
            Some(Adoption::Prompt) => Duration::ZERO,
            Some(Adoption::Within(time)) => time.mul_f64(COMPLETE),
            None => SETTLED_FOR,
        };
        now.since(self.commanded_at) >= takes
    }

    /// How fast clients adopt; `None` until a large command showed it.
    pub fn adoption(&self) -> Option<Adoption> {
        self.adoption
    }

    /// Judges an interval; each is given once, in order.
    pub fn judge(&mut self, now: WallTime, load: Load) -> Visibility {
        // A wall clock that went back would make every interval one from before the command, for as long as it went.
        self.commanded_at = self.commanded_at.min(now);
        self.received = load.received;
        if now.since(self.commanded_at) > PATIENCE {
            return Visibility::Settled;
        }
        if load.over.from < self.commanded_at {
            return if self.shows(load) { Visibility::Shown } else { Visibility::Before };
        }
        let noise = load.noise();
        let is_first = !std::mem::replace(&mut self.was_judged, true);
        self.follow(load, noise);
        let is_adopted = load.expected.is_some_and(|e| is_close(load.received, e, TOLERANCE + 3.0 * noise));
        if is_adopted {
            self.learn(load.over, is_first);
            return Visibility::Adopted;
        }
        let has_settled =
            self.settled_since.is_some_and(|since| load.over.to.since(since) >= self.settles_within(load));
        if has_settled { Visibility::Settled } else { Visibility::Adopting }
    }

    /// Clients that adopt at once have done so by the end of an interval that began just before the command.
    fn shows(&self, load: Load) -> bool {
        let (length, Some(expected)) = (load.over.length(), load.expected) else { return false };
        let late = self.commanded_at.since(load.over.from);
        if self.adoption != Some(Adoption::Prompt) || late > length.mul_f64(LATE_MAX) {
            return false;
        }
        let tail = (late + PROMPT_MAX).as_secs_f64() / length.as_secs_f64().max(1e-3);
        let mixed = tail * self.load_before + (1.0 - tail) * expected;
        let noise = load.noise();
        let tolerance = TOLERANCE + 3.0 * noise;
        let (low, high) = (expected.min(mixed), expected.max(mixed));
        (low * (1.0 - tolerance)..=high * (1.0 + tolerance)).contains(&load.received)
    }

    /// How long a load must rest to have settled.
    fn settles_within(&self, load: Load) -> Duration {
        match self.adoption {
            // Nothing was commanded yet: there is nobody to wait for.
            None if self.size == 0.0 => load.over.length() * SETTLED_FIRST,
            // A cut, and the load at rest where it was: clients that ask every five minutes look like that. To take it for
            // their answer would cut again by as much.
            _ if self.is_cut_unanswered(load) => PATIENCE,
            None => SETTLED_FOR,
            Some(Adoption::Prompt) => Duration::ZERO,
            Some(Adoption::Within(time)) => time,
        }
    }

    /// A large cut, of which the load has gone less than a part of the way.
    fn is_cut_unanswered(&self, load: Load) -> bool {
        let way = self.load_before - load.expected.unwrap_or(self.load_before);
        self.size > LARGE_COMMAND && way > 0.0 && self.load_before - load.received < PROGRESS * way
    }

    fn follow(&mut self, load: Load, noise: f64) {
        // The pipeline may be scraped less often than demand: the same facts again settle nothing.
        if self.last.is_some_and(|(over, _)| over == load.over) {
            return;
        }
        let ratio = if load.sampled > 0.0 { load.received / load.sampled } else { 0.0 };
        let is_at_rest = self.last.is_some_and(|(_, before)| is_close(ratio, before, SETTLED + 2.0 * noise));
        let since = self.settled_since.filter(|_| is_at_rest);
        self.settled_since = since.or_else(|| is_at_rest.then_some(load.over.from));
        self.last = Some((load.over, ratio));
    }

    fn learn(&mut self, over: Interval, is_first: bool) {
        if std::mem::replace(&mut self.is_visible, true) || self.size < LARGE_COMMAND {
            return;
        }
        let took = over.to.since(self.commanded_at);
        self.adoption = Some(match self.adoption {
            _ if is_first => Adoption::Prompt,
            Some(Adoption::Within(before)) => Adoption::Within((before + took) / 2),
            _ => Adoption::Within(took),
        });
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
        Load { over, received, expected: Some(expected), sampled: 1e6 }
    }

    #[test]
    fn an_interval_that_began_before_the_command_shows_nothing() {
        let mut effect = Effect::new(at(10));
        assert_eq!(effect.judge(at(14), load(14, 100.0, 100.0)), Visibility::Before);
        assert_eq!(effect.judge(at(15), load(15, 100.0, 100.0)), Visibility::Adopted);
    }

    #[test]
    fn a_load_that_moves_is_being_adopted_and_one_that_rests_for_long_has_settled() {
        let mut effect = Effect::new(at(-10));
        effect.judge(at(0), load(0, 1100.0, 1100.0));
        effect.command(at(0), 0.1);
        let moving = [1000.0, 900.0, 800.0, 700.0, 650.0];
        let resting = [640.0; 20];
        let seen: Vec<_> = moving
            .iter()
            .chain(&resting)
            .zip(1..)
            .map(|(r, i)| effect.judge(at(5 * i), load(5 * i, *r, 100.0)))
            .collect();
        let settled = seen.iter().position(|v| *v == Visibility::Settled).expect("it rests");
        assert!((15..19).contains(&settled), "{seen:?}");
        assert!(seen[..settled].iter().all(|v| *v == Visibility::Adopting), "{seen:?}");
    }

    #[test]
    fn a_load_that_rests_where_it_was_is_waited_for_as_long_as_anybody_takes() {
        let mut effect = Effect::new(at(-10));
        effect.judge(at(0), load(0, 1100.0, 1100.0));
        effect.command(at(0), 0.1);
        let settled = (1..100).find(|i| effect.judge(at(5 * i), load(5 * i, 1100.0, 100.0)) == Visibility::Settled);
        assert!(settled.is_some_and(|i| 5 * i > 300), "{settled:?}");
    }

    #[test]
    fn before_the_first_command_two_intervals_at_rest_are_enough() {
        let mut effect = Effect::new(at(0));
        let settled = (1..100).find(|i| effect.judge(at(5 * i), load(5 * i, 640.0, 100.0)) == Visibility::Settled);
        assert_eq!(settled, Some(3));
    }

    #[test]
    fn a_large_command_tells_how_fast_clients_adopt() {
        let mut effect = Effect::new(at(0));
        effect.command(at(10), 0.9);
        effect.judge(at(15), load(15, 100.0, 100.0));
        assert_eq!(effect.adoption(), None, "too small to tell");
        effect.command(at(20), 0.5);
        effect.judge(at(25), load(25, 100.0, 100.0));
        assert_eq!(effect.adoption(), Some(Adoption::Prompt));
        effect.command(at(30), 0.5);
        for (to, received) in [(35, 200.0), (40, 160.0), (50, 130.0), (60, 105.0)] {
            effect.judge(at(to), load(to, received, 100.0));
        }
        assert_eq!(effect.adoption(), Some(Adoption::Within(Duration::from_secs(30))));
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
