//! What goes back on a gRPC stream: bytes that are ready, and trailers.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::http::header::CONTENT_TYPE;
use ::http::{HeaderMap, HeaderName, HeaderValue, Response};
use bytes::Bytes;
use http_body::{Body, Frame};
use tonic::Status;

use super::stream::Watch;
use crate::socket::idle::Requests;

const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// A body; while it lives, its connection is in use.
pub(super) struct Reply {
    content: Content,
    _open: Requests,
}

/// What a [`Reply`] has still to say.
pub(super) enum Content {
    /// One framed message, then the trailers.
    One(Bytes),
    /// The trailers of a request that succeeded.
    Trailers,
    /// The push stream.
    Watch(Box<Watch>),
    /// What tonic answered.
    Tonic(tonic::body::Body),
    /// Nothing.
    Ended,
}

impl Reply {
    pub(super) fn new(content: Content, open: Requests) -> Self {
        Self { content, _open: open }
    }
}

/// A response of one framed message.
pub(super) fn one(framed: Bytes) -> Response<Content> {
    ok(Content::One(framed))
}

/// A response that has its status in the trailers.
pub(super) fn ok(content: Content) -> Response<Content> {
    let mut response = Response::new(content);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// A response without a message: status and headers in one block. It names the encodings that requests may have, as
/// the protocol asks of a server that refuses one.
pub(super) fn refused(status: &Status) -> Response<Content> {
    let mut response = ok(Content::Ended);
    response.headers_mut().insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    response.headers_mut().extend(trailers(status));
    response
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let (frame, next) = match &mut self.content {
            Content::One(framed) => (Frame::data(std::mem::take(framed)), Content::Trailers),
            Content::Trailers => (Frame::trailers(success()), Content::Ended),
            Content::Watch(watch) => match ready!(watch.poll_bytes(cx)) {
                Ok(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Err(status) => (Frame::trailers(trailers(&status)), Content::Ended),
            },
            Content::Tonic(body) => return Pin::new(body).poll_frame(cx),
            Content::Ended => return Poll::Ready(None),
        };
        self.content = next;
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Tonic(body) => body.is_end_stream(),
            content => matches!(content, Content::Ended),
        }
    }
}

fn success() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    trailers
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    status.add_header(&mut trailers).expect("our own texts are valid in a header");
    trailers
}
