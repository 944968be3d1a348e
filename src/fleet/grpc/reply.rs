//! What a call is answered with: a session, or the reason why not.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::{Body, Frame};
use tonic::Status;

use super::session::Session;

const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// A body.
pub(super) enum Reply {
    Session(Box<Session>),
    Refused,
}

/// The answer to a hello that was accepted.
pub(super) fn session(session: Session) -> Response<Reply> {
    response(Reply::Session(Box::new(session)))
}

/// Status and headers in one block. It names the encodings that messages may have, as the protocol asks of a server that
/// refuses one.
pub(super) fn refused(status: &Status) -> Response<Reply> {
    let mut response = response(Reply::Refused);
    response.headers_mut().insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    response.headers_mut().extend(trailers(status));
    response
}

fn response(reply: Reply) -> Response<Reply> {
    let mut response = Response::new(reply);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

pub(super) fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    status.add_header(&mut trailers).expect("our own texts are valid in a header");
    trailers
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match &mut *self {
            Self::Session(session) => Pin::new(&mut **session).poll_frame(cx),
            Self::Refused => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Session(session) => session.is_end_stream(),
            Self::Refused => true,
        }
    }
}
