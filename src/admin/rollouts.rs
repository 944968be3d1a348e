//! `/api/v1/rollouts`: reading them, and what people say about them; `/api/v1/events`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{DefaultBodyLimit, Extension, Path, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::header::HeaderMap;
use http::{Response, StatusCode};
use serde::Deserialize;
use tokio::sync::oneshot;

use super::rollout_rows::{of_rollout, rows};
use super::routes::{Room, Shared, error, writer};
use super::server::Peer;
use super::{RolloutDesk, events};
use crate::controller::rollouts::RolloutCommand;
use crate::keepalive::governor::rollouts::NotDone;
use crate::keepalive::wave::spec::Command;

/// The loop takes a command between two decisions.
const OBEYED_WITHIN: Duration = Duration::from_secs(10);
/// Largest body of a command.
const BODY_MAX_BYTES: usize = 4_096;
/// Longest reason, in characters: as in a fleet's file.
const REASON_MAX: usize = 256;

/// The routes.
pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/v1/rollouts", get(all))
        .route("/api/v1/rollouts/{id}", get(one))
        .route("/api/v1/rollouts/{id}/{command}", post(command))
        .route("/api/v1/events", get(follow))
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
}

/// What may come with a command.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    #[serde(default)]
    reason: Option<String>,
}

async fn all(State(room): Room) -> Response<Body> {
    let records = room.state.fleet.rollouts.as_ref().map(|desk| desk.board.load()).unwrap_or_default();
    Json(rows(&records)).into_response()
}

async fn one(State(room): Room, id: Result<Path<String>, PathRejection>) -> Response<Body> {
    let record = id.ok().and_then(|Path(id)| room.state.fleet.rollouts.as_ref()?.board.find(&id));
    record.map_or_else(unknown, |record| Json(of_rollout(&record)).into_response())
}

async fn command(
    State(room): Room,
    Extension(Peer(peer)): Extension<Peer>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response<Body>, Response<Body>> {
    let Path((id, word)) = path.map_err(|_| unknown())?;
    let command = Command::of(&word).ok_or_else(|| {
        error(StatusCode::NOT_FOUND, &format!("no such command: {word}; known are promote, abort, pause and resume"))
    })?;
    let who = writer(&room, peer, headers, "rollout").await?;
    let body = body.map_err(|_| error(StatusCode::PAYLOAD_TOO_LARGE, "a command's body has at most 4096 bytes"))?;
    let why = reason(&body).map_err(|why| error(StatusCode::BAD_REQUEST, &why))?;
    let desk = room.state.fleet.rollouts.as_ref().ok_or_else(unknown)?;
    obey(desk, Asked { id, command, who, why }, peer).await
}

struct Asked {
    id: String,
    command: Command,
    who: String,
    why: String,
}

async fn obey(desk: &RolloutDesk, asked: Asked, peer: std::net::SocketAddr) -> Result<Response<Body>, Response<Body>> {
    let Asked { id, command, who, why } = asked;
    let (reply, answer) = oneshot::channel();
    let sent = RolloutCommand { id: id.as_str().into(), command, who: who.as_str().into(), why: why.into(), reply };
    if desk.commands.try_send(sent).is_err() {
        return Err(error(StatusCode::SERVICE_UNAVAILABLE, "the loop is busy, or the process is ending"));
    }
    let done = tokio::time::timeout(OBEYED_WITHIN, answer).await;
    let outcome = match &done {
        Ok(Ok(Ok(_))) => "done",
        _ => "refused",
    };
    tracing::info!(who, action = ?command, rollout = id, %peer, outcome, "admin: write");
    match done {
        Ok(Ok(Ok(record))) => Ok(Json(of_rollout(&record)).into_response()),
        Ok(Ok(Err(NotDone::Unknown))) => Err(unknown()),
        Ok(Ok(Err(NotDone::Refused(refused)))) => Err(error(StatusCode::CONFLICT, &refused.to_string())),
        Ok(Err(_)) => Err(error(StatusCode::SERVICE_UNAVAILABLE, "the process is ending")),
        Err(_) => {
            Err(error(StatusCode::GATEWAY_TIMEOUT, "the loop has not answered; its log will say what came of it"))
        }
    }
}

async fn follow(State(room): Room, headers: HeaderMap) -> Response<Body> {
    match &room.state.fleet.rollouts {
        Some(desk) => events::stream(desk.audit.clone(), &headers),
        None => error(StatusCode::NOT_FOUND, "the second loop is off: there is no `fleet` in the configuration"),
    }
}

/// What the body says; nothing is no reason.
fn reason(body: &[u8]) -> Result<String, String> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(String::new());
    }
    let said: Said = serde_json::from_slice(body)
        .map_err(|error| format!("the body is {{\"reason\": \"…\"}}, or empty: {error}"))?;
    let reason = said.reason.unwrap_or_default();
    if reason.chars().count() > REASON_MAX {
        return Err(format!("a reason has at most {REASON_MAX} characters"));
    }
    Ok(reason)
}

fn unknown() -> Response<Body> {
    error(StatusCode::NOT_FOUND, "no rollout has this id; /api/v1/rollouts names them all")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_optional_bounded_and_the_only_key() {
        assert_eq!(reason(b" \n").as_deref(), Ok(""));
        assert_eq!(reason(b"{}").as_deref(), Ok(""));
        assert_eq!(reason(br#"{"reason": "incident 42"}"#).as_deref(), Ok("incident 42"));
        assert!(reason(b"incident").is_err() && reason(br#"{"why": "x"}"#).is_err());
        assert!(reason(format!("{{\"reason\": \"{}\"}}", "x".repeat(257)).as_bytes()).is_err());
    }
}
