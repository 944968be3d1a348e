//! Heartbeats, as datagrams and as whole frames.

/// Of the watched port.
pub(crate) const PORT: u16 = 5783;
/// Length of a heartbeat.
const BYTES: usize = 80;

/// A heartbeat of device `device`; the MAC is zeros, the kernel cannot check it.
pub(crate) fn heartbeat(device: u64, sequence: u32) -> [u8; BYTES] {
    let mut beat = [0; BYTES];
    beat[..4].copy_from_slice(&[0x46, 0x42, 1, 1]);
    // Ids are random in the field; the map's hash must not be helped by ours being neighbours.
    beat[8..16].copy_from_slice(&device.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    beat[16..24].copy_from_slice(&device.to_be_bytes());
    set_sequence(&mut beat, sequence);
    beat
}

/// Changes the sequence of a heartbeat.
pub(crate) fn set_sequence(beat: &mut [u8], sequence: u32) {
    beat[28..32].copy_from_slice(&sequence.to_be_bytes());
}

/// The payload in UDP, IPv4 and Ethernet.
pub(crate) fn frame(port: u16, payload: &[u8]) -> Vec<u8> {
    let udp = (8 + payload.len()) as u16;
    let mut frame = [0; 12].to_vec();
    frame.extend([0x08, 0x00, 0x45, 0]);
    frame.extend((20 + udp).to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 203, 0, 113, 1]);
    frame.extend(40_000u16.to_be_bytes());
    frame.extend(port.to_be_bytes());
    frame.extend(udp.to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}
