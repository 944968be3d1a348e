//! Paths to answers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::response::{Html, IntoResponse};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode, Uri};
use prometheus_client::registry::Registry;
use serde::Serialize;
use serde_json::json;
use tokio::sync::oneshot;

use super::access::{self, Refusal};
use super::page::{self, Filter, Shown};
use super::server::Peer;
use super::status::{readiness, status};
use super::{AdminState, alerts, cohorts, decisions, exposition, rollouts};
use crate::controller::snapshot::Snapshot;

/// A reload reads a folder of files; one that takes longer is still carried out, and its client is told so.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest search text of the page.
const FILTER_MAX_BYTES: usize = 256;

/// Nothing from elsewhere, nothing inline, in no frame: a hostile name on the page stays text.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                                       connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

pub(super) struct Shared {
    pub(super) state: AdminState,
    token_file: Option<PathBuf>,
    registry: Registry,
}

pub(super) type Room = State<Arc<Shared>>;

pub(super) fn router(token_file: Option<PathBuf>, state: AdminState) -> Router {
    let registry = exposition::registry(&state);
    Router::new()
        .route("/", get(index))
        .route("/assets/page.css", get(|| asset("text/css; charset=utf-8", page::STYLE)))
        .route("/assets/page.js", get(|| asset("text/javascript; charset=utf-8", page::SCRIPT)))
        .route("/assets/icon.svg", get(|| asset("image/svg+xml", page::ICON)))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/status", get(status_json))
        .route("/-/reload", post(reload))
        .route("/api/v1/decisions", get(all_decisions))
        .route("/api/v1/decisions/{*service}", get(service_decisions))
        .route("/api/v1/cohorts", get(all_cohorts))
        .route("/api/v1/alerts", get(all_alerts))
        .merge(rollouts::router())
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::map_response(harden))
        .with_state(Arc::new(Shared { state, token_file, registry }))
}

/// What a client is told whose answer did not begin in time.
pub(super) fn too_slow() -> Response<Body> {
    error(StatusCode::SERVICE_UNAVAILABLE, "the answer took too long")
}

async fn index(State(room): Room, filter: Result<Query<Filter>, QueryRejection>) -> Html<String> {
    let filter = filter.ok().map(|Query(filter)| filter).filter(|filter| filter.q.len() <= FILTER_MAX_BYTES);
    let filter = filter.unwrap_or_default();
    let book = &room.state.fleet.open_alerts;
    let shown = Shown {
        snapshot: &room.state.published.load_full(),
        cohorts: &room.state.fleet.cohorts.load(),
        rollouts: &room.state.fleet.rollouts.as_ref().map(|desk| desk.board.load()).unwrap_or_default(),
        alerts: (book.revision(), &book.load()),
        version: room.state.version,
        now: room.state.clock.now().wall,
    };
    Html(page::render(&shown, &filter))
}

async fn asset(content_type: &'static str, content: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, content_type)], content)
}

async fn readyz(State(room): Room) -> impl IntoResponse {
    Json(readiness(&room.state, &room.state.published.load()))
}

async fn status_json(State(room): Room) -> impl IntoResponse {
    Json(status(&room.state, &room.state.published.load()))
}

async fn metrics(State(room): Room, headers: HeaderMap) -> impl IntoResponse {
    let openmetrics = exposition::openmetrics(&room.registry);
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let (content_type, text) = if exposition::wants_prometheus_text(accept) {
        (exposition::PROMETHEUS_TEXT, exposition::prometheus_text(&openmetrics))
    } else {
        (exposition::OPENMETRICS, openmetrics)
    };
    ([(header::CONTENT_TYPE, content_type)], text)
}

async fn all_decisions(State(room): Room) -> Response<Body> {
    decisions::list(room.state.published.load_full())
}

async fn all_cohorts(State(room): Room) -> impl IntoResponse {
    Json(cohorts::rows(&room.state.fleet.cohorts.load())).into_response()
}

async fn all_alerts(State(room): Room) -> impl IntoResponse {
    Json(alerts::rows(&room.state.fleet.open_alerts.load()))
}

async fn service_decisions(State(room): Room, service: Result<Path<String>, PathRejection>) -> Response<Body> {
    let Ok(Path(service)) = service else {
        return error(StatusCode::BAD_REQUEST, "a service's name in a path is percent-encoded UTF-8");
    };
    let snapshot = room.state.published.load_full();
    match decisions::of_service(&snapshot, &service) {
        Some(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        None => (StatusCode::NOT_FOUND, Json(Stranger::of(&snapshot, &service))).into_response(),
    }
}

/// A service without a decision is answered all the same; this says with what.
#[derive(Serialize)]
struct Stranger<'a> {
    error: String,
    service: &'a str,
    /// Whose patterns match it.
    policy: Option<&'a str>,
    /// What its SDKs are told.
    served: f64,
}

impl<'a> Stranger<'a> {
    fn of(snapshot: &'a Snapshot, service: &'a str) -> Self {
        let served = snapshot.answer(service).strategy.probability.get();
        let claims = |policy: &&Arc<crate::sampling::policy::Policy>| policy.rule_for(service).is_some();
        let policy = snapshot.policies.iter().find(claims).map(|policy| policy.name.as_ref());
        let why = match policy {
            Some(policy) => format!("policy `{policy}` matches its name, but its demand has not named it"),
            None => "no policy matches its name".to_owned(),
        };
        Self {
            error: format!("no decision on this service: {why}; SDKs that ask are told {served}"),
            service,
            policy,
            served,
        }
    }
}

async fn reload(
    State(room): Room,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Json<serde_json::Value>, Response<Body>> {
    let who = writer(&room, peer, headers, "reload").await?;
    let (reply, result) = oneshot::channel();
    if room.state.reload.try_send(reply).is_err() {
        return Err(error(StatusCode::SERVICE_UNAVAILABLE, "a reload is waiting already, or the process is ending"));
    }
    // In a task of its own: the audit gets its line also when the client has gone.
    let audited = tokio::spawn(async move { audit(&who, peer, result.await.unwrap_or_else(|_| Err(GONE.into()))) });
    match tokio::time::timeout(RELOAD_TIMEOUT, audited).await {
        Ok(Ok(Ok(report))) => Ok(Json(json!({ "reloaded": true, "report": report }))),
        Ok(Ok(Err(errors))) => Err(error(StatusCode::UNPROCESSABLE_ENTITY, &errors)),
        Ok(Err(_)) => Err(error(StatusCode::INTERNAL_SERVER_ERROR, "the reload failed")),
        Err(_) => Err(error(StatusCode::GATEWAY_TIMEOUT, "the reload goes on; its outcome will be in the log")),
    }
}

/// Who may write, and is writing.
pub(super) async fn writer(
    room: &Arc<Shared>,
    peer: std::net::SocketAddr,
    headers: HeaderMap,
    action: &'static str,
) -> Result<String, Response<Body>> {
    let by = tokio::task::spawn_blocking({
        let room = Arc::clone(room);
        move || access::writer(room.token_file.as_deref(), peer, &headers)
    });
    by.await.map_err(|_| error(StatusCode::INTERNAL_SERVER_ERROR, "the access check failed"))?.map_err(|refusal| {
        let error: &dyn std::error::Error = &refusal;
        tracing::warn!(action, %peer, error, "admin: write refused");
        refused(&refusal)
    })
}

const GONE: &str = "the process is ending";

fn audit(who: &str, peer: std::net::SocketAddr, result: Result<String, String>) -> Result<String, String> {
    match &result {
        Ok(_) => tracing::info!(who, action = "reload", %peer, outcome = "done", "admin: write"),
        Err(error) => tracing::warn!(who, action = "reload", %peer, outcome = "failed", %error, "admin: write"),
    }
    result
}

fn refused(refusal: &Refusal) -> Response<Body> {
    let status = match refusal {
        Refusal::TokenMissing | Refusal::TokenWrong => StatusCode::UNAUTHORIZED,
        Refusal::NotLocal(_) | Refusal::ForeignOrigin => StatusCode::FORBIDDEN,
        Refusal::TokenFile(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut response = error(status, &refusal.to_string());
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"flyball\""));
    }
    response
}

async fn no_such_path(uri: Uri) -> Response<Body> {
    error(StatusCode::NOT_FOUND, &format!("no such path: {}; the page at / names them all", uri.path()))
}

async fn no_such_method(method: Method, uri: Uri) -> Response<Body> {
    error(StatusCode::METHOD_NOT_ALLOWED, &format!("{} does not take {method}", uri.path()))
}

/// Every error is a JSON object with an `error` for people.
pub(super) fn error(status: StatusCode, text: &str) -> Response<Body> {
    (status, Json(json!({ "error": text }))).into_response()
}

async fn harden(mut response: Response<Body>) -> Response<Body> {
    const HEADERS: [(HeaderName, &str); 5] = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
