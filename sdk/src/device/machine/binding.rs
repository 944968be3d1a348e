//! What the device knows of its own NAT binding, and whether it has to see to it itself.
//!
//! Linux, and what is built on it, grants the long timeout only to a binding over which a packet passed later than 2 s
//! after it was made. The server sees to that by a second ack, 2.1 s after a beat. Where that one ack is lost on a *new*
//! binding, the binding is forgotten after 30 s, and the device is out of reach for the rest of the interval. So where a
//! second ack was due and did not come, the device beats once more, 3 s after the first ack: this passes late enough.
//!
//! What that costs: a beat for each new binding whose second ack is lost, less than one a day. What it brings, on the
//! simulated days of the tests (Linux's timeouts, 1 % loss, an hourly hole): 2.2 s of reach a day, 99.9931 % for
//! 99.9905 %, at the same 978 beats. On a binding that lived on, a lost second ack costs nothing, and is not repaired; and
//! where the server has not been seen to send second acks, nothing is due.

use std::time::Duration;

/// From the ack of a new binding's first beat to the beat that takes the place of the second ack.
pub(super) const FOLLOW_UP: Duration = Duration::from_secs(3);
/// Second acks that may be missing in a row before the device thinks that the server sends none any more.
const TRUST: u8 = 3;
/// Follow-ups for one move that the server did not understand, before it is left to the next beat.
const MOVE_TRIES: u8 = 3;

/// What is known of the main flow's binding.
#[derive(Debug, Clone)]
pub(super) struct Binding {
    /// A packet passed late enough after it was made.
    pub(super) is_stream: bool,
    /// It may have been made by the last beat.
    is_fresh: bool,
    /// Second acks that may still be missing.
    trust: u8,
    /// A lost second ack is made up for.
    follows_up: bool,
    /// The server has seen a new address, and not yet that the device is there.
    is_moving: bool,
    moves_left: u8,
}

impl Binding {
    pub(super) const fn new(follows_up: bool) -> Self {
        Self { is_stream: false, is_fresh: true, trust: 0, follows_up, is_moving: false, moves_left: MOVE_TRIES }
    }

    /// It may have been lost: what is there now may be new.
    pub(super) fn renewed(&mut self) {
        (self.is_stream, self.is_fresh) = (false, true);
    }

    /// The server sees another address. True where that is news: then the binding is a new one.
    pub(super) fn moving(&mut self) -> bool {
        !std::mem::replace(&mut self.is_moving, true)
    }

    /// The server answered without asking who is there.
    pub(super) fn settled_down(&mut self) {
        (self.is_moving, self.moves_left) = (false, MOVE_TRIES);
    }

    /// The second ack came. True where that is news.
    pub(super) fn second_ack(&mut self) -> bool {
        self.trust = if self.follows_up { TRUST } else { 0 };
        self.kept()
    }

    /// A packet passed late enough. True where that is news.
    pub(super) fn kept(&mut self) -> bool {
        self.is_fresh = false;
        !std::mem::replace(&mut self.is_stream, true)
    }

    /// Whether a beat is needed unless more comes: a second ack is due, or a move is not understood yet.
    pub(super) const fn awaits(&self) -> bool {
        self.is_fresh && self.trust > 0 || self.is_moving && self.moves_left > 0
    }

    /// The beat that was needed is sent.
    pub(super) fn followed_up(&mut self) {
        self.trust = self.trust.saturating_sub(1);
        if self.is_moving {
            self.moves_left = self.moves_left.saturating_sub(1);
        }
    }
}
