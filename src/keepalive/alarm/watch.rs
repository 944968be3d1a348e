//! One cohort's alarm: opens where the p99 was at its threshold on end, is over where it was low on end. Between the two
//! thresholds nothing changes, and a moment without devices says neither: whatever was on end has ended. An alarm without a
//! device for [`GONE_AFTER`] is over: there is nobody left whom it could be about.

use serde::{Deserialize, Serialize};

use super::{AlarmPolicy, GONE_AFTER};
use crate::time::MonoTime;

/// What is known of one cohort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Watch {
    is_open: bool,
    /// Since when the p99 is where the state would change.
    since: Option<MonoTime>,
    /// Since when an open alarm has no device.
    deserted_since: Option<MonoTime>,
}

/// What came of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The alarm opens.
    Opened,
    /// It is over.
    Resolved(End),
}

/// Why an alarm is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Its devices beat in time again.
    Recovered,
    /// There has been none of its devices for [`GONE_AFTER`].
    Gone,
    /// The policy does not watch it any more, or makes no such cohort.
    NotWatched,
}

impl End {
    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::Gone => "gone",
            Self::NotWatched => "not_watched",
        }
    }
}

impl Watch {
    /// One whose alarm an earlier process opened.
    pub const fn opened() -> Self {
        Self { is_open: true, since: None, deserted_since: None }
    }

    /// Whether the alarm is open.
    pub const fn is_open(&self) -> bool {
        self.is_open
    }

    /// Takes the p99 of now in; `None` = there is nothing to see. Without a policy an open alarm is over.
    pub fn look(&mut self, now: MonoTime, p99: Option<f64>, policy: Option<&AlarmPolicy>) -> Option<Change> {
        let Some(policy) = policy else {
            let was_open = std::mem::take(self).is_open;
            return was_open.then_some(Change::Resolved(End::NotWatched));
        };
        if self.is_deserted(now, p99) {
            *self = Self::default();
            return Some(Change::Resolved(End::Gone));
        }
        let is_beyond = match p99 {
            None => false,
            Some(p99) if self.is_open => p99 <= policy.recover,
            Some(p99) => p99 >= policy.p99_gap,
        };
        if !is_beyond {
            self.since = None;
            return None;
        }
        let since = *self.since.get_or_insert(now);
        if now.since(since) < policy.lasting {
            return None;
        }
        (self.is_open, self.since) = (!self.is_open, None);
        Some(if self.is_open { Change::Opened } else { Change::Resolved(End::Recovered) })
    }

    fn is_deserted(&mut self, now: MonoTime, p99: Option<f64>) -> bool {
        if !self.is_open || p99.is_some() {
            self.deserted_since = None;
            return false;
        }
        now.since(*self.deserted_since.get_or_insert(now)) >= GONE_AFTER
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const RECOVERED: Change = Change::Resolved(End::Recovered);

    /// The changes, each with its second; a look a second.
    fn changes(levels: impl IntoIterator<Item = Option<f64>>) -> Vec<(u64, Change)> {
        let (mut watch, policy) = (Watch::default(), AlarmPolicy::default());
        let at = |second| MonoTime::from_start(Duration::from_secs(second));
        let looked = levels.into_iter().zip(0..);
        looked.filter_map(|(level, second)| Some((second, watch.look(at(second), level, Some(&policy))?))).collect()
    }

    fn held(parts: &[(usize, Option<f64>)]) -> Vec<(u64, Change)> {
        changes(parts.iter().flat_map(|(seconds, level)| vec![*level; *seconds]))
    }

    #[test]
    fn five_minutes_on_end_open_it_and_five_on_end_end_it() {
        let (bad, good) = (Some(2.0), Some(1.0));
        assert_eq!(held(&[(300, bad)]), []);
        let both = [(300, Change::Opened), (700, RECOVERED)];
        assert_eq!(held(&[(400, bad), (500, good)]), both);
        assert_eq!(held(&[(299, bad), (1, good), (299, bad)]), [], "not on end");
    }

    #[test]
    fn between_the_thresholds_nothing_changes() {
        let (bad, between, good) = (Some(1.5), Some(1.3), Some(1.2));
        assert_eq!(held(&[(299, bad), (1, between), (300, bad)]), []);
        assert_eq!(held(&[(301, bad), (10_000, between)]), [(300, Change::Opened)]);
        let ended = [(300, Change::Opened), (601, RECOVERED)];
        assert_eq!(held(&[(301, bad), (301, good)]), ended);
    }

    #[test]
    fn no_devices_say_nothing() {
        assert_eq!(held(&[(299, Some(9.0)), (600, None), (299, Some(9.0))]), []);
        assert_eq!(held(&[(301, Some(9.0)), (9_000, None)]), [(300, Change::Opened)]);
    }

    #[test]
    fn an_alarm_without_a_device_for_a_day_is_over() {
        let day = 24 * 3_600;
        let gone = [(300, Change::Opened), (301 + day as u64, Change::Resolved(End::Gone))];
        assert_eq!(held(&[(301, Some(9.0)), (day + 9, None)]), gone);
        let opened = [(300, Change::Opened)];
        assert_eq!(held(&[(301, Some(9.0)), (day - 9, None), (1, Some(9.0)), (day - 9, None)]), opened);
    }

    #[test]
    fn an_alarm_of_an_earlier_process_is_over_after_its_time_and_does_not_open_again() {
        let (mut watch, policy) = (Watch::opened(), AlarmPolicy::default());
        let mut look =
            |second, p99| watch.look(MonoTime::from_start(Duration::from_secs(second)), Some(p99), Some(&policy));
        assert_eq!((look(0, 9.0), look(900, 9.0), look(901, 1.0)), (None, None, None));
        assert_eq!((look(1_200, 1.0), look(1_201, 1.0)), (None, Some(RECOVERED)));
    }

    #[test]
    fn an_alarm_that_is_switched_off_is_over() {
        let mut watch = Watch::opened();
        assert_eq!(watch.look(MonoTime::default(), Some(9.0), None), Some(Change::Resolved(End::NotWatched)));
        assert_eq!(watch.look(MonoTime::default(), Some(9.0), None), None);
    }

    proptest! {
        #[test]
        fn opening_and_ending_take_turns_with_the_hold_between(levels in prop::collection::vec(prop::option::of(0.5_f64..3.0), 0..300)) {
            let mut last: Option<(u64, Change)> = None;
            for (second, change) in changes(levels.into_iter().flat_map(|level| [level; 100])) {
                match last {
                    None => prop_assert_eq!(change, Change::Opened),
                    Some((before, earlier)) => {
                        prop_assert_ne!(earlier, change);
                        prop_assert!(second - before > 300);
                    }
                }
                last = Some((second, change));
            }
        }
    }
}
