//! The signature of a webhook: who receives it can tell that it is ours, whole, and of now.
//!
//! `Flyball-Signature: v1=HEX`, HEX = HMAC-SHA-256 under the secret of the timestamp, a dot, and the body as it was sent;
//! `Flyball-Timestamp` are the seconds of the Unix epoch that it was sent at. A receiver computes the same over the bytes
//! that it read, compares in constant time, and refuses a timestamp that is some minutes old. `Flyball-Id` is the same when
//! a message is sent again, so that it can be taken once.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The header with the signature.
pub const SIGNATURE: &str = "flyball-signature";
/// The header with the time that it was signed at.
pub const TIMESTAMP: &str = "flyball-timestamp";
/// The header by which a message that is sent again is known.
pub const ID: &str = "flyball-id";

/// The value of [`SIGNATURE`].
pub fn sign(secret: &[u8], timestamp: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key of any length will do");
    mac.update(timestamp.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("v1={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf '1795000000.{"a":1}' | openssl dgst -sha256 -hmac secret`
    #[test]
    fn it_is_what_openssl_makes_of_it() {
        let expected = "v1=f9e0bd0d1a561fbfdabec6356500586e2c72d7d797314b41b8380761868d6c25";
        assert_eq!(sign(b"secret", 1_795_000_000, b"{\"a\":1}"), expected);
    }

    #[test]
    fn any_other_time_body_or_secret_is_another_signature() {
        let one = sign(b"s", 1, b"b");
        for other in [sign(b"t", 1, b"b"), sign(b"s", 2, b"b"), sign(b"s", 1, b"c"), sign(b"s", 11, b"")] {
            assert_ne!(one, other);
        }
    }
}
