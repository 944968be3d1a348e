//! A device's public address, as the registry keeps it: 18 bytes, IPv4 within IPv6. The scope of a link-local address is
//! not kept: a device on the same link needs an address of wider scope.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Address and port.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Address {
    ip: [u8; 16],
    port: [u8; 2],
}

/// Bytes of one, for files and codes.
pub(crate) const ADDRESS_BYTES: usize = 18;

impl Address {
    /// From the bytes that the network has.
    pub(crate) const fn new(ip: [u8; 16], port: [u8; 2]) -> Self {
        Self { ip, port }
    }

    /// As those.
    pub(crate) const fn parts(&self) -> ([u8; 16], [u8; 2]) {
        (self.ip, self.port)
    }

    /// The bytes, for files and codes.
    pub fn to_bytes(self) -> [u8; ADDRESS_BYTES] {
        let mut bytes = [0; ADDRESS_BYTES];
        bytes[..16].copy_from_slice(&self.ip);
        bytes[16..].copy_from_slice(&self.port);
        bytes
    }

    /// From those.
    pub fn from_bytes(bytes: [u8; ADDRESS_BYTES]) -> Self {
        let (ip, port) = bytes.split_first_chunk().expect("18 are more than 16");
        Self { ip: *ip, port: [port[0], port[1]] }
    }

    /// IPv4 as people write it.
    pub fn ip(&self) -> IpAddr {
        Ipv6Addr::from(self.ip).to_canonical()
    }

    /// Whether only the port may differ.
    pub fn is_same_ip(&self, other: &Self) -> bool {
        self.ip == other.ip
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Self { ip: ip.octets(), port: address.port().to_be_bytes() }
    }
}

impl From<Address> for SocketAddr {
    fn from(address: Address) -> Self {
        Self::new(address.ip(), u16::from_be_bytes(address.port))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::from(*self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_and_ipv4_is_one_in_both_families() {
        for text in ["192.0.2.1:5783", "[2001:db8::1]:1", "[::1]:65535"] {
            let address: SocketAddr = text.parse().expect("an address");
            assert_eq!(SocketAddr::from(Address::from(address)), address);
            assert_eq!(Address::from_bytes(Address::from(address).to_bytes()), Address::from(address));
        }
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:5783".parse().expect("an address");
        assert_eq!(SocketAddr::from(Address::from(mapped)).to_string(), "192.0.2.1:5783");
    }
}
