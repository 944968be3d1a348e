//! Is there ground to stand on? Old, partial or missing input must never raise a probability: after an exporter dies,
//! `rate()` decays towards zero with fresh timestamps, and a law that believed it would open the gates on dead data.

use std::time::Duration;

use super::decision::Reason;
use super::traffic::Traffic;
use crate::time::{MonoTime, Tick, WallTime};

/// Polls, or scrapes, that may bring nothing new before input counts as stale.
const MISSED_MAX: u32 = 2;
/// Time between two scrapes while it is not learnt, for input that tells its age: Prometheus's own default. A shorter
/// one would take each pause of a slow scraper for an outage.
const UNLEARNT_SCRAPE_INTERVAL: Duration = Duration::from_secs(60);

/// What a tick may do with what it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// New facts: decide. `may_rise` names what forbids rises, if anything.
    Fresh {
        /// `None` = rises are allowed.
        no_rise: Option<Reason>,
    },
    /// Nothing new, and no reason to worry yet: repeat.
    Same,
    /// Hold what there is.
    Hold(Reason),
    /// Too old to hold: `min(held, fallback)`.
    Fallback,
}

/// Remembers when input was last fresh.
#[derive(Debug, Clone, PartialEq)]
pub struct Guard {
    poll_interval: Duration,
    scrape_interval: Option<Duration>,
    /// When fresh input last arrived, less the age that it already had; starts when the guard does.
    fresh_at: MonoTime,
    newest: Option<WallTime>,
}

impl Guard {
    /// A guard that has seen nothing yet.
    pub fn new(now: Tick, poll_interval: Duration) -> Self {
        Self { poll_interval, scrape_interval: None, fresh_at: now.mono, newest: None }
    }

    /// How old the newest fact is; since the start where there never was one.
    pub fn age(&self, now: Tick) -> Duration {
        now.mono.since(self.fresh_at)
    }

    /// Judges one poll; `None` = the source did not answer.
    pub fn judge(&mut self, now: Tick, traffic: Option<&Traffic>, max_age: Duration) -> Ground {
        if let Some(ground) = traffic.and_then(|t| self.take(now, t)) {
            return ground;
        }
        let age = self.age(now);
        let is_absent = traffic.filter(|t| t.demand.is_empty()).map(|t| t.received.is_some());
        match is_absent {
            _ if age > max_age => Ground::Fallback,
            Some(true) => Ground::Hold(Reason::DemandAbsent),
            Some(false) => Ground::Hold(Reason::Outage),
            None if age > self.silence_max(traffic) => Ground::Hold(Reason::Stale),
            None => Ground::Same,
        }
    }

    /// `Some` if the poll brought new facts.
    fn take(&mut self, now: Tick, traffic: &Traffic) -> Option<Ground> {
        self.scrape_interval = traffic.scrape_interval.or(self.scrape_interval);
        let over = traffic.demand_over?;
        let age = traffic.age.unwrap_or(Duration::ZERO);
        if traffic.demand.is_empty() || age > self.stale_after() {
            return None;
        }
        // Where a query cannot tell its age, each answer counts as new. A newest sample from before the last one is
        // new as well when the clock went back: only the very same sample is not.
        if traffic.age.is_some() && self.newest == Some(over.to) {
            return None;
        }
        self.newest = Some(over.to);
        self.fresh_at = now.mono.minus(age);
        let no_rise = if traffic.is_partial {
            Some(Reason::Partial)
        } else {
            traffic.received.is_none().then_some(Reason::PipelineAbsent)
        };
        Some(Ground::Fresh { no_rise })
    }

    /// How long nothing new may come before it is called stale.
    fn silence_max(&self, traffic: Option<&Traffic>) -> Duration {
        let is_learning = self.scrape_interval.is_none() && traffic.is_some_and(|t| t.age.is_some());
        let unlearnt = if is_learning { UNLEARNT_SCRAPE_INTERVAL * MISSED_MAX } else { Duration::ZERO };
        self.stale_after().max(unlearnt)
    }

    fn stale_after(&self) -> Duration {
        self.poll_interval.max(self.scrape_interval.unwrap_or_default()) * MISSED_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::super::traffic::{Demand, Interval, Rate};
    use super::*;

    const POLL: Duration = Duration::from_secs(5);
    const MAX_AGE: Duration = Duration::from_secs(300);

    fn at(seconds: u64) -> Tick {
        Tick {
            mono: MonoTime::from_start(Duration::from_secs(seconds)),
            wall: WallTime::from_unix_ms(1_000 * i64::try_from(seconds).expect("small")),
        }
    }

    /// Traffic whose newest sample was taken at `sampled` and that is read at `now`.
    fn traffic(now: u64, sampled: u64) -> Traffic {
        let over = Interval::before(at(sampled).wall, POLL);
        Traffic {
            demand: vec![Demand::new("a", None, 10.0)],
            demand_over: Some(over),
            received: Rate::new(80.0, over),
            age: Some(Duration::from_secs(now - sampled)),
            scrape_interval: Some(POLL),
            ..Traffic::default()
        }
    }

    #[test]
    fn new_samples_are_fresh_and_the_same_sample_is_not() {
        let mut guard = Guard::new(at(0), POLL);
        assert_eq!(guard.judge(at(5), Some(&traffic(5, 4)), MAX_AGE), Ground::Fresh { no_rise: None });
        assert_eq!(guard.judge(at(10), Some(&traffic(10, 4)), MAX_AGE), Ground::Same);
        assert_eq!(guard.judge(at(12), Some(&traffic(12, 10)), MAX_AGE), Ground::Fresh { no_rise: None });
    }

    #[test]
    fn silence_is_stale_after_two_polls_and_too_old_after_max_age() {
        let mut guard = Guard::new(at(0), POLL);
        guard.judge(at(5), Some(&traffic(5, 5)), MAX_AGE);
        assert_eq!(guard.judge(at(15), None, MAX_AGE), Ground::Same);
        assert_eq!(guard.judge(at(16), None, MAX_AGE), Ground::Hold(Reason::Stale));
        assert_eq!(guard.judge(at(305), None, MAX_AGE), Ground::Hold(Reason::Stale));
        assert_eq!(guard.judge(at(306), None, MAX_AGE), Ground::Fallback);
        assert_eq!(guard.judge(at(310), Some(&traffic(310, 309)), MAX_AGE), Ground::Fresh { no_rise: None });
    }

    #[test]
    fn an_answer_about_old_samples_is_as_stale_as_no_answer() {
        let mut guard = Guard::new(at(0), POLL);
        guard.judge(at(5), Some(&traffic(5, 5)), MAX_AGE);
        assert_eq!(guard.judge(at(60), Some(&traffic(60, 6)), MAX_AGE), Ground::Hold(Reason::Stale));
    }

    #[test]
    fn a_slow_scrape_is_not_stale_between_its_samples() {
        let mut guard = Guard::new(at(0), POLL);
        let slow = Traffic { scrape_interval: Some(Duration::from_secs(30)), ..traffic(5, 5) };
        guard.judge(at(5), Some(&slow), MAX_AGE);
        assert_eq!(guard.judge(at(60), None, MAX_AGE), Ground::Same);
        assert_eq!(guard.judge(at(66), None, MAX_AGE), Ground::Hold(Reason::Stale));
    }

    #[test]
    fn a_slow_scrape_is_not_stale_while_its_interval_is_being_learnt() {
        let mut guard = Guard::new(at(0), POLL);
        for now in (15..=60).step_by(5) {
            let unlearnt = Traffic { scrape_interval: None, ..traffic(now, now / 60 * 60) };
            let ground = guard.judge(at(now), Some(&unlearnt), MAX_AGE);
            assert!(!matches!(ground, Ground::Hold(_)), "{ground:?} at {now}");
        }
        let dead = Traffic { scrape_interval: None, ..traffic(181, 60) };
        assert_eq!(guard.judge(at(181), Some(&dead), MAX_AGE), Ground::Hold(Reason::Stale));
    }

    #[test]
    fn absence_of_demand_is_told_from_an_outage_of_both() {
        let mut guard = Guard::new(at(0), POLL);
        let absent = Traffic { demand: Vec::new(), demand_over: None, ..traffic(5, 5) };
        assert_eq!(guard.judge(at(5), Some(&absent), MAX_AGE), Ground::Hold(Reason::DemandAbsent));
        let outage = Traffic { received: None, ..absent };
        assert_eq!(guard.judge(at(6), Some(&outage), MAX_AGE), Ground::Hold(Reason::Outage));
    }

    #[test]
    fn partial_answers_and_a_silent_pipeline_forbid_rises() {
        let mut guard = Guard::new(at(0), POLL);
        let partial = Traffic { is_partial: true, ..traffic(5, 5) };
        assert_eq!(guard.judge(at(5), Some(&partial), MAX_AGE), Ground::Fresh { no_rise: Some(Reason::Partial) });
        let silent = Traffic { received: None, ..traffic(10, 10) };
        let ground = guard.judge(at(10), Some(&silent), MAX_AGE);
        assert_eq!(ground, Ground::Fresh { no_rise: Some(Reason::PipelineAbsent) });
    }
}
