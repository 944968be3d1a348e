//! One request: read, taken apart, left in the inbox, answered. The same for gRPC and HTTP; only the first and the last
//! lines differ.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsPartialSuccess, ExportMetricsServiceResponse};
use prost::Message;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tonic::Status;

use super::body::{self, Budget, Charge, Format};
use super::inbox::{Full as InboxFull, Inbox};
use super::parcel::{Sorted, Sorter};
use super::refusal::Refusal;
use super::refused::Refused;
use crate::telemetry::metrics::{Metrics, OutcomeLabels};

/// Time for a whole request to arrive and be decoded.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// Requests that are decoded at once: a decoded one takes up to fifty times its bytes where it is made to.
const DECODED_AT_ONCE: usize = 2;
/// Bytes of all requests that are being read, as a multiple of the largest one.
const BODIES_AT_ONCE: usize = 8;
/// When a sender that found no room may come again.
const RETRY_AFTER_SECONDS: &str = "5";

const EXPORT: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC: &str = "application/grpc";
const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// What an answer consists of.
pub(super) type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// What all connections share.
#[derive(Debug)]
pub(super) struct Door {
    inbox: Arc<Inbox>,
    sorter: Arc<Sorter>,
    metrics: Metrics,
    body_max_bytes: usize,
    budget: Arc<Budget>,
    decoders: Semaphore,
    /// Refusals that were said, each with the first metric that met it.
    said: Mutex<BTreeMap<Refusal, String>>,
}

/// The error body of OTLP/HTTP: `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

impl Door {
    pub(super) fn new(inbox: Arc<Inbox>, body_max_bytes: usize, metrics: Metrics) -> Self {
        Self {
            inbox,
            sorter: Arc::default(),
            metrics,
            body_max_bytes,
            budget: Budget::new(body_max_bytes.saturating_mul(BODIES_AT_ONCE)),
            decoders: Semaphore::new(DECODED_AT_ONCE),
            said: Mutex::default(),
        }
    }

    /// Answers one request.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let format = format_of(request.headers());
        let accepted = match format {
            None => Err(Refused::MediaType),
            Some(format) => timeout(REQUEST_MAX, self.accept(request, format)).await.unwrap_or(Err(Refused::TooSlow)),
        };
        let outcome = accepted.as_ref().map_or_else(Refused::as_str, |_| "ok");
        self.metrics.otlp_requests.get_or_create(&OutcomeLabels { outcome }).inc();
        match (format, accepted) {
            (Some(Format::Grpc), Ok(response)) => grpc(&response),
            (Some(Format::Grpc), Err(refused)) => {
                Status::new(refused.code(), refused.to_string()).into_http::<Full<Bytes>>().map(Full::boxed_unsync)
            }
            (Some(Format::Json), Ok(response)) => http(StatusCode::OK, JSON, json_of(&response)),
            (_, Ok(response)) => http(StatusCode::OK, PROTOBUF, response.encode_to_vec()),
            (format, Err(refused)) => http_refused(format, &refused),
        }
    }

    async fn accept(
        &self,
        request: Request<Incoming>,
        format: Format,
    ) -> Result<ExportMetricsServiceResponse, Refused> {
        let path = request.uri().path().trim_end_matches('/');
        if path != if format == Format::Grpc { EXPORT } else { "/v1/metrics" } {
            return Err(Refused::Path);
        }
        if *request.method() != Method::POST {
            return Err(Refused::Method);
        }
        let encoding = if format == Format::Grpc { GRPC_ENCODING } else { CONTENT_ENCODING };
        let is_gzip = is_gzip(request.headers().get(encoding))?;
        let mut charge = Charge::on(&self.budget);
        let body = body::read(request.into_body(), self.body_max_bytes, &mut charge).await?;
        let (sorted, bytes) = self.sort(body, format, is_gzip).await?;
        drop(charge);
        self.leave(sorted, bytes)
    }

    async fn sort(&self, body: Bytes, format: Format, is_gzip: bool) -> Result<(Sorted, usize), Refused> {
        let _turn = self.decoders.acquire().await.expect("the decoders are never closed");
        let (sorter, wanted, max_bytes) = (Arc::clone(&self.sorter), self.inbox.wanted(), self.body_max_bytes);
        let at = Instant::now();
        let sorting = tokio::task::spawn_blocking(move || {
            let (request, bytes) = body::decode(body, format, is_gzip, max_bytes)?;
            Ok((sorter.sort(request, &wanted, at), bytes))
        });
        sorting.await.unwrap_or(Err(Refused::Busy))
    }

    fn leave(&self, mut sorted: Sorted, bytes: usize) -> Result<ExportMetricsServiceResponse, Refused> {
        let taken = sorted.taken() as u64;
        self.inbox.leave(std::mem::take(&mut sorted.parcels), bytes).map_err(|InboxFull| Refused::Busy)?;
        self.count("ok", taken);
        self.count("unwanted", sorted.unwanted);
        let Some(metric) = sorted.first_refused else { return Ok(ExportMetricsServiceResponse::default()) };
        for (refusal, points) in &sorted.refused {
            self.count(refusal.as_str(), *points);
            self.say(*refusal, &metric);
        }
        let reasons: Vec<&str> = sorted.refused.keys().map(|refusal| refusal.advice()).collect();
        let rejected = sorted.refused.values().sum::<u64>();
        let partial_success = ExportMetricsPartialSuccess {
            rejected_data_points: i64::try_from(rejected).unwrap_or(i64::MAX),
            error_message: format!("{metric} {}", reasons.join("; ")),
        };
        Ok(ExportMetricsServiceResponse { partial_success: Some(partial_success) })
    }

    fn count(&self, outcome: &'static str, points: u64) {
        if points > 0 {
            self.metrics.otlp_points.get_or_create(&OutcomeLabels { outcome }).inc_by(points);
        }
    }

    /// Once each: senders repeat themselves every few seconds.
    fn say(&self, refusal: Refusal, metric: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.insert(refusal, metric.to_owned()).is_none() {
            let reason = refusal.as_str();
            tracing::warn!(metric, reason, "points over OTLP are refused: the metric {}", refusal.advice());
        }
    }

    /// What was refused so far, each with the newest metric that met it.
    pub(super) fn refusals(&self) -> BTreeMap<Refusal, String> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn format_of(headers: &HeaderMap) -> Option<Format> {
    let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media_type.as_str() {
        PROTOBUF => Some(Format::Protobuf),
        JSON => Some(Format::Json),
        GRPC | "application/grpc+proto" => Some(Format::Grpc),
        _ => None,
    }
}

fn is_gzip(encoding: Option<&HeaderValue>) -> Result<bool, Refused> {
    match encoding.map(HeaderValue::as_bytes) {
        None | Some(b"" | b"identity") => Ok(false),
        Some(b"gzip") => Ok(true),
        Some(_) => Err(Refused::Encoding),
    }
}

fn grpc(response: &ExportMetricsServiceResponse) -> Answer {
    let length = response.encoded_len();
    let mut framed = BytesMut::with_capacity(length + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(length).expect("our own answers are short"));
    framed.extend_from_slice(&response.encode_to_vec());
    let trailers = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("0"))]);
    let body = Full::new(framed.freeze()).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut answer = Response::new(body.boxed_unsync());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
    answer
}

/// A success without anything to say has no field (OTLP/HTTP, "Full Success").
fn json_of(response: &ExportMetricsServiceResponse) -> Vec<u8> {
    let said = response.partial_success.as_ref().and_then(|_| serde_json::to_vec(response).ok());
    said.unwrap_or_else(|| b"{}".to_vec())
}

fn http_refused(format: Option<Format>, refused: &Refused) -> Answer {
    let status = RpcStatus { code: refused.code() as i32, message: refused.to_string() };
    let mut answer = match format {
        Some(Format::Json) => {
            let body = serde_json::json!({ "code": status.code, "message": status.message });
            http(refused.status(), JSON, body.to_string().into_bytes())
        }
        Some(_) => http(refused.status(), PROTOBUF, status.encode_to_vec()),
        None => http(refused.status(), "text/plain; charset=utf-8", format!("{refused}\n").into_bytes()),
    };
    match refused {
        Refused::Busy => drop(answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS))),
        Refused::Method => drop(answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"))),
        _ => {}
    }
    answer
}

fn http(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)).boxed_unsync());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::otlp::parcel::tests::{point, request, sum};
    use crate::source::otlp::parcel::{Wanted, WantedMetric};

    #[test]
    fn a_sender_that_finds_no_room_is_told_to_come_again() {
        let inbox = Arc::new(Inbox::default());
        let door = Door::new(Arc::clone(&inbox), 65_536, Metrics::default());
        let wanted = Wanted(vec![WantedMetric { metric: "a".to_owned(), refuses_spans: false }]);
        let sorted = || {
            let metric = sum("a", true, vec![point(1, 2, 3.0)]);
            Sorter::default().sort(request("shop", "test", vec![metric]), &wanted, Instant::now())
        };
        door.leave(sorted(), 100).expect("room");
        let refused = door.leave(sorted(), usize::MAX).expect_err("no room");
        assert_eq!((refused.code(), refused.as_str()), (tonic::Code::Unavailable, "busy"));
        let answer = http_refused(Some(Format::Protobuf), &refused);
        assert_eq!(
            (answer.status(), answer.headers()[RETRY_AFTER].as_bytes()),
            (StatusCode::SERVICE_UNAVAILABLE, &b"5"[..])
        );
        inbox.take();
        door.leave(sorted(), 100).expect("room again");
    }

    #[test]
    fn senders_are_told_what_was_refused_and_why() {
        let door = Door::new(Arc::new(Inbox::default()), 65_536, Metrics::default());
        let wanted = Wanted(vec![WantedMetric { metric: "a".to_owned(), refuses_spans: false }]);
        let metric = sum("a", true, vec![point(1, 2, 3.0), point(1, 2, -3.0), point(5, 2, 3.0)]);
        let sorted = Sorter::default().sort(request("shop", "test", vec![metric]), &wanted, Instant::now());
        let said = door.leave(sorted, 100).expect("room").partial_success.expect("two were refused");
        assert_eq!(said.rejected_data_points, 2);
        assert!(
            said.error_message.contains("negative") && said.error_message.contains("before their start"),
            "{said:?}"
        );
        assert_eq!(door.refusals().len(), 2);
    }
}
