//! The body of a request, read within bounds: bytes of one request, bytes of all requests at once, and time. Compressed
//! bodies are bounded by what comes out of them.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf, Bytes};
use flate2::read::MultiGzDecoder;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message;

use super::refused::Refused;

/// One byte that says whether the message is compressed, four of its length (gRPC over HTTP/2, Length-Prefixed-Message).
const PREFIX_BYTES: usize = 5;

/// How a request's bytes are to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// One message as it is.
    Protobuf,
    /// The same in ProtoJSON.
    Json,
    /// One message behind gRPC's prefix.
    Grpc,
}

/// Bytes of all requests that are being read, at most `max`.
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicUsize,
    max: usize,
}

/// A part of the budget; given back when dropped.
#[derive(Debug)]
pub(super) struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), max })
    }
}

impl Charge {
    pub(super) fn on(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0 }
    }

    fn add(&mut self, bytes: usize) -> Result<(), Refused> {
        self.bytes += bytes;
        let before = self.budget.used.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.budget.max { Err(Refused::Busy) } else { Ok(()) }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The whole body as it came, in the pieces that it came in.
pub(super) async fn read(mut body: Incoming, max_bytes: usize, charge: &mut Charge) -> Result<Bytes, Refused> {
    if body.size_hint().lower() > max_bytes as u64 {
        return Err(Refused::TooLarge { max_bytes });
    }
    let (mut pieces, mut length) = (Vec::new(), 0usize);
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(Refused::Broken)?.into_data() else { continue };
        length = length.saturating_add(piece.len());
        if length > max_bytes {
            return Err(Refused::TooLarge { max_bytes });
        }
        charge.add(piece.len())?;
        pieces.push(piece);
    }
    if pieces.len() == 1 {
        return Ok(pieces.swap_remove(0));
    }
    charge.add(length)?;
    Ok(pieces.concat().into())
}

/// The request in `body`, and its length; `is_gzip` as the request's headers say.
pub(super) fn decode(
    body: Bytes,
    format: Format,
    is_gzip: bool,
    max_bytes: usize,
) -> Result<(ExportMetricsServiceRequest, usize), Refused> {
    let (message, is_gzip) = match format {
        Format::Grpc => unframed(body, is_gzip)?,
        Format::Protobuf | Format::Json => (body, is_gzip),
    };
    let message = if is_gzip { unzipped(&message, max_bytes)? } else { message };
    let length = message.len();
    let request = match format {
        Format::Json => serde_json::from_slice(&message).map_err(|error| error.to_string()),
        Format::Grpc | Format::Protobuf => {
            ExportMetricsServiceRequest::decode(message).map_err(|error| error.to_string())
        }
    };
    Ok((request.map_err(Refused::Malformed)?, length))
}

/// The one message of a unary call, and whether it is compressed.
fn unframed(mut body: Bytes, is_gzip: bool) -> Result<(Bytes, bool), Refused> {
    if body.len() < PREFIX_BYTES {
        return Err(Refused::Malformed("the request ended before its message".to_owned()));
    }
    let (flag, length) = (body.get_u8(), body.get_u32() as usize);
    if body.len() != length {
        return Err(Refused::Malformed(format!("one message of {length} bytes is announced, {} came", body.len())));
    }
    match flag {
        0 => Ok((body, false)),
        1 if is_gzip => Ok((body, true)),
        _ => Err(Refused::Encoding),
    }
}

fn unzipped(packed: &[u8], max_bytes: usize) -> Result<Bytes, Refused> {
    let mut unpacked = Vec::new();
    let mut reader = MultiGzDecoder::new(packed).take(max_bytes as u64 + 1);
    reader.read_to_end(&mut unpacked).map_err(|error| Refused::Malformed(format!("not gzip: {error}")))?;
    if unpacked.len() > max_bytes { Err(Refused::TooLarge { max_bytes }) } else { Ok(unpacked.into()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;
    use crate::source::otlp::parcel::tests::{point, request, sum};

    const MAX: usize = 100_000;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).expect("to memory");
        encoder.finish().expect("to memory")
    }

    fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).expect("small").to_be_bytes();
        [&[flag][..], &length[..], message].concat()
    }

    #[test]
    fn a_request_is_read_in_every_format() {
        let sent = request("shop", "test", vec![sum("a", false, vec![point(1, 2, 3.0)])]);
        let (bytes, json) = (sent.encode_to_vec(), serde_json::to_vec(&sent).expect("JSON"));
        for (format, is_gzip, body) in [
            (Format::Protobuf, false, bytes.clone()),
            (Format::Protobuf, true, gzip(&bytes)),
            (Format::Json, false, json.clone()),
            (Format::Json, true, gzip(&json)),
            (Format::Grpc, false, framed(0, &bytes)),
            (Format::Grpc, true, framed(0, &bytes)),
            (Format::Grpc, true, framed(1, &gzip(&bytes))),
        ] {
            assert_eq!(decode(body.into(), format, is_gzip, MAX).expect("read").0, sent, "{format:?} {is_gzip}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let bomb = gzip(&vec![0; MAX + 1]);
        let table = [
            (Format::Protobuf, false, b"\xff".to_vec(), "malformed"),
            (Format::Json, false, b"{".to_vec(), "malformed"),
            (Format::Json, false, "[".repeat(10_000).into_bytes(), "malformed"),
            (Format::Protobuf, true, b"no gzip".to_vec(), "malformed"),
            (Format::Protobuf, true, bomb.clone(), "too_large"),
            (Format::Grpc, true, framed(1, &bomb), "too_large"),
            (Format::Grpc, false, framed(1, &gzip(b"")), "encoding"),
            (Format::Grpc, false, b"\0\0\0\0".to_vec(), "malformed"),
            (Format::Grpc, false, b"\0\0\0\0\x05abc".to_vec(), "malformed"),
            (Format::Grpc, false, b"\0\0\0\0\0abc".to_vec(), "malformed"),
        ];
        for (format, is_gzip, body, expected) in table {
            let shown = format!("{format:?} {:?}", &body[..body.len().min(9)]);
            let refused = decode(body.into(), format, is_gzip, MAX).expect_err(&shown);
            assert_eq!(refused.as_str(), expected, "{shown}");
        }
    }

    #[test]
    fn requests_together_are_bounded() {
        let budget = Budget::new(100);
        let mut first = Charge::on(&budget);
        first.add(80).expect("room");
        let mut second = Charge::on(&budget);
        assert!(matches!(second.add(30), Err(Refused::Busy)));
        drop((first, second));
        Charge::on(&budget).add(100).expect("all of it again");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..300), is_gzip in any::<bool>()) {
            for format in [Format::Protobuf, Format::Json, Format::Grpc] {
                let _ = decode(Bytes::from(body.clone()), format, is_gzip, MAX);
            }
        }

        #[test]
        fn no_text_panics_as_json(text in r#"\{"resourceMetrics":\[\{"scopeMetrics":\[[a-z0-9{}\[\]":,]{0,60}\]\}\]\}"#) {
            let _ = decode(Bytes::from(text), Format::Json, false, MAX);
        }
    }
}
