//! When to poll, so that each poll lands just after a scrape.
//!
//! A poll on a free-running timer meets a sample at a random age: half a scrape interval on average, which is a third
//! of all that a surge loses. The samples' own times tell when the next one is due, and the poll is moved to just behind
//! it. Time is cut into windows, one poll interval long, and there is one poll in each: behind the scrape that falls
//! into the window, or in its middle where none does. So there are never more polls than the interval allows, a gap is
//! always shorter than two intervals, and any ratio of scrape to poll interval finds its place. A wrong prediction
//! moves one poll by at most half an interval and is forgotten at the next.
//!
//! A sample can be read some time after its own timestamp: the scrape has to end and to be stored. That delay is learnt
//! as a high quantile, because to come a moment too early costs a whole scrape interval, and to come later costs
//! the moment: up by a factor at each miss, down by a percent at each hit. A miss may also be a scrape that failed; while
//! nothing tells which, the delay rises to a twelfth of the interval at most.
//!
//! Limits: one phase. What is scraped at several phases within the interval is told by whoever gives the age: the age
//! of the newest sample at the phase to lock to. Without an age the polls run free.

use std::time::Duration;

use crate::time::MonoTime;

/// Delay from a sample's time to a poll that is tried first. A local scrape is stored within a few milliseconds.
const DELAY_FIRST: Duration = Duration::from_millis(100);
/// The shortest delay: clocks are known no better.
const DELAY_MIN: Duration = Duration::from_millis(20);
/// The first and the shortest delay as parts of the scrape interval, where that is short.
const DELAY_FIRST_PART: u32 = 20;
const DELAY_MIN_PART: u32 = 50;
/// The longest delay in scrape intervals: of a sample that is known to come late, and of one that may be missing.
const DELAY_MAX: f64 = 0.75;
const DELAY_MAX_UNSURE: f64 = 1.0 / 12.0;
/// Growth of the delay at a sample that was not there, and decay at one that was: one miss in forty holds the balance.
const GROWTH: f64 = 1.5;
const DECAY: f64 = 0.99;
/// Scrapes without a new sample after which the polls run free.
const SILENT_MAX: u32 = 4;
/// Largest part of the poll interval by which the windows move later in one tick, to keep the scrape away from their
/// edge. They never move earlier.
const SLEW_PART: u32 = 64;

/// Places the polls of one loop.
#[derive(Debug, Clone)]
pub struct Phase {
    poll_interval: Duration,
    /// The middle of the last poll's window.
    due: Option<MonoTime>,
    rhythm: Option<Rhythm>,
    /// From a sample's time to the poll behind it; `None` before the first sample.
    delay: Option<Duration>,
    /// The sample that the coming poll was placed behind.
    aim: Option<MonoTime>,
    /// The sample that the last poll should have seen and did not.
    missed: Option<MonoTime>,
}

/// What is known about the scrapes.
#[derive(Debug, Clone, Copy)]
struct Rhythm {
    newest: MonoTime,
    interval: Duration,
}

impl Phase {
    /// Runs free until it has seen a sample's age. `poll_interval` must not be zero.
    pub fn new(poll_interval: Duration) -> Self {
        assert!(!poll_interval.is_zero(), "a loop has an interval");
        Self { poll_interval, due: None, rhythm: None, delay: None, aim: None, missed: None }
    }

    /// What a poll saw: at `now`, the newest sample was `age` old, and `is_new` if no poll before had seen it. Polls
    /// that fail, or cannot tell, say `None`.
    pub fn observe(&mut self, now: MonoTime, age: Option<Duration>, scrape_interval: Option<Duration>, is_new: bool) {
        let (aim, missed) = (self.aim.take(), self.missed.take());
        let Some((age, interval)) = age.zip(scrape_interval.filter(|interval| !interval.is_zero())) else {
            self.rhythm = None;
            return;
        };
        let rhythm = Rhythm { newest: now.minus(age), interval };
        self.rhythm = Some(rhythm);
        let delay = self.delay.unwrap_or(DELAY_FIRST.min(interval / DELAY_FIRST_PART)).as_secs_f64();
        let interval = interval.as_secs_f64();
        let is_late = is_new && missed.is_some_and(|missed| rhythm.is_newest(missed));
        self.delay = Some(Duration::from_secs_f64(match aim {
            _ if is_late => (delay * GROWTH).min(interval * DELAY_MAX),
            Some(aim) if rhythm.has(aim) => (delay * DECAY).max(rhythm.delay_min().as_secs_f64()),
            Some(_) if is_new => (delay * GROWTH).min(interval * DELAY_MAX),
            Some(_) => delay.max((delay * GROWTH).min(interval * DELAY_MAX_UNSURE)),
            None => delay,
        }));
        self.missed = aim.filter(|aim| !rhythm.has(*aim));
    }

    /// When to poll next: behind the next scrape, never before `now`. Call it once a poll.
    pub fn next_poll(&mut self, now: MonoTime) -> MonoTime {
        let due = self.due.map_or(now.plus(self.poll_interval), |due| due.plus(self.poll_interval).max(now));
        let Some((sample, at)) = self.behind_a_scrape(due, now) else {
            self.due = Some(due);
            return due;
        };
        self.due = Some(due.plus(at.since(due).min(self.poll_interval / SLEW_PART)));
        self.aim = Some(sample);
        at
    }

    /// The scrape nearest to the middle of the window around `due`, and when to poll for it.
    fn behind_a_scrape(&self, due: MonoTime, now: MonoTime) -> Option<(MonoTime, MonoTime)> {
        let (rhythm, delay) = self.rhythm.zip(self.delay)?;
        if due.since(rhythm.newest) > rhythm.interval * SILENT_MAX + self.poll_interval {
            return None;
        }
        let half = self.poll_interval / 2;
        let (from, to) = (due.minus(half).max(now), due.plus(half));
        let readable = rhythm.newest.plus(delay);
        let nearest = (due.since(readable).as_secs_f64() / rhythm.interval.as_secs_f64()).round() as u32;
        // The nearest may be over already.
        let scrapes = [nearest.max(1), nearest.saturating_add(1)];
        let polls =
            scrapes.map(|nth| (rhythm.newest.plus(rhythm.interval * nth), readable.plus(rhythm.interval * nth)));
        polls.into_iter().find(|(_, at)| from <= *at && *at < to)
    }
}

impl Rhythm {
    /// The sample, or a later one, was seen.
    fn has(self, sample: MonoTime) -> bool {
        self.newest.plus(self.interval / 2) > sample
    }

    /// It was the newest one seen.
    fn is_newest(self, sample: MonoTime) -> bool {
        self.has(sample) && sample.plus(self.interval / 2) > self.newest
    }

    fn delay_min(self) -> Duration {
        DELAY_MIN.min(self.interval / DELAY_MIN_PART)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: f64 = 1.0;

    /// A server that scrapes at `phase + k x interval`; a sample can be read some time after.
    #[derive(Debug, Clone)]
    struct Server {
        interval: f64,
        phase: f64,
        delay: fn(u64) -> f64,
        is_scraped: fn(u64) -> bool,
    }

    impl Server {
        fn every(interval: f64, phase: f64) -> Self {
            Self { interval, phase, delay: |_| 0.01, is_scraped: |_| true }
        }

        /// The newest sample that can be read at `now`: its number.
        fn newest(&self, now: f64) -> Option<u64> {
            let last = ((now - self.phase) / self.interval).floor();
            (0..20)
                .map(|back| last - f64::from(back))
                .take_while(|n| *n >= 0.0)
                .map(|n| n as u64)
                .find(|n| (self.is_scraped)(*n) && self.at(*n) + (self.delay)(*n) <= now)
        }

        fn at(&self, sample: u64) -> f64 {
            self.phase + sample as f64 * self.interval
        }
    }

    /// One poll: when, and the age of what it saw.
    type Poll = (f64, Option<f64>);

    fn polls(phase: &mut Phase, server: &Server, from: f64, to: f64) -> Vec<Poll> {
        let (mut now, mut seen, mut polls) = (from, None, Vec::new());
        while now < to {
            let newest = server.newest(now);
            let age = newest.map(|n| now - server.at(n));
            let interval = newest.filter(|n| *n > 1).map(|_| Duration::from_secs_f64(server.interval));
            phase.observe(mono(now), age.map(Duration::from_secs_f64), interval, newest != seen);
            (seen, now) = (newest, {
                polls.push((now, age));
                seconds(phase.next_poll(mono(now)))
            });
        }
        polls
    }

    fn mono(seconds: f64) -> MonoTime {
        MonoTime::from_start(Duration::from_secs_f64(seconds))
    }

    fn seconds(at: MonoTime) -> f64 {
        at.since(MonoTime::default()).as_secs_f64()
    }

    fn poll_every(interval: f64) -> Phase {
        Phase::new(Duration::from_secs_f64(interval))
    }

    /// Mean time from a sample to the first poll that sees it, or a later one, over the samples in `from..to`.
    fn mean_lag(server: &Server, polls: &[Poll], from: f64, to: f64) -> f64 {
        let samples = (0..).map(|n| server.at(n)).skip_while(|at| *at < from).take_while(|at| *at < to);
        let seen = |at: f64| polls.iter().find(|(now, age)| age.is_some_and(|age| now - age >= at - 1e-6));
        let lags: Vec<f64> = samples.map(|at| seen(at).map_or(to - at, |(now, _)| now - at)).collect();
        lags.iter().sum::<f64>() / lags.len() as f64
    }

    #[test]
    fn the_poll_after_the_first_known_interval_is_behind_the_scrape() {
        let server = Server::every(5.0 * SECOND, 1.7);
        let polls = polls(&mut poll_every(5.0), &server, 0.0, 60.0);
        let ages: Vec<f64> = polls.iter().filter_map(|(_, age)| *age).map(|age| (age * 1e3).round() / 1e3).collect();
        assert_eq!(ages[..5], [3.3, 3.3, 3.3, 0.1, 0.099]);
        assert!(ages[3..].iter().all(|age| *age < 0.11), "{ages:?}");
    }

    #[test]
    fn any_ratio_of_the_intervals_keeps_the_rate_and_meets_the_scrapes() {
        let table = [
            // scrape, poll, mean lag at most
            (5.0, 5.0, 0.11),
            (15.0, 5.0, 0.11),
            (60.0, 5.0, 0.11),
            (9.0, 5.0, 0.11),
            (5.4, 5.0, 0.11),
            (4.9, 5.0, 0.3),
            (5.001, 5.0, 0.11),
        ];
        for (scrape, poll, lag_max) in table {
            let server = Server::every(scrape, 2.9);
            let polls = polls(&mut poll_every(poll), &server, 0.0, 2000.0);
            let lag = mean_lag(&server, &polls, 200.0, 1900.0);
            assert!(lag <= lag_max, "scrape {scrape}, poll {poll}: {lag}");
            let expected = 2000.0 / poll;
            assert!((expected * 0.98..=expected + 1.5).contains(&(polls.len() as f64)), "{} polls", polls.len());
        }
    }

    #[test]
    fn a_faster_scrape_is_met_at_its_newest_sample() {
        let server = Server::every(1.0, 0.4);
        let polls = polls(&mut poll_every(5.0), &server, 0.0, 500.0);
        assert!(polls[3..].iter().all(|(_, age)| age.is_some_and(|age| age < 0.06)), "{polls:?}");
        assert!(polls.windows(2).skip(3).all(|pair| (pair[1].0 - pair[0].0 - 5.0).abs() < 0.1));
    }

    #[test]
    fn a_late_sample_is_waited_for_and_a_missing_one_costs_little() {
        let late = Server { delay: |_| 1.3, ..Server::every(5.0, 1.0) };
        let seen = polls(&mut poll_every(5.0), &late, 0.0, 1000.0);
        let lag = mean_lag(&late, &seen, 100.0, 950.0);
        assert!((1.3..2.0).contains(&lag), "{lag}");
        let holey = Server { is_scraped: |n| n % 7 != 3, ..Server::every(5.0, 1.0) };
        let seen = polls(&mut poll_every(5.0), &holey, 0.0, 1000.0);
        let worst = seen.iter().skip(10).filter_map(|(_, age)| *age).filter(|age| *age < 5.0).fold(0.0, f64::max);
        assert!(worst <= 5.0 / 12.0 + 0.001, "{worst}");
    }

    #[test]
    fn an_unknown_age_a_silent_server_and_a_stepped_clock_let_the_polls_run_free() {
        let mut phase = poll_every(5.0);
        polls(&mut phase, &Server::every(5.0, 1.7), 0.0, 100.0);
        let free = |phase: &mut Phase, age: &dyn Fn(f64) -> Option<f64>| {
            let (mut now, mut gaps) = (100.0, Vec::new());
            for _ in 0..30 {
                let age = age(now).map(Duration::from_secs_f64);
                phase.observe(mono(now), age, Some(Duration::from_secs(5)), false);
                let next = seconds(phase.next_poll(mono(now)));
                gaps.push(next - now);
                now = next;
            }
            gaps
        };
        let unknown = free(&mut phase.clone(), &|_| None);
        assert!(unknown[1..].iter().all(|gap| (gap - 5.0).abs() < 1e-6), "{unknown:?}");
        let silent = free(&mut phase.clone(), &|now| Some(now - 96.7));
        assert!(silent[6..].iter().all(|gap| (gap - 5.0).abs() < 1e-6), "{silent:?}");
        // A clock that jumps about at every poll: never more than one poll a window.
        let stepped = free(&mut phase, &|now| Some(now * 7.3 % 11.0));
        assert!((stepped.iter().sum::<f64>() - 150.0).abs() < 5.0 && stepped.iter().all(|gap| *gap < 10.0));
    }

    #[test]
    fn a_poll_that_took_too_long_is_followed_by_one_and_not_by_all_that_were_missed() {
        let mut phase = poll_every(5.0);
        phase.next_poll(mono(0.0));
        assert_eq!(seconds(phase.next_poll(mono(1000.0))), 1000.0);
        assert_eq!(seconds(phase.next_poll(mono(1000.1))), 1005.0);
    }

    proptest! {
        #[test]
        fn it_locks_within_a_few_scrapes_and_never_polls_faster_than_allowed(
            poll in 0.5..30.0f64, ratio in 0.1..8.0f64, phase in 0.0..1.0f64, is_equal: bool, jitter in 0u64..4,
        ) {
            let scrape = if is_equal { poll } else { poll * ratio };
            // Delays of a hundredth of the interval, and of up to three more by jitter, are learnt.
            let delays: [fn(u64) -> f64; 4] = [
                |_| 0.01,
                |n| 0.01 + (n * 7919 % 100) as f64 * 1e-4,
                |n| 0.01 + (n * 7919 % 100) as f64 * 2e-4,
                |n| 0.01 + (n * 7919 % 100) as f64 * 3e-4,
            ];
            // In units of the scrape interval.
            let server = Server { delay: delays[jitter as usize], ..Server::every(1.0, phase) };
            let poll = poll / scrape;
            let length = 300.0 * poll.max(1.0);
            let polls = polls(&mut poll_every(poll), &server, 0.0, length);
            let from = 8.0 * poll.max(1.0);
            let lag = if poll <= 1.0 {
                mean_lag(&server, &polls, from, length - 2.0)
            } else {
                let ages: Vec<f64> = polls.iter().filter(|p| p.0 > from).filter_map(|p| p.1).collect();
                ages.iter().sum::<f64>() / ages.len() as f64
            };
            prop_assert!(lag < 0.1, "mean lag {lag}");
            let allowed = length / poll + 1.5;
            prop_assert!(polls.len() as f64 <= allowed, "{} polls, {allowed} allowed", polls.len());
            prop_assert!(polls.len() as f64 >= allowed * 0.97 - 2.0, "{} polls of {allowed}", polls.len());
            prop_assert!(polls.windows(2).all(|pair| pair[1].0 - pair[0].0 < 2.0 * poll * (1.0 + 1.0 / 32.0)));
        }
    }
}
