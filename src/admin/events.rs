//! `/api/v1/events`: what happens, as server-sent events (WHATWG HTML, section 9.2). The audit is the queue: whoever was
//! away names the last number that it saw, and is told what came since, as far back as the audit goes. Without a number it
//! is told what happens from now on.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::stream;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{Response, StatusCode};
use serde::Serialize;
use tokio::sync::watch;

use super::rollout_json::StepJson;
use super::rollout_rows::step;
use super::routes::error;
use crate::controller::audit::{AuditEntry, AuditLog, Audited};

/// Streams that are open at a time.
const STREAMS_MAX: usize = 64;
/// A comment after so long without an event, so that what is between keeps the connection.
const COMMENT_EVERY: Duration = Duration::from_secs(15);
/// A client that lost its connection, which ends after five minutes, comes again after this.
const RETRY_MS: u32 = 1_000;
/// Entries that are read at once.
const AT_ONCE: usize = 256;

static OPEN: AtomicUsize = AtomicUsize::new(0);

/// One stream's place.
struct Place;

/// Where one stream is.
struct Follower {
    audit: AuditLog,
    newest: watch::Receiver<u64>,
    told: u64,
    ready: VecDeque<Arc<AuditEntry>>,
    has_begun: bool,
    _place: Place,
}

/// A step of a rollout, and of which.
#[derive(Serialize)]
struct RolloutEvent<'a> {
    rollout: &'a str,
    cohort: &'a str,
    from_s: f64,
    to_s: f64,
    #[serde(flatten)]
    step: StepJson,
}

/// Answers with what happens.
pub(super) fn stream(audit: AuditLog, headers: &HeaderMap) -> Response<Body> {
    let Some(place) = Place::take() else {
        return error(StatusCode::SERVICE_UNAVAILABLE, "as many event streams are open as may be");
    };
    let newest = audit.subscribe();
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    let told = last.unwrap_or(*newest.borrow());
    let follower = Follower { audit, newest, told, ready: VecDeque::new(), has_begun: false, _place: place };
    let body = Body::from_stream(stream::unfold(follower, |mut follower| async move {
        let text = follower.next().await?;
        Some((Ok::<Bytes, std::convert::Infallible>(text.into()), follower))
    }));
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("text/event-stream"));
    response
}

impl Follower {
    async fn next(&mut self) -> Option<String> {
        if !std::mem::replace(&mut self.has_begun, true) {
            return Some(format!("retry: {RETRY_MS}\n\n"));
        }
        loop {
            if let Some(entry) = self.ready.pop_front() {
                self.told = entry.number;
                return Some(written(&entry));
            }
            self.newest.mark_unchanged();
            self.ready = self.audit.since(self.told, AT_ONCE).into();
            if self.ready.is_empty() {
                match tokio::time::timeout(COMMENT_EVERY, self.newest.changed()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return None,
                    Err(_) => return Some(": nothing new\n\n".to_owned()),
                }
            }
        }
    }
}

impl Place {
    fn take() -> Option<Self> {
        let is_free =
            OPEN.fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| (open < STREAMS_MAX).then_some(open + 1));
        is_free.is_ok().then_some(Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::AcqRel);
    }
}

/// One event; JSON has no line breaks of its own.
fn written(entry: &AuditEntry) -> String {
    let (event, data) = match &entry.what {
        Audited::Rollout(event) => {
            let (from_s, to_s) = (event.from.as_secs_f64(), event.to.as_secs_f64());
            let told = RolloutEvent { rollout: &event.rollout, cohort: &event.cohort, from_s, to_s, step: step(event) };
            ("rollout", json(&told))
        }
        Audited::Pace(change) => ("pace", dated(entry, change)),
        Audited::Alert(alert) => ("alert", dated(entry, alert)),
    };
    let mut text = String::with_capacity(data.len() + 64);
    let _ = write!(text, "id: {}\nevent: {event}\ndata: {data}\n\n", entry.number);
    text
}

/// With the time, where it is an object without one.
fn dated(entry: &AuditEntry, what: &impl Serialize) -> String {
    let mut value = serde_json::to_value(what).expect("plain structs become JSON");
    if let Some(object) = value.as_object_mut() {
        object.entry("at").or_insert_with(|| entry.at.rfc3339().into());
    }
    json(&value)
}

fn json(what: &impl Serialize) -> String {
    serde_json::to_string(what).expect("plain structs become JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::WallTime;

    fn alert(n: u64) -> Audited {
        Audited::Alert(serde_json::json!({ "n": n }))
    }

    #[tokio::test(start_paused = true)]
    async fn who_names_a_number_is_told_what_came_since_and_who_does_not_what_comes() {
        let audit = AuditLog::default();
        let numbers: Vec<u64> = (0..3).map(|n| audit.append(WallTime::from_unix_ms(0), alert(n))).collect();
        let mut headers = HeaderMap::new();
        headers.insert("last-event-id", numbers[0].into());
        let mut late = Place::take().map(|place| follower(&audit, numbers[0], place)).expect("room");
        let mut new = Place::take().map(|place| follower(&audit, numbers[2], place)).expect("room");
        assert_eq!(late.next().await.as_deref(), Some("retry: 1000\n\n"));
        let told = late.next().await.expect("the second");
        let (id, at) = (numbers[1], "1970-01-01T00:00:00.000Z");
        assert_eq!(told, format!("id: {id}\nevent: alert\ndata: {{\"at\":\"{at}\",\"n\":1}}\n\n"));
        assert!(late.next().await.expect("the third").contains("\"n\":2"));
        new.next().await;
        assert_eq!(new.next().await.as_deref(), Some(": nothing new\n\n"));
        audit.append(WallTime::from_unix_ms(0), alert(9));
        assert!(new.next().await.expect("what comes").contains("\"n\":9"));
    }

    fn follower(audit: &AuditLog, told: u64, place: Place) -> Follower {
        let newest = audit.subscribe();
        Follower { audit: audit.clone(), newest, told, ready: VecDeque::new(), has_begun: false, _place: place }
    }
}
