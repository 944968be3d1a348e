//! `/api/v1/decisions`: every decision with its reason and what it was decided from.
//!
//! A fleet may have 100,000 rows, some 80 MB of JSON. They are therefore written piece by piece, as fast as the client
//! reads, from one snapshot: the list is consistent, memory is one piece, and no request occupies a worker for long.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Response, header};
use serde::Serialize;

use super::because::{because, what_would_change_it};
use super::case::{Case, mode_name};
use crate::controller::snapshot::Snapshot;
use crate::sampling::traffic::Name;

/// A piece of the list is sent once it is this long; a single service adds at most 257 rows to it.
const PIECE_BYTES: usize = 64 << 10;

/// One row: a service's own (`operation: null`), or one of its operations'.
#[derive(Serialize)]
struct Row<'a> {
    policy: &'a str,
    service: &'a str,
    operation: Option<&'a str>,
    probability: f64,
    served: f64,
    reason: &'static str,
    because: String,
    /// Whether root spans had this operation's name; `null` where no SDK reports, and on a service's own row.
    matched: Option<bool>,
    inputs: Inputs,
    generation: u64,
    decided_at: &'a str,
    #[serde(flatten)]
    detail: Option<Detail<'a>>,
}

#[derive(Serialize)]
struct Inputs {
    demand_per_second: Option<f64>,
    loss_ratio: Option<f64>,
    budget_spans_per_second: Option<f64>,
    received_per_second: Option<f64>,
    spans_per_trace: Option<f64>,
    share_spans_per_second: Option<f64>,
    /// Root traces/s that the service's clients may cause together until the next decision; `null` where they do not
    /// limit themselves.
    share_traces_per_second: Option<f64>,
    /// Root traces/s that this decision causes at the demand it was made from.
    expected_traces_per_second: Option<f64>,
    budget_reason: &'static str,
    /// How old the newest demand was when this was decided.
    age_seconds: Option<f64>,
}

/// What only the page of one service tells.
#[derive(Serialize)]
struct Detail<'a> {
    what_would_change_it: &'static str,
    mode: Option<&'static str>,
    /// Names of root spans that SDKs met and that were not listed. `null` where no SDK reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    unlisted: Option<Option<&'a BTreeSet<Name>>>,
    /// Operation rules that match none of the service's demand.
    #[serde(skip_serializing_if = "Option::is_none")]
    rules_without_demand: Option<Vec<String>>,
}

/// All rows, policy by policy, service by service, a service's own row first.
pub(super) fn list(snapshot: Arc<Snapshot>) -> Response<Body> {
    let pieces = Pieces { snapshot, policy: 0, service: 0, is_open: false, is_done: false };
    let body = stream::iter(pieces.map(Ok::<_, std::convert::Infallible>));
    let mut response = Response::new(Body::from_stream(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The rows of one service, its own first; under each policy that matches it, the one that decides first. `None` where
/// no policy decided on it.
pub(super) fn of_service(snapshot: &Snapshot, service: &str) -> Option<Vec<u8>> {
    let mut json = vec![b'['];
    for policy in &snapshot.decisions {
        let Ok(index) = policy.services.binary_search_by(|row| row.service.as_ref().cmp(service)) else { continue };
        let decided_at = policy.decided_at.rfc3339();
        for case in Case::all(snapshot, policy, &policy.services[index]) {
            let row = Row { detail: Some(detail(&case)), ..row(&case, snapshot.generation, &decided_at) };
            write_row(&mut json, &row);
        }
    }
    (json.len() > 1).then(|| {
        json.push(b']');
        json
    })
}

/// The list, cut into pieces of whole services.
struct Pieces {
    snapshot: Arc<Snapshot>,
    policy: usize,
    service: usize,
    is_open: bool,
    is_done: bool,
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.is_done {
            return None;
        }
        let mut json = Vec::with_capacity(PIECE_BYTES + PIECE_BYTES / 4);
        if !self.is_open {
            json.push(b'[');
        }
        while json.len() < PIECE_BYTES && !self.is_done {
            self.write_service(&mut json);
        }
        if self.is_done {
            json.push(b']');
        }
        Some(Bytes::from(json))
    }
}

impl Pieces {
    fn write_service(&mut self, json: &mut Vec<u8>) {
        let Some(policy) = self.snapshot.decisions.get(self.policy) else {
            self.is_done = true;
            return;
        };
        let Some(service) = policy.services.get(self.service) else {
            (self.policy, self.service) = (self.policy + 1, 0);
            return;
        };
        let decided_at = policy.decided_at.rfc3339();
        for case in Case::all(&self.snapshot, policy, service) {
            if self.is_open {
                json.push(b',');
            }
            self.is_open = true;
            serde_json::to_writer(&mut *json, &row(&case, self.snapshot.generation, &decided_at)).expect(PLAIN);
        }
        self.service += 1;
    }
}

const PLAIN: &str = "plain structs become JSON, and a vector takes it";

fn write_row(json: &mut Vec<u8>, row: &Row<'_>) {
    if json.last() != Some(&b'[') {
        json.push(b',');
    }
    serde_json::to_writer(json, row).expect(PLAIN);
}

fn row<'a>(case: &Case<'a>, generation: u64, decided_at: &'a str) -> Row<'a> {
    let rate = case.rate();
    Row {
        policy: &case.policy.policy,
        service: &case.service.service,
        operation: case.operation.map(|operation| operation.operation.as_ref()),
        probability: rate.probability.get(),
        served: rate.served.get(),
        reason: rate.reason.as_str(),
        because: because(case),
        matched: case.matched(),
        inputs: inputs(case),
        generation,
        decided_at,
        detail: None,
    }
}

fn inputs(case: &Case<'_>) -> Inputs {
    let seen = &case.policy.inputs;
    Inputs {
        demand_per_second: case.demand_per_second(),
        loss_ratio: seen.loss_ratio,
        budget_spans_per_second: seen.budget_spans_per_second,
        received_per_second: seen.received_per_second,
        spans_per_trace: seen.spans_per_trace,
        share_spans_per_second: case.service.share_spans_per_second,
        share_traces_per_second: case.service.local.map(|local| local.share_traces_per_second),
        expected_traces_per_second: case.service.local.map(|local| local.expected_traces_per_second),
        budget_reason: seen.budget_reason.as_str(),
        age_seconds: seen.age.map(|age| age.as_secs_f64()),
    }
}

fn detail<'a>(case: &Case<'a>) -> Detail<'a> {
    let is_own = case.operation.is_none();
    Detail {
        what_would_change_it: what_would_change_it(case.rate().reason),
        mode: case.rules.map(|rules| mode_name(rules.mode)),
        unlisted: is_own.then(|| case.usage.map(|usage| &usage.unlisted)),
        rules_without_demand: is_own.then(|| case.rules_without_demand().map(ToString::to_string).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::sample;
    use crate::controller::usage::Usage;
    use crate::sampling::pattern::Pattern;
    use crate::sampling::policy::{OperationRule, Policy};
    use crate::time::WallTime;

    fn snapshot() -> Snapshot {
        let mut snapshot = Snapshot::empty(7, WallTime::from_unix_ms(1_795_000_000_000));
        snapshot.decisions = vec![Arc::new(sample::policy())];
        snapshot
    }

    fn rows(json: &[u8]) -> Vec<serde_json::Value> {
        serde_json::from_slice(json).expect("a list of rows")
    }

    fn whole(snapshot: Snapshot) -> Vec<u8> {
        Pieces { snapshot: Arc::new(snapshot), policy: 0, service: 0, is_open: false, is_done: false }
            .flatten()
            .collect()
    }

    #[test]
    fn an_empty_snapshot_is_an_empty_list() {
        assert_eq!(whole(Snapshot::empty(1, WallTime::from_unix_ms(0))), b"[]");
    }

    #[test]
    fn a_services_own_row_comes_first_and_has_no_operation() {
        let rows = rows(&whole(snapshot()));
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0]["service"].as_str(), rows[0]["operation"].is_null()), (Some("checkout"), true));
        assert_eq!(rows[1]["operation"], "GET /cart");
        assert_eq!(rows[0]["inputs"]["share_spans_per_second"], 1000.0);
        assert_eq!(rows[0]["inputs"]["share_traces_per_second"], 150.0);
        assert_eq!(rows[0]["inputs"]["expected_traces_per_second"], 125.0);
        assert_eq!(rows[0]["generation"], 7);
    }

    #[test]
    fn pieces_together_are_one_list_however_many_services_there_are() {
        let mut policy = sample::policy();
        let service = policy.services[0].clone();
        policy.services = (0..1000)
            .map(|i| {
                let mut service = service.clone();
                service.service = format!("service-{i:04}").into();
                service
            })
            .collect();
        let mut snapshot = snapshot();
        snapshot.decisions = vec![Arc::new(policy), Arc::new(sample::policy())];
        let pieces = Pieces { snapshot: Arc::new(snapshot), policy: 0, service: 0, is_open: false, is_done: false };
        let pieces: Vec<Bytes> = pieces.collect();
        assert!(pieces.len() > 10 && pieces.iter().all(|piece| piece.len() < PIECE_BYTES * 2));
        assert_eq!(rows(&pieces.concat()).len(), 2002);
    }

    #[test]
    fn an_operation_is_matched_unmatched_or_unreported() {
        let matched = |usage: Option<Usage>| {
            let mut snapshot = snapshot();
            snapshot.usage = usage.map(|usage| ("checkout".into(), Arc::new(usage))).into_iter().collect();
            rows(&of_service(&snapshot, "checkout").expect("known"))[1]["matched"].clone()
        };
        let met = |name: &str| Usage { matched: [name.into()].into(), unlisted: BTreeSet::new() };
        assert_eq!(matched(None), serde_json::Value::Null);
        assert_eq!(matched(Some(met("GET"))), false);
        assert_eq!(matched(Some(met("GET /cart"))), true);
    }

    #[test]
    fn an_operation_rule_that_matches_no_demand_is_named() {
        let mut policy = Policy::with_defaults("shop");
        let rule = |text| OperationRule { pattern: Pattern::new(text).expect("short"), probability: None, weight: 1.0 };
        policy.services[0].operations = vec![rule("GET /cart"), rule("GET /chart")];
        let mut snapshot = snapshot();
        snapshot.policies = vec![Arc::new(policy)];
        let rows = rows(&of_service(&snapshot, "checkout").expect("known"));
        assert_eq!(rows[0]["rules_without_demand"], serde_json::json!(["GET /chart"]));
        assert_eq!(rows[0]["mode"], "active");
    }

    #[test]
    fn a_service_that_no_policy_decided_on_has_no_rows() {
        assert_eq!(of_service(&snapshot(), "checkou"), None);
    }
}
