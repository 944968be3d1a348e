//! Keys and message authentication codes: HKDF-SHA-256 from a master key, HMAC-SHA-256 truncated to 128 bits.
//!
//! A key is kept as the two states that HMAC begins with (RFC 2104: the blocks `key ^ ipad` and `key ^ opad`,
//! compressed), not as its bytes: each code then takes two or three compressions instead of five, which is what a server
//! that checks every heartbeat spends its time on.

use std::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use sha2::block_api::compress256;

use super::id::DeviceId;

/// Bytes of a master key.
pub const MASTER_KEY_BYTES: usize = 32;
/// Bytes of a message authentication code.
pub const MAC_BYTES: usize = 16;
/// Bytes that one code can cover: a hello of the largest size.
const COVERED_MAX: usize = 2_048;

const INFO: &[u8] = b"flyball heartbeat 1";
/// FIPS 180-4, section 5.3.3.
const START: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// Truncated to 128 bits.
pub type Mac = [u8; MAC_BYTES];

/// A device's key, ready to authenticate. 64 bytes; not shown by `Debug`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MacKey {
    inner: [u32; 8],
    outer: [u32; 8],
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey")
    }
}

/// The bytes of a device's key, to be kept on the device: `HKDF(master, info = "flyball heartbeat 1" || key id || device id)`.
pub fn derive(master: &[u8; MASTER_KEY_BYTES], key_id: u16, device: DeviceId) -> [u8; 32] {
    let mut okm = [0; 32];
    let info = [INFO, &key_id.to_be_bytes(), &device.0];
    Hkdf::<Sha256>::new(None, master).expand_multi_info(&info, &mut okm).expect("32 bytes are one block");
    okm
}

impl MacKey {
    /// From the bytes that [`derive`] gives.
    pub fn new(key: &[u8; 32]) -> Self {
        let state = |pad: u8| {
            let mut block = [pad; 64];
            block.iter_mut().zip(key).for_each(|(to, byte)| *to ^= byte);
            let mut state = START;
            compress256(&mut state, &[block]);
            state
        };
        Self { inner: state(0x36), outer: state(0x5c) }
    }

    /// The code over the parts, one after the other; they are at most 2,048 bytes together.
    pub fn mac(&self, parts: &[&[u8]]) -> Mac {
        let digest = self.digest(parts);
        std::array::from_fn(|i| digest[i])
    }

    /// Whether `mac` is the code over the parts; takes as long for a wrong one.
    pub fn is_mac(&self, mac: &[u8], parts: &[&[u8]]) -> bool {
        let expected = self.mac(parts);
        mac.len() == MAC_BYTES && expected.iter().zip(mac).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
    }

    /// The whole HMAC-SHA-256.
    pub fn digest(&self, parts: &[&[u8]]) -> [u8; 32] {
        let inner = finish(self.inner, parts);
        finish(self.outer, &[&inner])
    }
}

/// SHA-256 from `state`, which one block has gone into already, over the parts.
fn finish(mut state: [u32; 8], parts: &[&[u8]]) -> [u8; 32] {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    assert!(length <= COVERED_MAX, "no message is that long");
    let (mut block, mut filled) = ([0; 64], 0);
    for mut part in parts.iter().copied() {
        while !part.is_empty() {
            let taken = part.len().min(64 - filled);
            block[filled..filled + taken].copy_from_slice(&part[..taken]);
            (filled, part) = (filled + taken, &part[taken..]);
            if filled == 64 {
                compress256(&mut state, &[block]);
                filled = 0;
            }
        }
    }
    block[filled] = 0x80;
    block[filled + 1..].fill(0);
    if filled >= 56 {
        compress256(&mut state, &[block]);
        block.fill(0);
    }
    let bits = (64 + length as u64) * 8;
    block[56..].copy_from_slice(&bits.to_be_bytes());
    compress256(&mut state, &[block]);
    let mut digest = [0; 32];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// RFC 4231, test cases 2 (key padded with zeros, which HMAC does itself) and 3 with a key of 20 bytes.
    #[test]
    fn codes_are_those_of_the_standard() {
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let digest = MacKey::new(&key).digest(&[b"what do ya want ", b"for nothing?"]);
        assert_eq!(hex(&digest), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let mut key = [0; 32];
        key[..20].fill(0xaa);
        let digest = MacKey::new(&key).digest(&[&[0xdd; 50]]);
        assert_eq!(hex(&digest), "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
    }

    #[test]
    fn parts_of_any_length_are_one_message() {
        let (key, message) = (MacKey::new(&[7; 32]), [0x5a; 300]);
        for length in 0..300 {
            let whole = key.mac(&[&message[..length]]);
            for cut in [0, length / 3, length] {
                assert_eq!(key.mac(&[&message[..cut], &message[cut..length]]), whole, "{length} cut at {cut}");
            }
            assert!(key.is_mac(&whole, &[&message[..length]]));
            assert!(!key.is_mac(&whole[..15], &[&message[..length]]));
        }
    }

    #[test]
    fn each_device_and_each_key_id_has_its_own_key() {
        let (master, device) = ([1; 32], DeviceId([2; 16]));
        let key = derive(&master, 1, device);
        assert_eq!(key, derive(&master, 1, device));
        assert_ne!(key, derive(&master, 2, device));
        assert_ne!(key, derive(&master, 1, DeviceId([3; 16])));
    }
}
