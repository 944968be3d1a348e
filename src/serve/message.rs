//! One gRPC request message, read within bounds, and everything that can be wrong with it.

use std::future::Future;
use std::time::Duration;

use ::http::header::CONTENT_TYPE;
use ::http::{HeaderMap, Method, Request};
use bytes::{Buf, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;
use tonic::Status;

/// Time for a whole request to arrive; without it a stream of a live connection could wait for ever.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// One byte that says whether the message is compressed, four of its length (gRPC over HTTP/2, Length-Prefixed-Message).
const PREFIX_BYTES: usize = 5;

/// Why a request is not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("not a gRPC request: POST with content-type application/grpc is expected")]
    NotGrpc,
    #[error("compressed requests are not taken: send the message uncompressed (grpc-encoding: identity)")]
    Compressed,
    #[error("the message is larger than {max_bytes} bytes")]
    TooLarge { max_bytes: usize },
    #[error("the request ended before its message")]
    Truncated,
    #[error("one message is expected, and more came")]
    MoreThanOne,
    #[error("the message cannot be decoded: {0}")]
    Malformed(#[from] prost::DecodeError),
    #[error("service must have 1 to {max_bytes} bytes, and has {bytes}")]
    ServiceName { bytes: usize, max_bytes: usize },
    #[error("the request did not arrive within {} s", REQUEST_MAX.as_secs())]
    TooSlow,
    #[error("the request broke off: {0}")]
    Broken(#[from] hyper::Error),
}

impl From<&Refusal> for Status {
    fn from(refusal: &Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            Refusal::NotGrpc | Refusal::Truncated | Refusal::Malformed(_) | Refusal::ServiceName { .. } => {
                Self::invalid_argument(text)
            }
            Refusal::Compressed | Refusal::MoreThanOne => Self::unimplemented(text),
            Refusal::TooLarge { .. } => Self::resource_exhausted(text),
            Refusal::TooSlow => Self::deadline_exceeded(text),
            Refusal::Broken(_) => Self::cancelled(text),
        }
    }
}

/// Reads the only message of `request`, of at most `max_bytes`.
pub(super) async fn read<M: prost::Message + Default>(
    request: Request<Incoming>,
    max_bytes: usize,
) -> Result<M, Refusal> {
    if request.method() != Method::POST || !is_grpc(request.headers()) {
        return Err(Refusal::NotGrpc);
    }
    let bytes = in_time(collect(request.into_body(), max_bytes)).await??;
    Ok(M::decode(unframe(&bytes, max_bytes)?)?)
}

/// What `reading` gives, if the peer is not too slow for it. Arms a timer only if it has to wait.
pub(super) async fn in_time<F: Future>(reading: F) -> Result<F::Output, Refusal> {
    timeout(REQUEST_MAX, reading).await.map_err(|_| Refusal::TooSlow)
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

async fn collect(mut body: Incoming, max_bytes: usize) -> Result<BytesMut, Refusal> {
    let mut whole = BytesMut::new();
    while !body.is_end_stream() {
        let Some(frame) = body.frame().await else { break };
        let Ok(piece) = frame?.into_data() else { continue };
        if whole.len() + piece.len() > PREFIX_BYTES + max_bytes {
            return Err(Refusal::TooLarge { max_bytes });
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}

fn unframe(mut framed: &[u8], max_bytes: usize) -> Result<&[u8], Refusal> {
    if framed.len() < PREFIX_BYTES {
        return Err(Refusal::Truncated);
    }
    let (is_compressed, length) = (framed.get_u8() != 0, framed.get_u32() as usize);
    match length {
        _ if is_compressed => Err(Refusal::Compressed),
        _ if length > max_bytes => Err(Refusal::TooLarge { max_bytes }),
        _ if length > framed.len() => Err(Refusal::Truncated),
        _ if length < framed.len() => Err(Refusal::MoreThanOne),
        _ => Ok(framed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_taken_whole_or_refused_by_name() {
        assert_eq!(unframe(b"\0\0\0\0\x02ab", 4).ok(), Some(&b"ab"[..]));
        assert_eq!(unframe(b"\0\0\0\0\0", 4).ok(), Some(&b""[..]));
        let refusal = |framed: &'static [u8]| unframe(framed, 4).expect_err("refused");
        assert!(matches!(refusal(b""), Refusal::Truncated));
        assert!(matches!(refusal(b"\0\0\0\0\x02a"), Refusal::Truncated));
        assert!(matches!(refusal(b"\x01\0\0\0\x02ab"), Refusal::Compressed));
        assert!(matches!(refusal(b"\0\0\0\0\x05abcde"), Refusal::TooLarge { max_bytes: 4 }));
        assert!(matches!(refusal(b"\0\0\0\0\x01ab"), Refusal::MoreThanOne));
    }
}
