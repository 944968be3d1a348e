//! Length-prefixed messages (gRPC over HTTP/2): read as they come, within bounds, and written.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body::Body;
use hyper::body::Incoming;
use prost::Message;

use super::refusal::Refusal;
use crate::proto::flyball_v1::{DeviceMessage, ServerMessage, server_message};

/// Largest message from a device: a hello full of labels.
pub(super) const MESSAGE_MAX_BYTES: usize = 2_048;

/// One byte that says whether the message is compressed, four of its length.
const PREFIX_BYTES: usize = 5;

/// A device's half of a session.
#[derive(Debug)]
pub(super) struct Inbound {
    body: Incoming,
    /// Less than one HTTP/2 frame and one message; holds no memory while the device is silent.
    rest: BytesMut,
}

impl Inbound {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body, rest: BytesMut::new() }
    }

    /// The next message; `None` where the device ended its half.
    pub(super) fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<DeviceMessage>, Refusal>> {
        loop {
            if let Some(message) = take(&mut self.rest)? {
                return Poll::Ready(Ok(Some(message)));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None if self.rest.is_empty() => return Poll::Ready(Ok(None)),
                None => return Poll::Ready(Err(Refusal::Truncated)),
                Some(frame) => {
                    if let Ok(piece) = frame?.into_data() {
                        self.rest.extend_from_slice(&piece);
                    }
                }
            }
        }
    }
}

/// The first whole message in `framed`, taken out of it.
fn take(framed: &mut BytesMut) -> Result<Option<DeviceMessage>, Refusal> {
    let Some(mut prefix) = framed.get(..PREFIX_BYTES) else { return Ok(None) };
    let (is_compressed, length) = (prefix.get_u8() != 0, prefix.get_u32() as usize);
    if is_compressed {
        return Err(Refusal::Compressed);
    }
    if length > MESSAGE_MAX_BYTES {
        return Err(Refusal::TooLarge);
    }
    let Some(message) = framed.get(PREFIX_BYTES..PREFIX_BYTES + length) else { return Ok(None) };
    let message = DeviceMessage::decode(message)?;
    framed.advance(PREFIX_BYTES + length);
    if framed.is_empty() {
        *framed = BytesMut::new();
    }
    Ok(Some(message))
}

/// Messages to one device, framed one behind the other.
pub(super) fn framed(kinds: impl IntoIterator<Item = server_message::Kind>) -> Bytes {
    let mut bytes = BytesMut::new();
    for kind in kinds {
        let message = ServerMessage { kind: Some(kind) };
        bytes.put_u8(0); // not compressed
        bytes.put_u32(u32::try_from(message.encoded_len()).expect("some ten bytes"));
        message.encode(&mut bytes).expect("the buffer grows");
    }
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::flyball_v1::{Ack, device_message};

    fn ack(generation: u64) -> DeviceMessage {
        DeviceMessage { kind: Some(device_message::Kind::Ack(Ack { generation })) }
    }

    fn encoded(message: &DeviceMessage) -> Vec<u8> {
        let body = message.encode_to_vec();
        [&[0, 0, 0, 0, u8::try_from(body.len()).expect("short")][..], &body].concat()
    }

    #[test]
    fn messages_are_taken_whole_in_order_and_leave_nothing() {
        let all = [encoded(&ack(1)), encoded(&ack(300)), encoded(&ack(0))].concat();
        for cut in 0..=all.len() {
            let mut taken = Vec::new();
            let mut framed = BytesMut::new();
            for part in [&all[..cut], &all[cut..]] {
                framed.extend_from_slice(part);
                while let Some(message) = take(&mut framed).expect("well formed") {
                    taken.push(message);
                }
            }
            assert_eq!(taken, [ack(1), ack(300), ack(0)], "cut at {cut}");
            assert_eq!(framed.capacity(), 0);
        }
    }

    #[test]
    fn what_is_no_message_is_refused_by_name() {
        let refusal = |bytes: &[u8]| take(&mut BytesMut::from(bytes)).expect_err("refused");
        assert!(matches!(refusal(b"\x01\0\0\0\0"), Refusal::Compressed));
        assert!(matches!(refusal(b"\0\0\0\x08\x01"), Refusal::TooLarge));
        assert!(matches!(refusal(b"\0\0\0\0\x02\xff\xff"), Refusal::Malformed(_)));
        assert!(take(&mut BytesMut::from(&b"\0\0\0\x08\0"[..])).expect("largest").is_none());
    }
}
