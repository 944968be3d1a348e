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
        effect.command(at(0), 1e7, 1e6);
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
        effect.command(at(0), 1e7, 1e6);
        let settled = (1..100).find(|i| effect.judge(at(5 * i), load(5 * i, 1100.0, 100.0)) == Visibility::Settled);
        assert!(settled.is_some_and(|i| 5 * i > 300), "{settled:?}");
    }

    #[test]
    fn a_rise_that_nobody_has_asked_for_yet_is_waited_for_as_long() {
        let mut effect = Effect::new(at(-10));
        effect.judge(at(0), load(0, 100.0, 100.0));
        effect.command(at(0), 2.5e5, 1e6);
        let settled = (1..100).find(|i| effect.judge(at(5 * i), load(5 * i, 100.0, 400.0)) == Visibility::Settled);
        assert!(settled.is_some_and(|i| 5 * i > 300), "{settled:?}");
    }

    #[test]
    fn a_load_that_rests_elsewhere_has_settled_whichever_way_it_went() {
        let mut effect = Effect::new(at(-10));
        effect.judge(at(0), load(0, 100.0, 100.0));
        effect.command(at(0), 2.5e5, 1e6);
        let settled = (1..100).find(|i| effect.judge(at(5 * i), load(5 * i, 20.0, 400.0)) == Visibility::Settled);
        assert!(settled.is_some_and(|i| 5 * i < 80), "{settled:?}");
    }

    /// A hundredth a second, among intervals that differ by a twentieth by chance.
    #[test]
    fn a_slow_fall_is_no_rest() {
        let second = |to: i64, received: f64, expected: f64| {
            let over = Interval::before(at(to), Duration::from_secs(1));
            Load { over, received, expected: Some(expected), sampled: 500.0 }
        };
        let mut effect = Effect::new(at(-10));
        effect.judge(at(0), second(0, 16_000.0, 16_000.0));
        effect.command(at(0), 2_000.0, 500.0);
        for (to, chance) in (1..100).zip([0.97, 1.02, 0.99, 1.04, 1.0, 0.96].into_iter().cycle()) {
            let received = 16_000.0 * (-0.01 * to as f64).exp() * chance;
            assert_eq!(effect.judge(at(to), second(to, received, 4_000.0)), Visibility::Adopting, "at {to}");
        }
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
        effect.command(at(10), 1e6, 0.9e6);
        effect.judge(at(15), load(15, 200.0, 200.0));
        assert_eq!(effect.adoption(), None, "too small to tell");
        effect.command(at(20), 2e6, 1e6);
        effect.judge(at(25), load(25, 100.0, 100.0));
        assert_eq!(effect.adoption(), Some(Adoption::Prompt));
        effect.command(at(30), 2e6, 1e6);
        for (to, received) in [(35, 100.0), (40, 80.0), (50, 65.0), (60, 52.0)] {
            effect.judge(at(to), load(to, received, 50.0));
        }
        assert_eq!(effect.adoption(), Some(Adoption::Within(Duration::from_secs(30))));
    }

    /// Forty traces a second, read each second: by chance, one interval in three is off by a sixth.
    #[test]
    fn thin_intervals_are_pooled_until_they_tell() {
        let thin = |to: i64, received: f64| Load {
            over: Interval::before(at(to), Duration::from_secs(1)),
            received,
            expected: Some(320.0),
            sampled: 40.0,
        };
        let doubled = || {
            let mut effect = Effect::new(at(0));
            effect.judge(at(10), Load { expected: Some(160.0), sampled: 20.0, ..thin(10, 160.0) });
            effect.command(at(10), 20.0, 40.0);
            effect
        };
        // Nobody moves: chance alone shows nothing.
        let mut effect = doubled();
        for (to, received) in (11..300).zip([160.0, 210.0, 130.0, 180.0, 120.0].into_iter().cycle()) {
            assert_eq!(effect.judge(at(to), thin(to, received)), Visibility::Adopting, "at {to}");
        }
        // A small command on the way changes nothing of that.
        let mut effect = doubled();
        effect.judge(at(11), thin(11, 160.0));
        effect.command(at(11), 40.0, 37.0);
        let seen = effect.judge(at(12), Load { expected: Some(296.0), sampled: 37.0, ..thin(12, 190.0) });
        assert_eq!(seen, Visibility::Adopting);
        // All do, at once: two or three intervals tell.
        let mut effect = doubled();
        let seen: Vec<_> =
            [330.0, 290.0, 360.0].iter().zip(11..).map(|(r, to)| effect.judge(at(to), thin(to, *r))).collect();
        assert_eq!((seen[2], effect.adoption()), (Visibility::Adopted, Some(Adoption::Prompt)), "{seen:?}");
        // They ask once a minute, each at its own time: it takes about that.
        let mut effect = doubled();
        for to in 11..=70 {
            effect.judge(at(to), thin(to, 160.0 + 160.0 * (to - 10) as f64 / 60.0));
        }
        let Some(Adoption::Within(took)) = effect.adoption() else { panic!("{:?}", effect.adoption()) };
        assert!((45..80).contains(&took.as_secs()), "{took:?}");
    }

    /// By chance alone the load is near what is expected, and near what it was.
    #[test]
    fn thin_intervals_settle_nothing_where_clients_are_known_to_be_prompt_either() {
        let thin = |to: i64, received: f64, expected: f64| Load {
            over: Interval::before(at(to), Duration::from_secs(1)),
            received,
            expected: Some(expected),
            sampled: expected / 8.0,
        };
        let mut effect = Effect { adoption: Some(Adoption::Prompt), ..Effect::new(at(0)) };
        effect.judge(at(10), thin(10, 240.0, 240.0));
        effect.command(at(10), 30.0, 40.0);
        let chance = [300.0, 250.0, 330.0, 240.0, 310.0];
        let seen: Vec<_> = chance.iter().zip(11..).map(|(r, to)| effect.judge(at(to), thin(to, *r, 320.0))).collect();
        assert_eq!(seen, [Visibility::Adopting; 5]);
    }

    /// What is received lags behind what is demanded, so that the way seems to begin further back than it does.
    #[test]
    fn a_cut_that_the_load_goes_against_is_not_answered() {
        let mut effect = Effect::new(at(-10));
        effect.judge(at(0), load(0, 300.0, 300.0));
        effect.command(at(0), 1e7, 1e6);
        let settled = (1..100).find(|i| effect.judge(at(5 * i), load(5 * i, 1_100.0, 100.0)) == Visibility::Settled);
        assert!(settled.is_some_and(|i| 5 * i > 300), "{settled:?}");
    }

    #[test]
    fn small_commands_on_the_way_neither_end_a_rest_nor_put_patience_off() {
        let mut effect = Effect::new(at(-10));
        effect.judge(at(0), load(0, 1_100.0, 1_100.0));
        effect.command(at(0), 1e7, 1e6);
        let mut sampled = 1e6;
        let settled = (1..200).find(|i| {
            if i % 40 == 0 {
                effect.command(at(5 * i - 1), sampled, 0.9 * sampled);
                sampled *= 0.9;
            }
            let load = Load { sampled, ..load(5 * i, 1_100.0, sampled / 1e4) };
            effect.judge(at(5 * i), load) == Visibility::Settled
        });
        assert!(settled.is_some_and(|i| (330..=660).contains(&(5 * i))), "{settled:?}");
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
        effect.command(at(10), 1e6, 0.98e6);
        assert_eq!(effect.commanded_at, at(0));
        effect.command(at(20), 1e6, 0.96e6);
        assert_eq!(effect.commanded_at, at(20));
    }
}
