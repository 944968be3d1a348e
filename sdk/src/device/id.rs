//! Who a device is: 16 bytes, chosen by its owner.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// A device's id. Text of any form becomes one: 32 hex digits and a UUID are taken as they are, anything else is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(pub [u8; 16]);

/// Text that names no device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a device's id is 32 hex digits, a UUID, or any other text, but not empty")]
pub struct EmptyId;

impl FromStr for DeviceId {
    type Err = EmptyId;

    fn from_str(text: &str) -> Result<Self, EmptyId> {
        let text = text.trim();
        if text.is_empty() {
            return Err(EmptyId);
        }
        Ok(Self(from_hex(text).or_else(|| from_uuid(text)).unwrap_or_else(|| hashed(text))))
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        f.pad(&hex)
    }
}

fn from_hex(text: &str) -> Option<[u8; 16]> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u128::from_str_radix(text, 16).map(u128::to_be_bytes).ok()).flatten()
}

fn from_uuid(text: &str) -> Option<[u8; 16]> {
    let parts: Vec<&str> = text.split('-').collect();
    let is_uuid = parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12]);
    is_uuid.then(|| from_hex(&parts.concat())).flatten()
}

fn hashed(text: &str) -> [u8; 16] {
    let digest = Sha256::digest(text.as_bytes());
    std::array::from_fn(|i| digest[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_and_uuid_name_the_same_device_and_any_text_names_one() {
        let id = |text: &str| text.parse::<DeviceId>().expect("an id");
        let hex = id("00112233445566778899AABBccddeeff");
        assert_eq!(hex, id("00112233-4455-6677-8899-aabbccddeeff"));
        assert_eq!(hex.to_string(), "00112233445566778899aabbccddeeff");
        assert_ne!(id("gateway-1"), id("gateway-2"));
        assert_eq!(id("gateway-1"), id(" gateway-1\n"));
        assert_eq!("  ".parse::<DeviceId>(), Err(EmptyId));
    }
}
