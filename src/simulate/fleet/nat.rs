//! A NAT's bindings. The stream rule is Linux's: a packet extends a binding to the longer timeout only where a reply was
//! seen *before* it and it passes more than two seconds after the binding's first packet. A heartbeat that is acked at
//! once is over in milliseconds, so without a later packet each one makes a binding of the shorter timeout.

use std::time::Duration;

use super::scenario::Nat;
use crate::time::MonoTime;

/// From a binding's first packet to the first that can make it a stream.
const STREAM_AFTER: Duration = Duration::from_secs(2);

/// One device's binding; it is there until it expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Binding {
    /// When it is forgotten, unless a packet comes before.
    pub(super) expires: MonoTime,
    /// What it is known by on the other side.
    pub(super) port: u32,
    stream_from: MonoTime,
    is_replied: bool,
}

impl Binding {
    /// None yet; the first packet makes it.
    pub(super) fn none(port: u32) -> Self {
        Self { expires: MonoTime::default(), port, stream_from: MonoTime::default(), is_replied: false }
    }

    pub(super) fn is_alive(&self, now: MonoTime) -> bool {
        now < self.expires
    }

    /// A packet from the device. It always passes.
    pub(super) fn outbound(&mut self, now: MonoTime, nat: &Nat) {
        if !self.is_alive(now) {
            self.port = self.port.wrapping_add(u32::from(!nat.is_port_kept));
            self.stream_from = now.plus(STREAM_AFTER);
            self.is_replied = false;
        }
        self.refresh(now, nat);
    }

    /// A packet to the device; whether it passes.
    pub(super) fn inbound(&mut self, now: MonoTime, nat: &Nat) -> bool {
        if !self.is_alive(now) {
            return false;
        }
        if nat.is_inbound_refreshing {
            self.refresh(now, nat);
        }
        self.is_replied = true;
        true
    }

    /// The NAT forgets.
    pub(super) fn forget(&mut self, now: MonoTime) {
        self.expires = self.expires.min(now);
    }

    fn refresh(&mut self, now: MonoTime, nat: &Nat) {
        let is_stream = self.is_replied && now > self.stream_from;
        self.expires = nat.expiry(now, if is_stream { nat.stream } else { nat.unreplied });
    }
}

impl Nat {
    /// A timer wheel forgets at its next turn after the timeout.
    fn expiry(&self, now: MonoTime, timeout: Duration) -> MonoTime {
        let exact = now.plus(timeout);
        if self.granularity.is_zero() {
            return exact;
        }
        let (past, turn) = (exact.since(MonoTime::default()).as_micros() as u64, self.granularity.as_micros() as u64);
        MonoTime::from_start(Duration::from_micros(past.div_ceil(turn.max(1)) * turn.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> MonoTime {
        MonoTime::from_start(Duration::from_secs_f64(seconds))
    }

    fn linux() -> Nat {
        let unreplied = Duration::from_secs(30);
        Nat { unreplied, ..Nat::exact(Duration::from_secs(120)) }
    }

    #[test]
    fn an_immediate_ack_leaves_a_binding_unreplied() {
        let mut binding = Binding::none(1);
        binding.outbound(at(100.0), &linux());
        assert!(binding.inbound(at(100.05), &linux()));
        assert_eq!(binding.expires, at(130.05));
        binding.outbound(at(190.0), &linux());
        assert_eq!(binding.expires, at(220.0), "it had expired: the next beat makes another");
    }

    #[test]
    fn a_second_ack_past_two_seconds_makes_it_a_stream() {
        let mut binding = Binding::none(1);
        binding.outbound(at(100.0), &linux());
        binding.inbound(at(100.05), &linux());
        assert!(binding.inbound(at(102.1), &linux()));
        assert_eq!(binding.expires, at(222.1));
        binding.outbound(at(192.1), &linux());
        assert_eq!(binding.expires, at(312.1), "and it stays one");
    }

    #[test]
    fn without_a_reply_no_packet_makes_it_a_stream() {
        let mut binding = Binding::none(1);
        binding.outbound(at(0.0), &linux());
        binding.outbound(at(3.0), &linux());
        assert_eq!(binding.expires, at(33.0));
        assert!(binding.inbound(at(6.0), &linux()));
        assert_eq!(binding.expires, at(36.0), "the reply itself was not seen before it");
        binding.outbound(at(9.0), &linux());
        assert_eq!(binding.expires, at(129.0));
    }

    #[test]
    fn ports_change_only_where_they_are_not_kept() {
        for (is_port_kept, expected) in [(true, 7), (false, 8)] {
            let nat = Nat { is_port_kept, ..linux() };
            let mut binding = Binding::none(6 + u32::from(is_port_kept));
            binding.outbound(at(0.0), &nat);
            let first = binding.port;
            binding.outbound(at(29.0), &nat);
            assert_eq!((first, binding.port), (7, 7), "alive");
            binding.outbound(at(90.0), &nat);
            assert_eq!(binding.port, expected);
        }
    }

    #[test]
    fn a_wheel_forgets_late_and_never_early() {
        let nat = Nat { granularity: Duration::from_secs(10), ..Nat::exact(Duration::from_secs(60)) };
        for start in 0..100 {
            let now = at(f64::from(start) * 0.37);
            let late = nat.expiry(now, nat.stream).since(now.plus(nat.stream));
            assert!(late < Duration::from_secs(10), "{late:?}");
        }
    }
}
