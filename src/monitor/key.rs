//! Where in a payload the device is named: `heartbeat`, `offset:N,len:M`, `quic:LEN[,prefix:M]`, `dtls12:LEN`, `dtls13:LEN`.

use std::fmt;
use std::str::FromStr;

use super::mirror::{ID_BYTES, key_kind};

/// Longest connection id that the program reads (RFC 9000, 17.2).
const CONNECTION_ID_MAX: u32 = 20;
/// A key further in than this is not in a UDP datagram.
const OFFSET_MAX: u32 = 65_507;

/// Where in a payload the device is named. Lengths are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// Flyball's own heartbeat datagram.
    Heartbeat,
    /// `length` bytes at `offset` of any UDP payload.
    Offset {
        /// From the first byte of the payload.
        offset: u32,
        /// 1 to 16.
        length: u32,
    },
    /// A server-issued QUIC connection id, whose first bytes may be the device's.
    Quic {
        /// Of the whole id on the wire, 1 to 20.
        length: u32,
        /// How many of its first bytes name the device; at most 16.
        prefix: u32,
    },
    /// A DTLS 1.2 connection id (RFC 9146).
    Dtls12 {
        /// 1 to 20; the first 16 are the device.
        length: u32,
    },
    /// A DTLS 1.3 connection id (RFC 9147).
    Dtls13 {
        /// 1 to 20; the first 16 are the device.
        length: u32,
    },
}

/// Why a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// None of the known forms.
    #[error("`{0}` is not a key: use heartbeat, offset:N,len:M, quic:LEN[,prefix:M], dtls12:LEN or dtls13:LEN")]
    Form(String),
    /// A number is missing or is not one.
    #[error("`{name}` of key `{key}` wants a number")]
    Number {
        /// The whole key.
        key: String,
        /// Which part.
        name: &'static str,
    },
    /// A number is out of range.
    #[error("`{name}` of key `{key}` must be {min} to {max}, and is {value}")]
    Range {
        /// The whole key.
        key: String,
        /// Which part.
        name: &'static str,
        /// What it is.
        value: u32,
        /// Smallest.
        min: u32,
        /// Largest.
        max: u32,
    },
}

/// A key as the program's constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyGlobals {
    pub(super) kind: u32,
    pub(super) offset: u32,
    pub(super) length: u32,
    pub(super) prefix: u32,
}

impl Key {
    pub(super) fn globals(self) -> KeyGlobals {
        let id = ID_BYTES as u32;
        match self {
            Self::Heartbeat => KeyGlobals { kind: key_kind::HEARTBEAT, offset: 0, length: 0, prefix: 0 },
            Self::Offset { offset, length } => KeyGlobals { kind: key_kind::OFFSET, offset, length, prefix: length },
            Self::Quic { length, prefix } => KeyGlobals { kind: key_kind::QUIC, offset: 0, length, prefix },
            Self::Dtls12 { length } => KeyGlobals { kind: key_kind::DTLS12, offset: 0, length, prefix: length.min(id) },
            Self::Dtls13 { length } => KeyGlobals { kind: key_kind::DTLS13, offset: 0, length, prefix: length.min(id) },
        }
    }

    /// How many bytes of a record's 16 are the device's id.
    pub fn id_bytes(self) -> usize {
        match self {
            Self::Heartbeat => ID_BYTES,
            _ => self.globals().prefix as usize,
        }
    }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let parts = Parts { key: text };
        match text.split_once(':').map_or(text, |(name, _)| name) {
            "heartbeat" if text == "heartbeat" => Ok(Self::Heartbeat),
            "offset" => {
                let [offset, length] = parts.read(["offset", "len"])?;
                let offset = parts.required("offset", offset, 0, OFFSET_MAX)?;
                Ok(Self::Offset { offset, length: parts.required("len", length, 1, ID_BYTES as u32)? })
            }
            "quic" => {
                let [length, prefix] = parts.read(["quic", "prefix"])?;
                let length = parts.required("quic", length, 1, CONNECTION_ID_MAX)?;
                let most = length.min(ID_BYTES as u32);
                let prefix = prefix.map_or(Ok(most), |p| parts.in_range("prefix", p, 1, most))?;
                Ok(Self::Quic { length, prefix })
            }
            "dtls12" => parts.only("dtls12").map(|length| Self::Dtls12 { length }),
            "dtls13" => parts.only("dtls13").map(|length| Self::Dtls13 { length }),
            _ => Err(KeyError::Form(text.to_owned())),
        }
    }
}

/// `name:number` pairs of one key.
struct Parts<'a> {
    key: &'a str,
}

impl Parts<'_> {
    /// The numbers by name; a name that is not asked for, or comes twice, is refused.
    fn read<const N: usize>(&self, names: [&'static str; N]) -> Result<[Option<u32>; N], KeyError> {
        let mut values = [None; N];
        for part in self.key.split(',') {
            let (name, value) = part.split_once(':').ok_or_else(|| self.unknown())?;
            let at = names.iter().position(|n| *n == name.trim()).ok_or_else(|| self.unknown())?;
            let number = value.trim().parse();
            let number = number.map_err(|_| KeyError::Number { key: self.key.to_owned(), name: names[at] })?;
            if values[at].replace(number).is_some() {
                return Err(self.unknown());
            }
        }
        Ok(values)
    }

    fn only(&self, name: &'static str) -> Result<u32, KeyError> {
        let [length] = self.read([name])?;
        self.required(name, length, 1, CONNECTION_ID_MAX)
    }

    fn required(&self, name: &'static str, value: Option<u32>, min: u32, max: u32) -> Result<u32, KeyError> {
        let value = value.ok_or_else(|| KeyError::Number { key: self.key.to_owned(), name })?;
        self.in_range(name, value, min, max)
    }

    fn in_range(&self, name: &'static str, value: u32, min: u32, max: u32) -> Result<u32, KeyError> {
        let is_in = (min..=max).contains(&value);
        is_in.then_some(value).ok_or_else(|| KeyError::Range { key: self.key.to_owned(), name, value, min, max })
    }

    fn unknown(&self) -> KeyError {
        KeyError::Form(self.key.to_owned())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Heartbeat => f.write_str("heartbeat"),
            Self::Offset { offset, length } => write!(f, "offset:{offset},len:{length}"),
            Self::Quic { length, prefix } => write!(f, "quic:{length},prefix:{prefix}"),
            Self::Dtls12 { length } => write!(f, "dtls12:{length}"),
            Self::Dtls13 { length } => write!(f, "dtls13:{length}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written_back() {
        for (text, key) in [
            ("heartbeat", Key::Heartbeat),
            ("offset:8,len:16", Key::Offset { offset: 8, length: 16 }),
            ("quic:8,prefix:4", Key::Quic { length: 8, prefix: 4 }),
            ("dtls12:8", Key::Dtls12 { length: 8 }),
            ("dtls13:20", Key::Dtls13 { length: 20 }),
        ] {
            assert_eq!(text.parse(), Ok(key));
            assert_eq!(key.to_string(), text);
        }
        assert_eq!("quic:20".parse(), Ok(Key::Quic { length: 20, prefix: 16 }), "an id holds 16 bytes");
    }

    fn form(key: &str) -> String {
        KeyError::Form(key.to_owned()).to_string()
    }

    #[test]
    fn a_wrong_key_is_refused_with_what_is_wrong() {
        for (text, said) in [
            ("", form("")),
            ("heartbeat:1", form("heartbeat:1")),
            ("imei", form("imei")),
            ("len:4,offset:2", form("len:4,offset:2")),
            ("quic:8,prefix:4,prefix:5", form("quic:8,prefix:4,prefix:5")),
            ("offset:8", "`len` of key `offset:8` wants a number".to_owned()),
            ("offset:x,len:4", "`offset` of key `offset:x,len:4` wants a number".to_owned()),
            ("offset:8,len:17", "`len` of key `offset:8,len:17` must be 1 to 16, and is 17".to_owned()),
            ("quic:21", "`quic` of key `quic:21` must be 1 to 20, and is 21".to_owned()),
            ("quic:4,prefix:5", "`prefix` of key `quic:4,prefix:5` must be 1 to 4, and is 5".to_owned()),
            ("dtls12:0", "`dtls12` of key `dtls12:0` must be 1 to 20, and is 0".to_owned()),
        ] {
            assert_eq!(text.parse::<Key>().expect_err("it is wrong").to_string(), said);
        }
    }
}
