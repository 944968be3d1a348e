//! Does a command show in the data yet? SDKs adopt a probability seconds (stream) to minutes (polling) after it
//! was decided, and scrapes add their own delay. A law that rises again before its last rise shows compounds its own
//! dead time; one that measures spans a trace meanwhile measures nonsense.
//!
//! The data shows a command when an interval that began after it carries about the load that the command should cause,
//! or when the load has settled at something else (clients that ignore us), or when nobody can be waited for longer.
//! How long that takes is learnt from each large command: it tells a fleet that follows the stream from one that polls.
//!
//! Few traces in a short interval say little: a load that has not moved at all is then as near to what is expected as to
//! what it was. So after a large command, intervals are pooled from the newest backwards until they could tell the end of
//! its way from the middle; of a command whose way cannot be seen, no time is learnt.

#[cfg(test)]
mod tests;
mod way;

use std::collections::VecDeque;
use std::time::Duration;

use self::way::{Pool, Way};
use super::traffic::Interval;
use crate::time::WallTime;

/// Relative change of the offered load, at constant demand, that makes a decision a new command.
const COMMAND: f64 = 0.05;
/// Relative change from which adoption is told from noise.
const LARGE_COMMAND: f64 = 0.3;
/// Relative distance from the expected load that still counts as adopted, beside three standard deviations of noise.
const TOLERANCE: f64 = 0.1;
/// Relative change of load over expectation that still counts as settled, beside three standard deviations of noise.
const SETTLED: f64 = 0.03;
/// Time that a load must have settled for while it is not known how fast clients adopt. Clients that poll once a minute
/// move a load by a twelfth of the change in 5 s, which passes for rest.
const SETTLED_FOR: Duration = Duration::from_secs(60);
/// Part of an interval that may lie before a command that shows in it.
const LATE_MAX: f64 = 0.2;
/// A way that is shorter than this part of what is expected cannot be followed.
const WAY_MIN: f64 = 0.2;
/// Part of the way that the first intervals which tell have gone if clients are prompt,
const PROMPT: f64 = 0.75;
/// and by when they must: within half a minute, clients that ask every 20 s or more have gone less of it.
const PROMPT_WITHIN: Duration = Duration::from_secs(30);
/// Pools that are kept: of a second each, as long as anybody is waited for. The oldest ones are made one.
const POOLED_MAX: usize = 330;
/// Longest time that prompt clients take.
const PROMPT_MAX: Duration = Duration::from_millis(1_500);
/// What adoption takes in all, relative to the time until the load is within the tolerance.
const COMPLETE: f64 = 1.2;
/// Part of the way of a large command that a load must have gone for its rest to be believed.
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
    /// By which the last command changed the load, relative; of a large one that does not show yet, whatever followed.
    size: f64,
    /// When that was.
    sent_at: WallTime,
    /// Spans received before it for each trace that should be sampled since: what is received while nobody adopts it.
    start: f64,
    /// The intervals since, the newest last, and all of them together.
    since: VecDeque<Pool>,
    all: Pool,
    /// When they first told how much of the way was gone, and how much that was.
    first: Option<(WallTime, f64)>,
    /// Spans/s received in the newest interval before the command.
    load_before: f64,
    /// Spans/s received in the newest interval.
    received: f64,
    /// The newest interval since the command.
    last: Option<Interval>,
    /// The intervals in which the load rests, and since when.
    rest: Pool,
    settled_since: Option<WallTime>,
    /// It does not show yet.
    is_awaited: bool,
    /// It was adopted once.
    was_adopted: bool,
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
            sent_at: now,
            start: 0.0,
            since: VecDeque::new(),
            all: Pool::default(),
            first: None,
            load_before: 0.0,
            received: 0.0,
            last: None,
            rest: Pool::default(),
            settled_since: None,
            is_awaited: true,
            was_adopted: false,
            adoption: None,
        }
    }

    /// Notes a decision after which `after` root traces/s should be sampled, where `before` were, at the same demand.
    pub fn command(&mut self, now: WallTime, before: f64, after: f64) {
        if before <= 0.0 {
            return;
        }
        self.drift *= after / before;
        let size = (self.drift - 1.0).abs();
        if size <= COMMAND {
            return;
        }
        let is_large = size > LARGE_COMMAND;
        let is_late = now.since(self.sent_at) > PATIENCE;
        if !is_large && self.size > LARGE_COMMAND && self.is_awaited && !is_late {
            return self.amend(now);
        }
        *self = Self {
            adoption: self.adoption,
            load_before: self.received,
            received: self.received,
            size,
            start: if after > 0.0 { self.received / after } else { 0.0 },
            // Small commands one after the other must not keep a load from ever settling.
            last: self.last.filter(|_| !is_large),
            rest: if is_large { Pool::default() } else { self.rest },
            settled_since: self.settled_since.filter(|_| !is_large),
            ..Self::new(now)
        };
    }

    /// A small command while a large one does not show yet: the way to go is nearly the same.
    fn amend(&mut self, now: WallTime) {
        let fewer = 1.0 / std::mem::replace(&mut self.drift, 1.0);
        (self.commanded_at, self.load_before) = (now, self.received);
        self.start *= fewer;
        for pool in self.since.iter_mut().chain([&mut self.all, &mut self.rest]) {
            *pool = pool.at(fewer);
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
        let visibility = self.look(now, load);
        self.is_awaited = !visibility.is_visible();
        visibility
    }

    fn look(&mut self, now: WallTime, load: Load) -> Visibility {
        // A wall clock that went back would make every interval one from before the command, for as long as it went.
        self.commanded_at = self.commanded_at.min(now);
        self.sent_at = self.sent_at.min(now);
        self.received = load.received;
        if now.since(self.commanded_at) > PATIENCE {
            return Visibility::Settled;
        }
        if load.over.from < self.commanded_at {
            return if self.shows(load) { Visibility::Shown } else { Visibility::Before };
        }
        self.follow(load);
        if self.is_adopted(load) {
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
            // The load is at rest where it was: clients that ask every five minutes look like that. To take it for their
            // answer would command the same again.
            _ if self.is_unanswered(load) => PATIENCE,
            None => SETTLED_FOR,
            Some(Adoption::Prompt) => Duration::ZERO,
            Some(Adoption::Within(time)) => time,
        }
    }

    /// Nothing tells yet whether the load went the way of a large command; or it is about where it was before. A cut that the
    /// load goes against is no answer either: where what is received lags behind what is demanded, the way seems to have
    /// begun further back.
    fn is_unanswered(&self, load: Load) -> bool {
        self.way(load).is_some_and(|way| {
            let gone = way.gone(self.all);
            !way.is_told_by(self.rest) || gone < PROGRESS && (way.length < 0.0 || gone > -PROGRESS)
        })
    }

    /// The way that a large command should make the load go; none where it could not be seen.
    fn way(&self, load: Load) -> Option<Way> {
        let spans_per_trace = load.expected.filter(|e| *e > 0.0)? / load.sampled;
        let length = 1.0 - self.start / spans_per_trace;
        (self.size > LARGE_COMMAND && length.abs() >= WAY_MIN).then_some(Way { spans_per_trace, length })
    }

    /// Whether the load is what it should be; of a way that can be seen, how long that took is learnt.
    fn is_adopted(&mut self, load: Load) -> bool {
        let Some(expected) = load.expected else { return false };
        let Some(way) = self.way(load) else {
            return is_close(load.received, expected, TOLERANCE + 3.0 * load.noise());
        };
        if self.first.is_none() && way.is_told_by(self.all) {
            self.first = Some((load.over.to, way.gone(self.all)));
        }
        let newest = pooled(self.since.iter().rev()).find(|pool| way.is_told_by(*pool));
        let Some(newest) = newest.filter(|pool| way.is_gone(*pool)) else { return false };
        // Noise lets it be called adopted early. What is left of the way takes its time too.
        let early = ((1.0 - TOLERANCE / way.length.abs()) / way.gone(newest)).max(1.0);
        let took = load.over.to.since(self.sent_at).mul_f64(early);
        let is_soon = |at: WallTime| at.since(self.sent_at) <= PROMPT_WITHIN;
        self.learn(took, self.first.is_some_and(|(at, gone)| gone >= PROMPT && is_soon(at)));
        true
    }

    fn follow(&mut self, load: Load) {
        // The pipeline may be scraped less often than demand: the same facts again settle nothing.
        if self.last == Some(load.over) {
            return;
        }
        // Of windows that overlap, what is new.
        let from = self.last.map_or(load.over.from, |last| load.over.from.max(last.to));
        let interval = Pool::of(load, load.over.to.since(from));
        self.all = self.all.with(&interval);
        if self.since.len() == POOLED_MAX
            && let (Some(oldest), Some(next)) = (self.since.pop_front(), self.since.front_mut())
        {
            *next = next.with(&oldest);
        }
        self.since.push_back(interval);
        // Against all of the rest so far: from one interval to the next, a slow fall is not told from noise.
        let is_at_rest = is_close(interval.ratio(), self.rest.ratio(), SETTLED + 3.0 * interval.noise());
        if !is_at_rest {
            (self.rest, self.settled_since) = (Pool::default(), None);
        } else if self.rest.traces > 0.0 {
            self.settled_since = self.settled_since.or(Some(load.over.from));
        }
        self.rest = self.rest.with(&interval);
        self.last = Some(load.over);
    }

    /// Takes the time that the last command took, once.
    fn learn(&mut self, took: Duration, is_prompt: bool) {
        if std::mem::replace(&mut self.was_adopted, true) {
            return;
        }
        self.adoption = Some(match self.adoption {
            _ if is_prompt => Adoption::Prompt,
            // A shorter time may be luck: who asks every five minutes may ask just then.
            Some(Adoption::Within(before)) => Adoption::Within((before + took) / 2),
            _ => Adoption::Within(took),
        });
    }
}

/// The first interval, then the first two together, and so on.
fn pooled<'a>(intervals: impl Iterator<Item = &'a Pool>) -> impl Iterator<Item = Pool> {
    intervals.scan(Pool::default(), |pool, interval| {
        *pool = pool.with(interval);
        Some(*pool)
    })
}

fn is_close(a: f64, b: f64, relative: f64) -> bool {
    (a - b).abs() <= relative * b
}
