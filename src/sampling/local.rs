//! What the clients of the push stream limit themselves by.

/// What is expected of a service, or its share, is told anew once it is off by more than this part. Clients allow
/// themselves a quarter more than their part, which covers it.
const LOCAL_TOLERANCE: f64 = 0.1;
/// Up to so many times the tolerance where the share is as many times what is expected.
const LOCAL_ROOM_MAX: f64 = 10.0;
/// Nor is a difference below this worth a push: one trace a second is within any client's noise.
const LOCAL_SLACK: f64 = 1.0;

/// What a service is expected to cause, and what it may.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LocalShare {
    /// Root traces/s that the served probabilities cause at the demand that they were decided from.
    pub expected_traces_per_second: f64,
    /// Root traces/s that the service may cause before it takes from others; never below what is expected.
    pub share_traces_per_second: f64,
}

impl LocalShare {
    /// Whether clients may go on with `told` though `now` is right: a steady state must push nothing.
    pub fn is_close(told: Option<Self>, now: Option<Self>) -> bool {
        let (told, now) = match (told, now) {
            (Some(told), Some(now)) => (told, now),
            (told, now) => return told.is_none() && now.is_none(),
        };
        // With room for many times what is expected, the room's own size matters little, and the spare moves all the
        // time.
        let room = told.share_traces_per_second / told.expected_traces_per_second;
        let tolerance = LOCAL_TOLERANCE * room.clamp(1.0, LOCAL_ROOM_MAX);
        is_within(told.expected_traces_per_second, now.expected_traces_per_second, LOCAL_TOLERANCE)
            && is_within(told.share_traces_per_second, now.share_traces_per_second, tolerance)
    }
}

fn is_within(told: f64, now: f64, tolerance: f64) -> bool {
    (told - now).abs() <= LOCAL_SLACK || told.max(now) <= told.min(now) * (1.0 + tolerance)
}
