//! `flyball.v1.Sampling/Watch`: the strategy in force, and then each change.
//!
//! A stream is an HTTP body that is asked for bytes when the peer has room for them. It keeps no queue: each time it is
//! asked it compares what it sent last with the snapshot in force, so a slow reader misses what was in between and gets
//! the newest. All streams of a service share the encoded strategy; a wake-up that changes nothing for a service costs
//! its streams a look-up.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::Stream;
use prost::encoding::{encoded_len_varint, uint64};
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::Status;

use super::counts::Open;
use super::desk::Desk;
use super::message::Refusal;
use crate::controller::answer::Answer;
use crate::controller::snapshot::SERVICE_NAME_MAX_BYTES;
use crate::proto::flyball_v1::WatchRequest;

/// Field number of `Strategy.generation`; `Answer::stream_tail` has the rest.
const GENERATION_FIELD: u32 = 1;

/// One open stream: the only state that it makes.
pub(super) struct Watch {
    desk: Arc<Desk>,
    service: Box<str>,
    sent: Option<Arc<Answer>>,
    /// The second part of a message whose first part was given out.
    tail: Option<Bytes>,
    changes: WatchStream<u64>,
    drain: Pin<Box<WaitForCancellationFutureOwned>>,
    _open: Open,
}

impl Watch {
    /// Refuses what cannot be a service's name.
    pub(super) fn open(desk: &Arc<Desk>, request: WatchRequest) -> Result<Self, Refusal> {
        check_name(&request.service)?;
        Ok(Self {
            desk: Arc::clone(desk),
            service: request.service.into_boxed_str(),
            sent: None,
            tail: None,
            changes: WatchStream::from_changes(desk.published.subscribe()),
            drain: Box::pin(desk.drain.clone().cancelled_owned()),
            _open: Open::on(&desk.streams),
        })
    }

    /// The next bytes of the stream, or how it ends.
    pub(super) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Status>> {
        if let Some(tail) = self.tail.take() {
            return Poll::Ready(Ok(tail));
        }
        if self.drain.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(Status::unavailable("the server is shutting down: reconnect")));
        }
        loop {
            if let Some(head) = self.changed() {
                return Poll::Ready(Ok(head));
            }
            match Pin::new(&mut self.changes).poll_next(cx) {
                Poll::Ready(Some(_)) => {}
                Poll::Ready(None) => return Poll::Ready(Err(Status::unavailable("nothing is published any more"))),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The head of a message if the strategy in force is not the one sent last; its tail is kept for the next poll.
    fn changed(&mut self) -> Option<Bytes> {
        let snapshot = self.desk.published.load();
        let answer = snapshot.answer(&self.service);
        let before = self.sent.as_ref();
        if before.is_some_and(|sent| Arc::ptr_eq(sent, answer)) {
            return None;
        }
        let is_same = before.is_some_and(|sent| sent.stream_tail == answer.stream_tail);
        let head = (!is_same).then(|| head(snapshot.generation, answer.stream_tail.len()));
        self.tail = (!is_same && !answer.stream_tail.is_empty()).then(|| answer.stream_tail.clone());
        self.sent = Some(Arc::clone(answer));
        head
    }
}

/// Names that a stream or a report may carry.
pub(super) fn check_name(service: &str) -> Result<(), Refusal> {
    let bytes = service.len();
    if (1..=SERVICE_NAME_MAX_BYTES).contains(&bytes) {
        return Ok(());
    }
    Err(Refusal::ServiceName { bytes, max_bytes: SERVICE_NAME_MAX_BYTES })
}

/// The frame's prefix and the generation; `tail_bytes` follow.
fn head(generation: u64, tail_bytes: usize) -> Bytes {
    let generation_bytes = 1 + encoded_len_varint(generation);
    let mut head = BytesMut::with_capacity(5 + generation_bytes);
    head.put_u8(0); // not compressed
    head.put_u32(u32::try_from(generation_bytes + tail_bytes).expect("a strategy is far below 4 GiB"));
    uint64::encode(GENERATION_FIELD, &generation, &mut head);
    head.freeze()
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::controller::answer::Strategy;
    use crate::proto::flyball_v1;
    use crate::sampling::probability::Probability;

    #[test]
    fn head_and_tail_are_one_message_with_the_generation_of_the_snapshot() {
        let operations = vec![("a".into(), Probability::ZERO)];
        let strategy = Strategy { operations, ..Strategy::uniform(Probability::ONE) };
        let tail = strategy.into_answer(3).stream_tail;
        let framed = [head(1_700_000_000_000, tail.len()), tail].concat();
        assert_eq!(u32::from_be_bytes([framed[1], framed[2], framed[3], framed[4]]) as usize, framed.len() - 5);
        let message = flyball_v1::Strategy::decode(&framed[5..]).expect("our own message");
        let operations = vec![flyball_v1::Operation { name: "a".to_owned(), probability: 0.0 }];
        let (generation, probability) = (1_700_000_000_000, 1.0);
        assert_eq!(message, flyball_v1::Strategy { generation, probability, operations, ..Default::default() });
    }
}
