//! When to try again and whether to poll meanwhile: the follower's arithmetic, without a clock or a random source of
//! its own (`unit` is a random number in [0, 1)).

use std::time::{Duration, Instant};

use super::Timing;

/// How far polls and reports are spread about their interval.
const SPREAD: f64 = 0.2;

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// After it had been healthy.
    Broke,
    /// Before it was, or it could not be opened.
    Failed,
    /// The server does not know it.
    Unimplemented,
}

/// Where the follower stands.
#[derive(Debug)]
pub(super) struct Schedule {
    timing: Timing,
    /// In a row.
    failures: u32,
    is_unimplemented: bool,
    next_poll: Option<Instant>,
}

impl Schedule {
    pub(super) fn new(timing: Timing) -> Self {
        Self { timing, failures: 0, is_unimplemented: false, next_poll: None }
    }

    /// Whether to poll now. Counts that poll as done.
    pub(super) fn stream_failed(&mut self, failure: Failure, now: Instant, unit: f64) -> bool {
        self.is_unimplemented = failure == Failure::Unimplemented;
        if failure == Failure::Broke {
            (self.failures, self.next_poll) = (1, None);
            return false;
        }
        self.failures = self.failures.saturating_add(1);
        let is_wanted = self.is_unimplemented || self.failures >= self.timing.stream_tries;
        let is_due = self.next_poll.is_none_or(|at| at <= now);
        if is_wanted && is_due {
            self.next_poll = Some(now + spread(self.timing.poll_interval, unit));
        }
        is_wanted && is_due
    }

    /// How long to wait before the next try: not beyond the next poll, and all the way to it where the server does not
    /// know the stream.
    pub(super) fn pause(&self, now: Instant, unit: f64) -> Duration {
        let to_poll = self.next_poll.map(|at| at.saturating_duration_since(now));
        match to_poll {
            Some(to_poll) if self.is_unimplemented => to_poll,
            Some(to_poll) => to_poll.min(self.backoff(unit)),
            None => self.backoff(unit),
        }
    }

    /// Uniform from the shortest pause to an upper end that doubles with each failure.
    fn backoff(&self, unit: f64) -> Duration {
        let Timing { pause_min, pause_first, pause_max, .. } = self.timing;
        let doublings = self.failures.saturating_sub(1).min(31);
        let upper = pause_first.saturating_mul(1 << doublings).min(pause_max).max(pause_min);
        pause_min + (upper - pause_min).mul_f64(unit)
    }
}

/// `interval`, give or take [`SPREAD`].
pub(super) fn spread(interval: Duration, unit: f64) -> Duration {
    interval.mul_f64(1.0 + SPREAD * (2.0 * unit - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALMOST_ONE: f64 = 1.0 - f64::EPSILON;

    fn schedule() -> (Schedule, Instant) {
        (Schedule::new(Timing::default()), Instant::now())
    }

    #[test]
    fn pauses_stay_in_a_range_that_doubles_up_to_thirty_seconds() {
        let (mut schedule, now) = schedule();
        schedule.timing.stream_tries = u32::MAX;
        let mut uppers = Vec::new();
        for _ in 0..8 {
            schedule.stream_failed(Failure::Failed, now, 0.5);
            assert_eq!(schedule.pause(now, 0.0), Duration::from_millis(100));
            uppers.push(schedule.pause(now, ALMOST_ONE).as_secs_f64().round());
        }
        assert_eq!(uppers, [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]);
    }

    #[test]
    fn ten_thousand_samplers_do_not_come_back_in_step() {
        let (mut schedule, now) = schedule();
        schedule.stream_failed(Failure::Broke, now, 0.5);
        let mut per_tenth = [0_u32; 10];
        for _ in 0..10_000 {
            let tenths = schedule.pause(now, rand::random()).as_millis() / 100;
            per_tenth[tenths as usize] += 1;
        }
        assert!(per_tenth.iter().all(|count| *count < 1_500), "{per_tenth:?}");
    }

    #[test]
    fn the_third_failure_in_a_row_polls_and_then_once_an_interval() {
        let (mut schedule, now) = schedule();
        let fail = |schedule: &mut Schedule, at| schedule.stream_failed(Failure::Failed, at, 0.5);
        assert_eq!([0, 0, 0, 0].map(|_| fail(&mut schedule, now)), [false, false, true, false]);
        assert!(!fail(&mut schedule, now + Duration::from_secs(59)));
        assert!(fail(&mut schedule, now + Duration::from_secs(60)));
    }

    #[test]
    fn a_server_without_the_stream_is_polled_at_once_and_asked_again_at_each_poll() {
        let (mut schedule, now) = schedule();
        assert!(schedule.stream_failed(Failure::Unimplemented, now, 0.5));
        assert_eq!(schedule.pause(now, 0.0), Duration::from_secs(60));
        assert!(schedule.stream_failed(Failure::Unimplemented, now + Duration::from_secs(60), 0.5));
    }

    #[test]
    fn a_healthy_stream_starts_the_count_anew() {
        let (mut schedule, now) = schedule();
        for _ in 0..10 {
            schedule.stream_failed(Failure::Failed, now, 0.5);
        }
        assert!(!schedule.stream_failed(Failure::Broke, now, 0.5));
        assert!(schedule.pause(now, ALMOST_ONE) <= Duration::from_secs(1));
        assert!(!schedule.stream_failed(Failure::Failed, now, 0.5));
        assert!(schedule.stream_failed(Failure::Failed, now, 0.5));
    }

    #[test]
    fn intervals_are_spread_by_a_fifth_either_way() {
        let minute = Duration::from_secs(60);
        assert_eq!([0.0, 0.5].map(|unit| spread(minute, unit)), [48, 60].map(Duration::from_secs));
        assert!(spread(minute, ALMOST_ONE) <= Duration::from_secs(72));
    }
}
