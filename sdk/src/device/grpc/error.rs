//! Why a session is over.

use std::error::Error;
use std::io;
use std::time::Duration;

use tonic::{Code, Status};

/// Why a session is over, or could not begin.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// No connection.
    #[error("cannot connect")]
    Connect(#[source] tonic::transport::Error),
    /// The server does not take this device.
    #[error("the server refuses the session: {}", .0.message())]
    Refused(#[source] Box<Status>),
    /// It was taken, and is over.
    #[error("the session broke")]
    Broke(#[source] Box<Status>),
    /// The server ended it.
    #[error("the server ended the session")]
    Ended,
    /// No answer to the hello.
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    /// No answer to a beat.
    #[error("a beat was not answered within {0:?}: the connection is dead")]
    Unanswered(Duration),
}

impl SessionError {
    pub(super) fn of_begun(status: Status) -> Self {
        match status.code() {
            Code::Unauthenticated | Code::InvalidArgument | Code::ResourceExhausted => Self::Refused(Box::new(status)),
            _ => Self::Broke(Box::new(status)),
        }
    }

    /// Whether the peer, or somebody in its name, reset the connection.
    pub(super) fn is_reset(&self) -> bool {
        let Self::Broke(status) = self else { return false };
        let mut cause = status.source();
        while let Some(error) = cause {
            // HTTP/2's error does not name its cause as a source.
            let of_connection = error.downcast_ref::<h2::Error>().and_then(h2::Error::get_io);
            if let Some(error) = of_connection.or_else(|| error.downcast_ref()) {
                return matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe);
            }
            cause = error.source();
        }
        false
    }
}
