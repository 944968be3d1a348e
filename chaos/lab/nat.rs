//! What a carrier's NAT does, as the kernel is told.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::UPLINK;
use super::error::LabError;

/// The kernel takes 2^31 - 1 ticks, of which there are at most 1,000 a second.
const TIMEOUT_SECONDS_MAX: u64 = 2_000_000;

/// Linux would keep 5 days, carriers keep far less; RFC 5382 asks for at least 2 h 4 min.
const TCP_ESTABLISHED: Duration = Duration::from_secs(7_440);

/// How a new binding gets its public port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// The device's own where it is free (`masquerade`): after expiry the same again, so that expiry is not seen.
    Preserved,
    /// Any (`masquerade fully-random`): after expiry another one.
    Random,
}

/// A carrier's NAT. Linux's own meaning of the timeouts: see the README.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nat {
    ports: Ports,
    port_range: Option<RangeInclusive<u16>>,
    udp_unreplied: Duration,
    udp_stream: Duration,
    tcp_established: Duration,
}

impl Nat {
    /// A NAT that forgets a UDP binding after this silence and keeps the device's port.
    pub fn preserved_ports(udp: Duration) -> Self {
        Self {
            ports: Ports::Preserved,
            port_range: None,
            udp_unreplied: udp,
            udp_stream: udp,
            tcp_established: TCP_ESTABLISHED,
        }
    }

    /// A NAT that forgets a UDP binding after this silence and gives each a random port.
    pub fn random_ports(udp: Duration) -> Self {
        Self { ports: Ports::Random, ..Self::preserved_ports(udp) }
    }

    /// The timeout of a UDP binding that is not a stream (yet): Linux's `nf_conntrack_udp_timeout`.
    #[must_use]
    pub fn udp_unreplied(self, timeout: Duration) -> Self {
        Self { udp_unreplied: timeout, ..self }
    }

    /// The timeout of a stream: answered, and a packet more than 2 s after it was made.
    #[must_use]
    pub fn udp_stream(self, timeout: Duration) -> Self {
        Self { udp_stream: timeout, ..self }
    }

    /// The timeout of an established TCP connection. Default 2 h 4 min.
    #[must_use]
    pub fn tcp_established(self, timeout: Duration) -> Self {
        Self { tcp_established: timeout, ..self }
    }

    /// Only these public ports: so many bindings at once to one address and port of a server, and no more.
    #[must_use]
    pub fn port_range(self, ports: RangeInclusive<u16>) -> Self {
        Self { port_range: Some(ports), ..self }
    }

    /// Kernel settings of the timeouts.
    pub(super) fn settings(&self) -> Result<[(&'static str, String); 3], LabError> {
        Ok([
            ("net/netfilter/nf_conntrack_udp_timeout", seconds(self.udp_unreplied)?),
            ("net/netfilter/nf_conntrack_udp_timeout_stream", seconds(self.udp_stream)?),
            ("net/netfilter/nf_conntrack_tcp_timeout_established", seconds(self.tcp_established)?),
        ])
    }

    /// The rules, which replace those before in one transaction; bindings stay.
    ///
    /// What no device asked for is dropped, in silence, before it becomes a connection: otherwise a packet to a
    /// forgotten port would be the NAT's own, take the port from the device, and be answered. IPv6 is routed behind
    /// the same state, as carriers do.
    pub(super) fn rules(&self) -> Result<String, LabError> {
        let range = match &self.port_range {
            None => String::new(),
            Some(ports) if *ports.start() > 0 && ports.start() <= ports.end() => {
                format!(" to :{}-{}", ports.start(), ports.end())
            }
            Some(ports) => return Err(LabError::PortRange { first: *ports.start(), last: *ports.end() }),
        };
        let random = if self.ports == Ports::Random { " fully-random" } else { "" };
        Ok(format!(
            "table inet nat\ndelete table inet nat\ntable inet nat {{
  chain forward {{
    type filter hook forward priority filter; policy drop;
    iifname != \"{UPLINK}\" accept
    ct state established,related accept
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname \"{UPLINK}\" ct state new,invalid drop
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname \"{UPLINK}\" meta nfproto ipv4 meta l4proto {{ tcp, udp }} masquerade{range}{random}
    oifname \"{UPLINK}\" meta nfproto ipv4 masquerade
  }}
}}
"
        ))
    }
}

/// Whole seconds, as the kernel takes them.
fn seconds(timeout: Duration) -> Result<String, LabError> {
    let is_whole = timeout.subsec_nanos() == 0 && (1..=TIMEOUT_SECONDS_MAX).contains(&timeout.as_secs());
    if is_whole { Ok(timeout.as_secs().to_string()) } else { Err(LabError::Timeout { timeout }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn timeouts_that_the_kernel_cannot_hold_are_refused() {
        for timeout in [Duration::ZERO, Duration::from_millis(1500), Duration::from_secs(2_000_001), Duration::MAX] {
            let nats = [Nat::random_ports(timeout), Nat::preserved_ports(SECOND).tcp_established(timeout)]
                .map(|nat| nat.settings());
            for refused in nats {
                assert!(matches!(refused, Err(LabError::Timeout { timeout: told }) if told == timeout), "{refused:?}");
            }
        }
        let [unreplied, stream, _] =
            Nat::random_ports(SECOND).udp_stream(3 * SECOND).settings().expect("whole seconds");
        assert_eq!((unreplied.1.as_str(), stream.1.as_str()), ("1", "3"));
    }

    #[test]
    fn port_ranges_without_a_port_are_refused() {
        #[expect(clippy::reversed_empty_ranges)]
        for ports in [0..=5, 7..=6] {
            let refused = Nat::random_ports(SECOND).port_range(ports).rules();
            assert!(matches!(refused, Err(LabError::PortRange { .. })), "{refused:?}");
        }
        let rules = Nat::random_ports(SECOND).port_range(4000..=4001).rules().expect("a range");
        assert!(rules.contains("masquerade to :4000-4001 fully-random\n"), "{rules}");
    }
}
