//! What is due when: a calendar of short slots. Most things are due within minutes, and a heap of all of them would
//! spend its time in the cache misses of ten thousand entries; a slot's own heap holds some tens.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::time::MonoTime;

/// Slots a second.
const SLOTS_PER_SECOND: u64 = 4;
/// Slots of the calendar: 34 minutes. What is due later waits in the last one and is put off again.
const SLOTS: usize = 8_192;

/// One thing that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due {
    /// When.
    pub(super) at: MonoTime,
    /// To whom.
    pub(super) device: u32,
    /// What.
    pub(super) what: What,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    /// The device's timer runs out.
    Wake,
    /// The server's second ack, to the public port that the heartbeat came from.
    SecondAck {
        /// That port.
        port: u32,
    },
    /// The server's order just before a beat is due: this many after the device's first.
    Sound {
        /// The sequence number of the last beat.
        sequence: u32,
    },
    /// A datagram that was on its way comes to its next stop.
    Arrives {
        /// Where it is held.
        place: u32,
    },
    /// Radio coverage goes.
    HoleBegins,
    /// Radio coverage comes back.
    HoleEnds,
    /// Power goes.
    PowerGoes,
    /// Power comes.
    PowerComes,
    /// Power comes back that a fault took.
    PowerReturns,
}

/// Everything that is due, in the order of its time.
#[derive(Debug)]
pub(super) struct Agenda {
    slots: Vec<Vec<Due>>,
    /// The slot that is being worked off, counted from the start.
    turn: u64,
    now: BinaryHeap<Reverse<Due>>,
}

impl Agenda {
    pub(super) fn new() -> Self {
        Self { slots: vec![Vec::new(); SLOTS], turn: 0, now: BinaryHeap::new() }
    }

    /// Puts it in. What should have been long ago is due at once.
    pub(super) fn add(&mut self, due: Due) {
        let slot = slot(due.at);
        if slot <= self.turn {
            self.now.push(Reverse(due));
        } else {
            let slot = slot.min(self.turn + SLOTS as u64 - 1);
            self.slots[slot as usize % SLOTS].push(due);
        }
    }

    /// The next thing due before `until`, which must not fall from call to call.
    pub(super) fn next(&mut self, until: MonoTime) -> Option<Due> {
        loop {
            if let Some(Reverse(due)) = self.now.peek() {
                if due.at >= until {
                    return None;
                }
                return self.now.pop().map(|Reverse(due)| due);
            }
            if self.turn >= slot(until) {
                return None;
            }
            self.turn += 1;
            let mut taken = std::mem::take(&mut self.slots[self.turn as usize % SLOTS]);
            taken.drain(..).for_each(|due| self.add(due));
            // Its room is used again: a day turns the calendar forty times.
            self.slots[self.turn as usize % SLOTS] = taken;
        }
    }
}

fn slot(at: MonoTime) -> u64 {
    let since: Duration = at.since(MonoTime::default());
    since.as_secs() * SLOTS_PER_SECOND + u64::from(since.subsec_millis()) * SLOTS_PER_SECOND / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(ms: u64) -> Due {
        Due { at: MonoTime::from_start(Duration::from_millis(ms)), device: 0, what: What::Wake }
    }

    #[test]
    fn things_come_in_the_order_of_their_time_however_far_away() {
        let mut agenda = Agenda::new();
        let times = [90_000_000, 5, 3_000, 2_999, 100_000_000, 4_000_000, 0];
        times.into_iter().for_each(|ms| agenda.add(due(ms)));
        let mut came = Vec::new();
        for second in 1..=100_001 {
            while let Some(next) = agenda.next(MonoTime::from_start(Duration::from_secs(second))) {
                came.push(next);
            }
        }
        let mut expected = times;
        expected.sort_unstable();
        assert_eq!(came, expected.map(due));
    }

    #[test]
    fn what_becomes_due_while_a_slot_is_worked_off_is_not_forgotten() {
        let mut agenda = Agenda::new();
        agenda.add(due(1_000));
        let until = MonoTime::from_start(Duration::from_secs(2));
        assert_eq!(agenda.next(until), Some(due(1_000)));
        agenda.add(due(1_001));
        agenda.add(due(2_000));
        assert_eq!((agenda.next(until), agenda.next(until)), (Some(due(1_001)), None));
        assert_eq!(agenda.next(MonoTime::from_start(Duration::from_secs(3))), Some(due(2_000)));
    }
}
