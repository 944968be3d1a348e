//! Jaeger remote sampling over HTTP/1.1.
//!
//! Clients disagree on the path: some append `/sampling` to whatever they were given, and what people configure ends
//! with it or with a slash, or not. Any of these is answered. The query is read as Go's `url.Query` does it (Jaeger's
//! own server): `+` is a space, pairs are split at `&` only. Beyond that, raw characters and stray `%` are taken as they
//! are, because the JavaScript client does not encode the name; only `"`, `<` and `>` make a request that hyper refuses
//! with 400, and clients' URL libraries encode these. Bytes that are not UTF-8 make a stranger's name.

use std::borrow::Cow;
use std::convert::Infallible;
use std::future::ready;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::{ALLOW, CONNECTION, CONTENT_TYPE};
use ::http::{HeaderValue, Method, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use url::form_urlencoded;

use super::DRAIN_MAX;
use super::counts::Open;
use super::desk::Desk;
use crate::socket::idle::{Patience, Requests};

/// Pollers come once a minute or less often: a new connection then is cheaper than a slot held between.
const PATIENCE: Patience =
    Patience { first: Duration::from_secs(15), check: Duration::from_secs(15), drain: DRAIN_MAX };

/// Largest head of a request. A service name of 256 bytes takes 768 with every byte encoded.
const HEAD_MAX_BYTES: usize = 16 * 1024;

const USAGE: &str = "not found: ask for /sampling?service=NAME\n";
const SERVICE_ONCE: &str = "'service' parameter must be provided once";

/// Answers one connection until it closes, idles too long, or the server drains.
pub(super) async fn serve(io: impl AsyncRead + AsyncWrite + Unpin + 'static, desk: Arc<Desk>) {
    let _open = Open::on(&desk.http.connections);
    let requests = Requests::default();
    let service = service_fn(|request| {
        requests.count();
        ready(Ok::<_, Infallible>(respond(&desk, &request)))
    });
    let connection = http1::Builder::new().max_buf_size(HEAD_MAX_BYTES).serve_connection(TokioIo::new(io), service);
    if let Err(error) = requests.answer(pin!(connection), &desk.drain, PATIENCE).await {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}

/// A request's body is never read: hyper closes the connection behind one that does not end at once.
fn respond(desk: &Desk, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let mut response = if !is_sampling(request.uri().path()) {
        text(StatusCode::NOT_FOUND, USAGE)
    } else if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        response
    } else {
        strategy(desk, request.uri().query().unwrap_or_default())
    };
    if desk.is_full() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn strategy(desk: &Desk, query: &str) -> Response<Full<Bytes>> {
    let Some(service) = service(query) else {
        desk.http.invalid.inc();
        return text(StatusCode::BAD_REQUEST, SERVICE_ONCE);
    };
    let mut response = Response::new(Full::new(desk.answer(&desk.http, &service, |answer| &answer.json)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The service that is asked for; `None` unless it is named once.
fn service(query: &str) -> Option<Cow<'_, str>> {
    let is_plain = |byte: u8| byte.is_ascii() && !matches!(byte, b'&' | b'+' | b'%');
    if let Some(name) = query.strip_prefix("service=").filter(|name| name.bytes().all(is_plain)) {
        return Some(Cow::Borrowed(name));
    }
    let mut services = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "service");
    let (service, None) = (services.next()?.1, services.next()) else { return None };
    Some(service)
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// `/`, `/sampling`, `/api/sampling`, each with one more `/sampling` and with stray slashes.
fn is_sampling(path: &str) -> bool {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty()).peekable();
    let is_api = segments.next_if_eq(&"api").is_some();
    let mut times = 0;
    segments.all(|segment| {
        times += 1;
        segment == "sampling"
    }) && (usize::from(is_api)..=2).contains(&times)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn every_path_that_a_client_makes_of_our_address_is_answered() {
        for path in ["/", "/sampling", "/sampling/", "//sampling", "/api/sampling", "/api/sampling/sampling/"] {
            assert!(is_sampling(path), "{path}");
        }
        for path in ["/api", "/sampling/x", "/samplings", "/x/sampling", "/sampling/sampling/sampling", "*"] {
            assert!(!is_sampling(path), "{path}");
        }
    }

    #[test]
    fn a_service_is_named_once_in_any_spelling() {
        let table = [
            ("service=cart", Some("cart")),
            ("service=", Some("")),
            ("service=a=b", Some("a=b")),
            ("service=a+b%2Fc", Some("a b/c")),
            ("x=1&service=cart&y", Some("cart")),
            ("s%65rvice=cart", Some("cart")),
            ("service=\u{e9}", Some("\u{e9}")),
            ("service=a&service=b", None),
            ("services=a", None),
            ("", None),
        ];
        for (query, expected) in table {
            assert_eq!(service(query).as_deref(), expected, "{query}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_never_ends_and_a_connection_that_idles_give_their_slot_back() {
        for sent in ["", "GET /sampling?serv", "GET /?service=a HTTP/1.1\r\nhost: x\r\n\r\n"] {
            let (mut client, server) = duplex(4096);
            client.write_all(sent.as_bytes()).await.expect("room");
            let start = Instant::now();
            serve(server, Desk::for_test()).await;
            let (took, limit) = (start.elapsed(), PATIENCE.first + PATIENCE.check + DRAIN_MAX);
            assert!((PATIENCE.first..=limit).contains(&took), "{sent}: {took:?}");
        }
    }
}
