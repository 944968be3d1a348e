//! Which datagrams of a device are new. (boot, sequence) must rise; the last 64 numbers are remembered one by one, because
//! side flows and the network put datagrams out of order (the window of RFC 4303, section 3.4.3).

/// Numbers below the highest that are told apart from those that came.
pub const WINDOW: u32 = u64::BITS;

/// What came of one device so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    boot: u32,
    highest: u32,
    /// Bit n: `highest - n` came.
    seen: u64,
}

/// What a datagram is beside those that came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// After all of them, with this many missing in between.
    Highest {
        /// Numbers between it and the one that was the highest; none after a restart.
        missed: u32,
        /// The device restarted.
        is_restart: bool,
    },
    /// New, and older than another that came.
    Late,
    /// The highest again.
    Duplicate,
    /// One of the last again.
    Replayed,
    /// Of a boot before this one, or older than is remembered: a replay, or a device that lost its counter.
    Stale,
}

impl Window {
    /// Of a device that begins with this one.
    pub const fn new(boot: u32, highest: u32) -> Self {
        Self { boot, highest, seen: 1 }
    }

    /// As a file keeps it: boot, highest number, and which of those below it came.
    pub const fn parts(&self) -> (u32, u32, u64) {
        (self.boot, self.highest, self.seen)
    }

    /// From a file. The highest itself came, whatever the file says.
    pub const fn from_parts(boot: u32, highest: u32, seen: u64) -> Self {
        Self { boot, highest, seen: seen | 1 }
    }

    /// The device's starts, as it counts them.
    pub const fn boot(&self) -> u32 {
        self.boot
    }

    /// The highest number that came since then.
    pub const fn highest(&self) -> u32 {
        self.highest
    }

    /// Where a datagram belongs; changes nothing.
    pub const fn place(&self, boot: u32, sequence: u32) -> Place {
        if boot != self.boot {
            return if boot > self.boot { Place::Highest { missed: 0, is_restart: true } } else { Place::Stale };
        }
        if sequence > self.highest {
            return Place::Highest { missed: sequence - self.highest - 1, is_restart: false };
        }
        match self.highest - sequence {
            0 => Place::Duplicate,
            age if age >= WINDOW => Place::Stale,
            age if self.seen >> age & 1 == 1 => Place::Replayed,
            _ => Place::Late,
        }
    }

    /// Remembers one whose place is [`Place::Highest`] or [`Place::Late`].
    pub const fn take(&mut self, boot: u32, sequence: u32) {
        if boot != self.boot {
            *self = Self::new(boot, sequence);
        } else if sequence > self.highest {
            let rise = sequence - self.highest;
            let kept = if rise < WINDOW { self.seen << rise } else { 0 };
            (self.highest, self.seen) = (sequence, kept | 1);
        } else if self.highest - sequence < WINDOW {
            self.seen |= 1 << (self.highest - sequence);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_place_is_told() {
        let mut window = Window::new(3, 100);
        window.take(3, 103);
        let place = |boot, sequence| window.place(boot, sequence);
        assert_eq!(place(3, 104), Place::Highest { missed: 0, is_restart: false });
        assert_eq!(place(3, 110), Place::Highest { missed: 6, is_restart: false });
        assert_eq!(place(4, 0), Place::Highest { missed: 0, is_restart: true });
        assert_eq!((place(3, 103), place(3, 102), place(3, 100)), (Place::Duplicate, Place::Late, Place::Replayed));
        assert_eq!((place(3, 40), place(3, 39), place(2, 200)), (Place::Late, Place::Stale, Place::Stale));
    }

    proptest! {
        #[test]
        fn nothing_is_taken_twice(steps in prop::collection::vec((0_u32..3, 0_u32..300), 1..400)) {
            let (mut window, mut taken) = (Window::new(0, 0), HashSet::from([(0, 0)]));
            for (boot, sequence) in steps {
                if matches!(window.place(boot, sequence), Place::Highest { .. } | Place::Late) {
                    prop_assert!(taken.insert((boot, sequence)), "{boot} {sequence}");
                    window.take(boot, sequence);
                }
            }
        }

        #[test]
        fn what_is_new_and_within_the_window_is_taken(order in Just((1_u32..60).collect::<Vec<_>>()).prop_shuffle()) {
            let mut window = Window::new(0, 0);
            for sequence in order {
                let is_taken = matches!(window.place(0, sequence), Place::Highest { .. } | Place::Late);
                prop_assert!(is_taken, "{sequence}");
                window.take(0, sequence);
            }
        }
    }
}
