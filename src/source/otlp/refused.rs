//! Why a request is not taken, as either protocol says it. What may be better the next time (no room, too slow) is told
//! so that senders keep the points and come again; what never will is told so that they drop them.

use http::StatusCode;
use tonic::Code;

/// Why a request is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("not found: only metrics are taken here, at /v1/metrics")]
    Path,
    #[error("POST is expected")]
    Method,
    #[error("the content-type is none of application/x-protobuf, application/json and application/grpc")]
    MediaType,
    #[error("the encoding is neither identity nor gzip")]
    Encoding,
    #[error(
        "the request has more than {max_bytes} bytes: export smaller batches, or raise `source.otlp.body_max_bytes`"
    )]
    TooLarge { max_bytes: usize },
    #[error("the request did not arrive in time")]
    TooSlow,
    #[error("the request broke off: {0}")]
    Broken(#[source] hyper::Error),
    #[error("the request cannot be decoded: {0}")]
    Malformed(String),
    #[error("too much is waiting: come again in a few seconds")]
    Busy,
}

impl Refused {
    /// As a metric's label.
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::Path | Self::Method | Self::MediaType => "not_otlp",
            Self::Encoding => "encoding",
            Self::TooLarge { .. } => "too_large",
            Self::TooSlow => "too_slow",
            Self::Broken(_) => "broken",
            Self::Malformed(_) => "malformed",
            Self::Busy => "busy",
        }
    }

    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::Path => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::MediaType | Self::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Broken(_) | Self::Malformed(_) => StatusCode::BAD_REQUEST,
            // 408 would not be retried (OTLP/HTTP, "Retryable Response Codes").
            Self::TooSlow | Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    pub(super) const fn code(&self) -> Code {
        match self {
            Self::Path | Self::Method | Self::MediaType | Self::Encoding => Code::Unimplemented,
            // Without a RetryInfo this is not retried (OTLP/gRPC, "Failures").
            Self::TooLarge { .. } => Code::ResourceExhausted,
            Self::TooSlow | Self::Busy => Code::Unavailable,
            Self::Broken(_) | Self::Malformed(_) => Code::InvalidArgument,
        }
    }
}
