//! Why a session does not begin, or ends: what the device is told, and the name it is counted by.

use std::time::Duration;

use tonic::Status;

use super::frame::MESSAGE_MAX_BYTES;
use super::hello::{LABELS_MAX, LABELS_MAX_BYTES};

/// The hello must be whole by then.
pub(super) const HELLO_MAX: Duration = Duration::from_secs(10);

/// Why a session does not begin, or ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("not a gRPC request: POST with content-type application/grpc is expected")]
    NotGrpc,
    #[error("unknown method: flyball.v1.Keepalive/Watch is served here")]
    Method,
    #[error("compressed messages are not taken: send them uncompressed (grpc-encoding: identity)")]
    Compressed,
    #[error("the message is larger than {MESSAGE_MAX_BYTES} bytes")]
    TooLarge,
    #[error("the stream ended inside a message")]
    Truncated,
    #[error("the message cannot be decoded: {0}")]
    Malformed(#[from] prost::DecodeError),
    #[error("no hello within {} s", HELLO_MAX.as_secs())]
    NoHello,
    #[error("the first message must be a hello, and no other may be")]
    Order,
    #[error("device_id must have 16 bytes, and has {bytes}")]
    DeviceId { bytes: usize },
    #[error("labels must be at most {LABELS_MAX} and {LABELS_MAX_BYTES} bytes, keys not empty, no control characters")]
    Labels,
    // One text for both: whether a key id exists is nobody's business.
    #[error("unknown key id or wrong token")]
    KeyId,
    #[error("unknown key id or wrong token")]
    Token,
    #[error("the device was seen with a later boot: the counter must not fall")]
    StaleBoot,
    #[error("too many devices: try another server, or later")]
    Full,
    #[error("another session of this device took over")]
    Replaced,
    #[error("no beat for longer than the order allows")]
    Silent,
    #[error("the device's master key was taken out of use")]
    Retired,
    #[error("the server is shutting down: reconnect")]
    Drain,
    #[error("the stream broke off: {0}")]
    Broken(#[from] hyper::Error),
}

impl Refusal {
    /// The name in metrics.
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::NotGrpc | Self::Method => "not_grpc",
            Self::Compressed | Self::TooLarge | Self::Truncated | Self::Malformed(_) | Self::Order => "malformed",
            Self::NoHello => "no_hello",
            Self::DeviceId { .. } | Self::Labels => "invalid",
            Self::KeyId => "key_id",
            Self::Token => "token",
            Self::StaleBoot => "stale_boot",
            Self::Full => "full",
            Self::Replaced => "replaced",
            Self::Silent => "silent",
            Self::Retired => "retired",
            Self::Drain => "drain",
            Self::Broken(_) => "broken",
        }
    }
}

impl From<&Refusal> for Status {
    fn from(refusal: &Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            Refusal::NotGrpc
            | Refusal::Truncated
            | Refusal::Malformed(_)
            | Refusal::Order
            | Refusal::DeviceId { .. }
            | Refusal::Labels => Self::invalid_argument(text),
            Refusal::Method | Refusal::Compressed => Self::unimplemented(text),
            Refusal::TooLarge | Refusal::Full => Self::resource_exhausted(text),
            Refusal::NoHello | Refusal::Silent => Self::deadline_exceeded(text),
            Refusal::KeyId | Refusal::Token | Refusal::StaleBoot | Refusal::Retired => Self::unauthenticated(text),
            Refusal::Replaced => Self::aborted(text),
            Refusal::Drain => Self::unavailable(text),
            Refusal::Broken(_) => Self::cancelled(text),
        }
    }
}
