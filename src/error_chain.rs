//! An error and all that caused it, on one line: what a log, a table, and a person at a terminal are shown.
//!
//! Our own errors do not repeat their sources, so that a chain is read from the front. Libraries do, and a gRPC status says
//! its code and its metadata around its words: here each thing is said once, and of a status only its words.

use std::error::Error;
use std::fmt::Write as _;

use tonic::Status;

/// The error and its causes, outermost first, with `: ` between them.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = words(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = words(error);
        if !text.ends_with(&said) {
            let _ = write!(text, ": {said}");
        }
        cause = error.source();
    }
    text
}

/// What one error says of itself.
fn words(error: &(dyn Error + 'static)) -> String {
    // The device's errors hold a status boxed, and so it is seen here.
    let boxed = error.downcast_ref::<Box<Status>>().map(Box::as_ref);
    let status = boxed.or_else(|| error.downcast_ref::<Status>());
    let message = status.map(Status::message).filter(|message| !message.is_empty());
    message.map_or_else(|| error.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use flyball_sdk::device::grpc::SessionError;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        #[source]
        source: Option<Box<Link>>,
    }

    /// Outermost first.
    fn linked(texts: &[&'static str]) -> Link {
        let links = texts.iter().rev().fold(None, |source, text| Some(Box::new(Link { text, source })));
        *links.expect("some")
    }

    #[test]
    fn causes_follow_what_they_caused() {
        assert_eq!(chain(&linked(&["cannot open"])), "cannot open");
        assert_eq!(chain(&linked(&["cannot open", "no such file"])), "cannot open: no such file");
        assert_eq!(chain(&linked(&["a", "b", "c"])), "a: b: c");
    }

    #[test]
    fn what_a_cause_repeats_is_said_once_and_what_it_adds_is_kept() {
        let refused = linked(&["cannot connect", "transport error", "tcp connect error: refused", "refused"]);
        assert_eq!(chain(&refused), "cannot connect: transport error: tcp connect error: refused");
        assert_eq!(chain(&linked(&["timed out", "timed out", "after 3 s"])), "timed out: after 3 s");
    }

    #[test]
    fn of_a_status_its_words_are_shown_and_its_code_where_it_has_none() {
        let broke = SessionError::Broke(Box::new(Status::unavailable("shutting down")));
        assert_eq!(chain(&broke), "the session broke: shutting down");
        let refused = SessionError::Refused(Box::new(Status::unauthenticated("wrong token")));
        assert_eq!(chain(&refused), "the server refuses the session: wrong token");
        assert_eq!(chain(&Status::not_found("no such device")), "no such device");
        assert!(chain(&Status::aborted("")).to_lowercase().contains("abort"), "{}", chain(&Status::aborted("")));
    }
}
