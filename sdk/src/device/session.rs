//! The token that opens a gateway's session over a connection.
//!
//! It is derived from the device's key and the boot counter, so that the key itself never travels. Who steals a token can
//! open sessions as this device until its next start: push the true one out, read its orders, and tell acks, beats and
//! probe results in its name. They cannot speak for another device, send heartbeats over UDP, forge an order, or use the
//! token once the device has been seen with a later boot. The token is as secret as the connection: put TLS in front of
//! the door where the way is not trusted.

use super::id::DeviceId;
use super::key::{Mac, MacKey};

const CONTEXT: &[u8] = b"flyball session 1";

/// The token of a device since this boot: `HMAC-SHA-256(key, "flyball session 1" || device id || boot)`, the first 16 bytes.
pub fn token(key: &MacKey, device: DeviceId, boot: u32) -> Mac {
    key.mac(&[CONTEXT, &device.0, &boot.to_be_bytes()])
}

/// Whether `told` is that token; takes as long for a wrong one.
pub fn is_token(key: &MacKey, device: DeviceId, boot: u32, told: &[u8]) -> bool {
    key.is_mac(told, &[CONTEXT, &device.0, &boot.to_be_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_of_one_key_one_device_and_one_boot() {
        let (key, device) = (MacKey::new(&[7; 32]), DeviceId([1; 16]));
        let told = token(&key, device, 3);
        assert!(is_token(&key, device, 3, &told));
        assert!(!is_token(&key, device, 4, &told));
        assert!(!is_token(&key, DeviceId([2; 16]), 3, &told));
        assert!(!is_token(&MacKey::new(&[8; 32]), device, 3, &told));
        assert!(!is_token(&key, device, 3, &told[..15]));
        assert!(!is_token(&key, device, 3, &[]));
    }
}
