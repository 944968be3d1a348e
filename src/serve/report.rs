//! `flyball.v1.Sampling/Report`: what SDKs met of the operations that they were told. An observation like any other:
//! it goes to the controller's door, and is dropped where the door is crowded or the service is a stranger.

use super::desk::Desk;
use super::message::Refusal;
use super::stream::check_name;
use crate::controller::answer::OPERATIONS_MAX;
use crate::controller::snapshot::SERVICE_NAME_MAX_BYTES;
use crate::controller::usage;
use crate::proto::flyball_v1::{UsageReply, UsageReport};
use crate::sampling::traffic::Name;

/// Unlisted names taken from one report; a sample is enough to see that names differ.
const UNLISTED_MAX: usize = 32;

/// Largest report: both lists full of the longest names, with room for their encoding.
pub(super) const REPORT_MAX_BYTES: usize = (OPERATIONS_MAX + UNLISTED_MAX + 1) * (SERVICE_NAME_MAX_BYTES + 8);

/// Hands a report on. A list that is too long is cut, a name that cannot be one is left out.
pub(super) fn take(desk: &Desk, report: UsageReport) -> Result<UsageReply, Refusal> {
    check_name(&report.service)?;
    if desk.published.load().knows(&report.service) {
        let report = usage::UsageReport {
            service: report.service.into(),
            matched: names(report.matched, OPERATIONS_MAX),
            unlisted: names(report.unlisted, UNLISTED_MAX),
        };
        // A full queue drops the report: the client sends another in a minute.
        let _ = desk.usage.try_send(report);
    }
    Ok(UsageReply {})
}

fn names(names: Vec<String>, max: usize) -> Vec<Name> {
    let is_name = |name: &String| (1..=SERVICE_NAME_MAX_BYTES).contains(&name.len());
    names.into_iter().filter(is_name).take(max).map(Name::from).collect()
}
