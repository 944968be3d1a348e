//! A device: a namespace behind a carrier, with as many sockets and addresses as a test wants.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use super::UPLINK;
use super::carrier::{self, Carrier};
use super::error::LabError;
use super::link::{self, Site};
use super::namespace::Namespace;
use super::netem::{Direction, End, Impair};

/// A device, or a household of up to 254 of them at addresses of their own.
#[derive(Debug)]
pub struct Device {
    number: u16,
    site: Site,
    namespace: Namespace,
    carrier: Namespace,
    /// The name of its link there.
    link: String,
}

impl Device {
    pub(super) fn start(number: u16, carrier: &Carrier) -> Result<Self, LabError> {
        let namespace = Namespace::host(&format!("device {number}"))?;
        let site = Site::device(number, carrier.number());
        let link = format!("device{number}");
        link::connect(carrier.namespace(), &namespace, &link, &site)?;
        Ok(Self { number, site, namespace, carrier: carrier.namespace().clone(), link })
    }

    /// Moves to another carrier of the same lab: the link is taken away and made anew there, uncut and
    /// unimpaired. Sockets and the IPv4 addresses stay; the IPv6 addresses are the new carrier's.
    pub fn move_to(&mut self, carrier: &Carrier) -> Result<(), LabError> {
        self.restore()?;
        link::disconnect(&self.namespace, &self.site)?;
        self.site = Site::device(self.number, carrier.number());
        self.carrier = carrier.namespace().clone();
        link::connect(&self.carrier, &self.namespace, &self.link, &self.site)
    }

    /// Out of coverage: nothing passes between the device and its carrier, and the NAT sees nothing of the device.
    pub fn cut(&self) -> Result<(), LabError> {
        carrier::cut(&self.carrier, &self.link)
    }

    /// In coverage again.
    pub fn restore(&self) -> Result<(), LabError> {
        carrier::restore(&self.carrier, &self.link)
    }

    /// A socket at a free port of the device's first address; it moves with the device.
    pub fn udp(&self) -> Result<UdpSocket, LabError> {
        self.namespace.udp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))
    }

    /// The same over IPv6.
    pub fn udp_v6(&self) -> Result<UdpSocket, LabError> {
        self.namespace.udp(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)))
    }

    /// Its first address, before the NAT.
    pub fn address(&self) -> Ipv4Addr {
        self.site.v4
    }

    /// Any other address of its /24, ending in `last`. All are its own: a socket may be bound to each.
    pub fn address_at(&self, last: u8) -> Ipv4Addr {
        self.site.v4_at(last)
    }

    /// Its IPv6 address, which the server sees.
    pub fn address_v6(&self) -> Ipv6Addr {
        self.site.v6
    }

    /// Its namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }
}

impl Impair for Device {
    fn end(&self, direction: Direction) -> End<'_> {
        match direction {
            Direction::Up => End { namespace: &self.namespace, link: UPLINK },
            Direction::Down => End { namespace: &self.carrier, link: &self.link },
        }
    }
}
