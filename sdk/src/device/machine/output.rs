//! What a machine wants done, and what it has to tell.

use std::time::Duration;

use super::memory::Memory;
use crate::device::jitter::Pace;
use crate::device::probe::{Cell, FLOWS_MAX, ProbeOutcome};
use crate::device::wire::Request;

/// A socket of the device: the main one, which carries beats and messages, or a side one, which is there for a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow(u8);

impl Flow {
    /// The main flow. It is always open.
    pub const MAIN: Self = Self(0);
    /// Flows at most, the main one included: their numbers are below this.
    pub const COUNT: usize = 1 + FLOWS_MAX as usize;

    /// The side flow for an order's flow, counted from 0.
    pub(super) const fn side(index: u8) -> Self {
        Self(index + 1)
    }

    /// Its number: 0 is the main one.
    pub const fn number(self) -> usize {
        self.0 as usize
    }

    /// The flow with this number, where there is one.
    pub const fn numbered(number: usize) -> Option<Self> {
        if number < Self::COUNT { Some(Self(number as u8)) } else { None }
    }
}

/// Something to do, in the order in which it is told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Output {
    /// Open a socket of its own for this side flow: a new local port.
    Open(Flow),
    /// Send over a flow that is open.
    Send {
        /// Which.
        flow: Flow,
        /// What.
        message: Message,
    },
    /// Close a side flow's socket.
    Close(Flow),
    /// Keep this over restarts.
    Remember(Memory),
    /// Nothing to do: something to know.
    Event(Event),
}

/// What is sent; its bytes and its code are the endpoint's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// Everything of 80 bytes.
    Request(Request),
    /// The head of a hello, which the device's labels follow.
    Hello(Request),
}

/// Something to know.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    /// A beat was acked.
    Acked {
        /// Of the sending that was acked.
        sequence: u32,
        /// From its first sending to its ack.
        took: Duration,
        /// Sendings it took.
        tries: u32,
        /// From now to the next beat.
        next: Duration,
    },
    /// Nothing answered a beat, and it is sent again.
    Unanswered {
        /// Sendings so far.
        tries: u32,
    },
    /// The binding is a stream: a packet passed late enough.
    Stream,
    /// The server sees the device at another address than before.
    Moved,
    /// Another pace is in force; it is within the device's own bounds.
    Pace(Pace),
    /// Whether the server counts the NAT as hostile: it forgets sooner than any allowed interval can serve. Told when it
    /// changes.
    Hostile(bool),
    /// A probe was ordered, and begins. One that was running is given up.
    Probing {
        /// Its flows.
        flows: u8,
        /// The shortest silence.
        shortest: Duration,
        /// The longest.
        longest: Duration,
    },
    /// A side flow's test ended.
    Probed(Probed),
}

/// How a side flow's test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probed {
    /// The silence that was ordered.
    pub cell: Cell,
    /// Of unreplied bindings; else of streams.
    pub is_unreplied: bool,
    /// How.
    pub outcome: ProbeOutcome,
    /// Tries whose control came back.
    pub controls: u8,
    /// Tries whose packet reached the side flow.
    pub passed: u8,
}
