//! Which netem holds on which link at which time: asked by the simulator, and by what runs a scenario on a kernel.

use std::sync::Arc;
use std::time::Duration;

use super::{Direction, Netem};

/// What netem a link has from one time to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Impairment {
    /// From when.
    pub from: Duration,
    /// Until when; the end of the run at the latest.
    pub until: Duration,
    /// Of which links.
    pub place: Place,
    /// Only of this carrier, and of its devices; `None` = of all.
    pub carrier: Option<Arc<str>>,
    /// Only this way; `None` = both.
    pub direction: Option<Direction>,
    /// What they do.
    pub netem: Netem,
}

/// A kind of links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// Between each device and its NAT.
    Devices,
    /// Between each NAT and the internet.
    Carriers,
    /// Between the internet and the server.
    Server,
}

impl Place {
    /// All of them, with their names in files, on the way from a device to the server.
    pub const ALL: [(&str, Self); 3] =
        [("devices", Self::Devices), ("carriers", Self::Carriers), ("server", Self::Server)];
}

/// One direction of the links of a kind; of the server there is one link, and no carrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link<'a> {
    /// Which kind.
    pub place: Place,
    /// Of which carrier; means nothing for the server.
    pub carrier: &'a str,
    /// Which way.
    pub direction: Direction,
}

/// What holds on this link `at` this time: the last entry that speaks of it.
pub fn at<'a>(schedule: &'a [Impairment], at: Duration, link: Link<'_>) -> Option<&'a Netem> {
    schedule.iter().rev().find(|entry| entry.holds(at, link)).map(|entry| &entry.netem)
}

/// All times at which something begins or ends, in order, each once.
pub fn changes(schedule: &[Impairment]) -> Vec<Duration> {
    let mut times: Vec<Duration> = schedule.iter().flat_map(|entry| [entry.from, entry.until]).collect();
    times.sort_unstable();
    times.dedup();
    times
}

impl Impairment {
    fn holds(&self, at: Duration, link: Link<'_>) -> bool {
        let is_carrier = self.carrier.as_ref().is_none_or(|name| **name == *link.carrier);
        (self.from..self.until).contains(&at)
            && self.place == link.place
            && (is_carrier || link.place == Place::Server)
            && self.direction.is_none_or(|direction| direction == link.direction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(from: u64, until: u64, carrier: Option<&str>, direction: Option<Direction>, ms: u64) -> Impairment {
        Impairment {
            from: Duration::from_secs(from),
            until: Duration::from_secs(until),
            place: Place::Carriers,
            carrier: carrier.map(Into::into),
            direction,
            netem: Netem { delay: Duration::from_millis(ms), ..Netem::default() },
        }
    }

    #[test]
    fn the_last_entry_that_speaks_of_a_link_holds_on_it() {
        let schedule = [
            entry(0, 100, None, None, 1),
            entry(10, 20, Some("a"), None, 2),
            entry(15, 30, Some("a"), Some(Direction::Up), 3),
        ];
        let delay = |seconds, carrier, direction| {
            let link = Link { place: Place::Carriers, carrier, direction };
            at(&schedule, Duration::from_secs(seconds), link).map_or(0, |netem| netem.delay.as_millis())
        };
        assert_eq!([9, 10, 15, 20, 30, 99, 100].map(|s| delay(s, "a", Direction::Up)), [1, 2, 3, 3, 1, 1, 0]);
        assert_eq!([9, 10, 15, 20, 30].map(|s| delay(s, "a", Direction::Down)), [1, 2, 2, 1, 1]);
        assert_eq!(delay(15, "b", Direction::Up), 1);
        let server = Link { place: Place::Server, carrier: "", direction: Direction::Up };
        assert_eq!(at(&schedule, Duration::from_secs(15), server), None);
        assert_eq!(changes(&schedule), [0, 10, 15, 20, 30, 100].map(Duration::from_secs));
    }
}
