//! Packets by hand: Ethernet, IPv4, UDP.

use std::net::{Ipv4Addr, SocketAddrV4};

/// The server that devices send to.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// A device's heartbeat number `sequence` from `source`.
pub(crate) fn heartbeat(device: u32, sequence: u32, source: SocketAddrV4, port: u16) -> Vec<u8> {
    let mut beat = vec![0; 80];
    beat[..4].copy_from_slice(&[0x46, 0x42, 1, 1]);
    beat[8..24].copy_from_slice(&device_id(device));
    beat[28..32].copy_from_slice(&sequence.to_be_bytes());
    udp(source, SocketAddrV4::new(SERVER, port), &beat)
}

/// The id of device number so and so.
pub(crate) fn device_id(device: u32) -> [u8; 16] {
    let mut id = [0xd0; 16];
    id[..4].copy_from_slice(&device.to_be_bytes());
    id
}

/// A datagram in a packet in a frame.
pub(crate) fn udp(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let bytes = u16::try_from(payload.len()).expect("one datagram");
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 1, 0x08, 0x00, 0x45, 0]);
    frame.extend((bytes + 28).to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    frame.extend(from.ip().octets());
    frame.extend(to.ip().octets());
    frame.extend(from.port().to_be_bytes());
    frame.extend(to.port().to_be_bytes());
    frame.extend((bytes + 8).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}
