//! Second acks: 2.1 s after a heartbeat that ended a long silence, one more packet goes to the device. Linux, and what is
//! built on it, counts a binding as a stream only if something passes more than two seconds after its first packet.
//!
//! All wait equally long, so a queue is the timer wheel: the first in it is the next.

use std::collections::VecDeque;
use std::time::Duration;

use crate::fleet::registry::Slot;
use crate::fleet::registry::entry::Stamp;

/// After the first ack.
pub(super) const SECOND_ACK_AFTER: Duration = Duration::from_millis(2_100);
/// That wait at a time, of one worker: 62,000 a second. 16 bytes each, made once.
const WAITING_MAX: usize = 1 << 17;

/// One that waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct SecondAck {
    pub(super) slot: Slot,
    pub(super) boot: u32,
    pub(super) sequence: u32,
    due: Stamp,
}

/// All of one worker.
#[derive(Debug)]
pub(super) struct SecondAcks(VecDeque<SecondAck>);

impl SecondAcks {
    pub(super) fn new() -> Self {
        Self(VecDeque::with_capacity(WAITING_MAX))
    }

    /// Adds one; whether there was room.
    pub(super) fn add(&mut self, slot: Slot, boot: u32, sequence: u32, now: Stamp) -> bool {
        let has_room = self.0.len() < WAITING_MAX;
        if has_room {
            let due = now.plus_ms(SECOND_ACK_AFTER.as_millis() as u32);
            self.0.push_back(SecondAck { slot, boot, sequence, due });
        }
        has_room
    }

    /// The next, if its time has come.
    pub(super) fn next(&mut self, now: Stamp) -> Option<SecondAck> {
        let is_due = |second: &SecondAck| now == second.due || now.since(second.due) > Duration::ZERO;
        self.0.front().filter(|second| is_due(second))?;
        self.0.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_come_in_turn_and_never_early() {
        let (mut seconds, now) = (SecondAcks::new(), Stamp::default());
        assert!(seconds.add(1, 0, 1, now) && seconds.add(2, 0, 1, now.plus_ms(10)));
        assert!(seconds.next(now.plus_ms(2_099)).is_none());
        assert_eq!(seconds.next(now.plus_ms(2_100)).map(|second| second.slot), Some(1));
        assert!(seconds.next(now.plus_ms(2_100)).is_none());
        assert_eq!(seconds.next(now.plus_ms(9_000)).map(|second| second.slot), Some(2));
    }

    #[test]
    fn one_too_many_is_not_added() {
        let (mut seconds, now) = (SecondAcks::new(), Stamp::default());
        assert!((0..WAITING_MAX).all(|_| seconds.add(1, 0, 1, now)));
        assert!(!seconds.add(1, 0, 1, now));
    }
}
