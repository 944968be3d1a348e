//! A carrier: its NAT, and what can happen to it.

use std::net::Ipv4Addr;

use super::UPLINK;
use super::error::LabError;
use super::link::{self, Site};
use super::namespace::Namespace;
use super::nat::Nat;
use super::netem::{Direction, End, Impair};

/// Links that pass nothing. Arriving packets go before conntrack sees them, leaving ones after it: a NAT whose uplink is
/// cut still refreshes the bindings of its devices, and one whose device is out of coverage does not. The table is its
/// own, so that new rules of the NAT leave it alone.
const CUT_RULES: &str = "table inet cut {
  set links {
    type ifname
  }
  chain arriving {
    type filter hook prerouting priority raw; policy accept;
    iifname @links drop
  }
  chain leaving {
    type filter hook postrouting priority 300; policy accept;
    oifname @links drop
  }
}
";

/// Parts of what is lost are counted in these.
const LOSS_UNITS: u32 = 1_000_000;

/// A carrier's network: a NAT between its devices and the internet.
#[derive(Debug)]
pub struct Carrier {
    number: u16,
    site: Site,
    namespace: Namespace,
    internet: Namespace,
    /// The name of its link there.
    link: String,
}

impl Carrier {
    pub(super) fn start(internet: &Namespace, number: u16, nat: &Nat) -> Result<Self, LabError> {
        let (settings, rules) = (nat.settings()?, nat.rules()?);
        let namespace = Namespace::router(&format!("carrier {number}"))?;
        // The rules first: they bring conntrack, and its settings, into being.
        namespace.nft(&format!("{CUT_RULES}{rules}"))?;
        namespace.set(&settings)?;
        let site = Site::carrier(number);
        let link = format!("carrier{number}");
        link::connect(internet, &namespace, &link, &site)?;
        Ok(Self { number, site, namespace, internet: internet.clone(), link })
    }

    /// From now on this NAT: other timeouts, other ports. Bindings stay; a timeout holds for a binding from its next
    /// packet on, and ports only for new bindings.
    pub fn change(&self, nat: &Nat) -> Result<(), LabError> {
        let (settings, rules) = (nat.settings()?, nat.rules()?);
        self.namespace.nft(&rules)?;
        self.namespace.set(&settings)
    }

    /// The NAT forgets every binding, as one that restarts.
    pub fn reboot(&self) -> Result<(), LabError> {
        self.namespace.flush_conntrack()
    }

    /// Nothing passes between the carrier and the internet. Devices still refresh their bindings in the NAT.
    pub fn cut(&self) -> Result<(), LabError> {
        cut(&self.namespace, UPLINK)
    }

    /// Packets pass again.
    pub fn restore(&self) -> Result<(), LabError> {
        restore(&self.namespace, UPLINK)
    }

    /// The ways between this carrier and its devices lose this part of the packets in each direction, each by itself. What a
    /// device sends is lost before the NAT sees it, and what comes to it afterwards, as [`Device::cut`](super::Device::cut)
    /// does. Replaces the part before.
    pub fn lose(&self, part: f64) -> Result<(), LabError> {
        let lost = (part.clamp(0.0, 1.0) * f64::from(LOSS_UNITS)).round();
        let rule = format!("numgen random mod {LOSS_UNITS} < {lost} drop");
        let (arriving, leaving) = match lost {
            0.0 => (String::new(), String::new()),
            _ => (format!("iifname \"device*\" {rule}"), format!("oifname \"device*\" {rule}")),
        };
        self.namespace.nft(&format!(
            "table inet loss\ndelete table inet loss\ntable inet loss {{
  chain arriving {{
    type filter hook prerouting priority raw; policy accept;
    {arriving}
  }}
  chain leaving {{
    type filter hook postrouting priority 300; policy accept;
    {leaving}
  }}
}}
"
        ))
    }

    /// The address that the server sees devices at.
    pub fn public(&self) -> Ipv4Addr {
        self.site.v4
    }

    /// The prefix of that address, which is this carrier's alone.
    pub fn prefix(&self) -> String {
        self.site.prefix()
    }

    /// The IPv6 prefix of its devices, which are not translated.
    pub fn prefix_v6(&self) -> String {
        self.site.prefix_v6()
    }

    /// The namespace of the NAT.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    pub(super) fn number(&self) -> u16 {
        self.number
    }
}

impl Impair for Carrier {
    fn end(&self, direction: Direction) -> End<'_> {
        match direction {
            Direction::Up => End { namespace: &self.namespace, link: UPLINK },
            Direction::Down => End { namespace: &self.internet, link: &self.link },
        }
    }
}

/// Drops everything on this link of a carrier.
pub(super) fn cut(carrier: &Namespace, link: &str) -> Result<(), LabError> {
    carrier.nft(&format!("add element inet cut links {{ \"{link}\" }}\n"))
}

/// The opposite, also where nothing was cut.
pub(super) fn restore(carrier: &Namespace, link: &str) -> Result<(), LabError> {
    let element = format!("element inet cut links {{ \"{link}\" }}\n");
    carrier.nft(&format!("add {element}delete {element}"))
}
