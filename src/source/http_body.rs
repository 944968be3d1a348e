//! Reading a body up to a bound. The bound is on decompressed bytes: a small answer may unpack to a large one.

use bytes::{Bytes, BytesMut};
use reqwest::Response;

use super::error::QueryError;

/// How much of a body is read, and what an operator can do when it is too little.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyLimit {
    pub(super) max_bytes: usize,
    pub(super) advice: &'static str,
}

/// The whole body, or an error as soon as it is longer than the limit.
pub(super) async fn read(mut response: Response, limit: BodyLimit) -> Result<Bytes, QueryError> {
    let too_large = || QueryError::too_large(limit.max_bytes, "bytes", limit.advice);
    let announced = response.content_length().unwrap_or(0);
    if announced > limit.max_bytes as u64 {
        return Err(too_large());
    }
    // Kept as they come: a buffer that doubles would hold a body that is refused up to three times.
    let (mut chunks, mut length) = (Vec::new(), 0usize);
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        length = length.saturating_add(chunk.len());
        if length > limit.max_bytes {
            return Err(too_large());
        }
        chunks.push(chunk);
    }
    let mut body = BytesMut::with_capacity(length);
    for chunk in chunks {
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// The first `max_bytes` of a body, or what came of them before it broke.
pub(super) async fn read_start(mut response: Response, max_bytes: usize) -> Bytes {
    let mut body = BytesMut::new();
    while let (true, Ok(Some(chunk))) = (body.len() < max_bytes, response.chunk().await) {
        body.extend_from_slice(&chunk);
    }
    body.truncate(max_bytes);
    body.freeze()
}

/// A connection that failed, or did not get on in time.
pub(super) fn unreachable(error: reqwest::Error) -> QueryError {
    QueryError::Unreachable(Some(Box::new(error)))
}
