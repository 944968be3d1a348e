//! How two namespaces are joined: the same way for a device and its carrier, a carrier and the internet, the server.
//!
//! The upper side has one gateway address on every link and routes a prefix down each; the lower side owns its whole
//! prefix on `lo` (a `local` route), so that addresses survive when a link is replaced, and any address of the prefix
//! can be bound without adding it.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::error::LabError;
use super::namespace::{Namespace, has_ipv6};
use super::netem::LABEL;
use super::{SERVER, SERVER_V6, UPLINK};

/// The upper side of every link, as seen from below.
const GATEWAY: &str = "169.254.1.1";
const GATEWAY_V6: &str = "fe80::1";
/// The lower side of every link, as seen from above.
const BELOW_V6: &str = "fe80::2";

/// The addresses of one namespace: a /24 and a /64, and the first address in each, which it speaks from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Site {
    pub(super) v4: Ipv4Addr,
    pub(super) v6: Ipv6Addr,
    /// Length of the prefix that is routed to it: a carrier passes on what its devices own.
    routed_v6: u8,
}

impl Site {
    pub(super) fn server() -> Self {
        Self { v4: SERVER, v6: SERVER_V6, routed_v6: 64 }
    }

    /// 198.18.N.0/24 (RFC 2544) and 2001:db8:N::/48 (RFC 3849).
    pub(super) fn carrier(number: u16) -> Self {
        let [_, low] = number.to_be_bytes();
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, number, 0, 0, 0, 0, 1);
        Self { v4: Ipv4Addr::new(198, 18, low, 1), v6, routed_v6: 48 }
    }

    /// 10.K.K.0/24, the same behind every carrier, and a /64 of the carrier's.
    pub(super) fn device(number: u16, carrier: u16) -> Self {
        let [high, low] = number.to_be_bytes();
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, carrier, number, 0, 0, 0, 1);
        Self { v4: Ipv4Addr::new(10, high, low, 1), v6, routed_v6: 64 }
    }

    /// Another address of the site.
    pub(super) fn v4_at(&self, last: u8) -> Ipv4Addr {
        let [a, b, c, _] = self.v4.octets();
        Ipv4Addr::new(a, b, c, last)
    }

    /// The prefix, as `ip` and `prefixes.csv` write it.
    pub(super) fn prefix(&self) -> String {
        format!("{}/24", self.v4_at(0))
    }

    /// The IPv6 prefix that is routed to it.
    pub(super) fn prefix_v6(&self) -> String {
        self.network_v6(self.routed_v6)
    }

    /// What it has itself.
    fn own_v6(&self) -> String {
        self.network_v6(64)
    }

    fn network_v6(&self, length: u8) -> String {
        let network = Ipv6Addr::from_bits(self.v6.to_bits() & (u128::MAX << (128 - u32::from(length))));
        format!("{network}/{length}")
    }
}

/// Joins `lower` to `upper`, where the link gets this name.
pub(super) fn connect(upper: &Namespace, lower: &Namespace, name: &str, site: &Site) -> Result<(), LabError> {
    let path = lower.path();
    let mut above = format!("link add {name} type veth peer name {UPLINK} netns {}\n", path.display());
    let _ = write!(
        above,
        "link set {name} addrgenmode none alias {LABEL}\nlink set {name} up\naddress add {GATEWAY}/32 scope link dev {name}\n\
         route add {prefix} via {first} dev {name} onlink\n",
        prefix = site.prefix(),
        first = site.v4,
    );
    let mut below = format!(
        "link set {UPLINK} addrgenmode none alias {LABEL}\nlink set {UPLINK} up\naddress replace {v4}/32 dev lo\n\
         route replace local {prefix} dev lo table local\n\
         route add default via {GATEWAY} dev {UPLINK} onlink src {v4}\n",
        v4 = site.v4,
        prefix = site.prefix(),
    );
    if has_ipv6() {
        let _ = write!(
            above,
            "address add {GATEWAY_V6}/64 dev {name} nodad\nroute add {routed} via {BELOW_V6} dev {name}\n",
            routed = site.prefix_v6(),
        );
        let _ = write!(
            below,
            "address add {BELOW_V6}/64 dev {UPLINK} nodad\naddress replace {v6}/128 dev lo nodad\n\
             route replace local {own} dev lo table local\nroute add ::/0 via {GATEWAY_V6} dev {UPLINK} src {v6}\n",
            v6 = site.v6,
            own = site.own_v6(),
        );
    }
    upper.ip(&above)?;
    lower.ip(&below)
}

/// Takes the link away, and the IPv6 addresses that came with it.
pub(super) fn disconnect(lower: &Namespace, site: &Site) -> Result<(), LabError> {
    let mut lines = format!("link del {UPLINK}\n");
    if has_ipv6() {
        let _ =
            write!(lines, "address del {}/128 dev lo\nroute del local {} dev lo table local\n", site.v6, site.own_v6());
    }
    lower.ip(&lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_devices_prefix_lies_within_its_carriers() {
        let (carrier, device) = (Site::carrier(3), Site::device(0x0102, 3));
        assert_eq!((carrier.prefix(), carrier.prefix_v6()), ("198.18.3.0/24".into(), "2001:db8:3::/48".into()));
        assert_eq!((device.prefix(), device.prefix_v6()), ("10.1.2.0/24".into(), "2001:db8:3:102::/64".into()));
        assert_eq!(device.v6.to_bits() >> 80, carrier.v6.to_bits() >> 80);
    }
}
