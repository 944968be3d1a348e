//! What happens in the demo, second by second: pure, and the same at each run.

use std::f64::consts::TAU;
use std::time::Duration;

/// Spans that one trace of the demo's services has.
pub(super) const SPANS_PER_TRACE: f64 = 8.0;
/// The story begins anew after this many seconds.
const LENGTH: f64 = 60.0;

/// How much faster than in the field NATs forget and devices beat.
pub(super) const SCALE: f64 = 12.5;
/// The interval of the classic, in seconds of the field.
pub(super) const FIXED_INTERVAL: f64 = 180.0;
/// When one carrier halves its timeout.
const HALVED: f64 = 38.0;

/// A service of the demo and how its requests spread over its operations.
pub(super) struct Service {
    pub(super) name: &'static str,
    /// Operation and its share of the requests; the shares sum to 1.
    pub(super) operations: &'static [(&'static str, f64)],
    demand: fn(f64) -> f64,
}

pub(super) const SERVICES: [Service; 3] = [
    Service {
        name: "checkout",
        operations: &[("GET /cart", 0.9), ("POST /pay", 0.1)],
        demand: |t| if (15.0..35.0).contains(&t) { 600.0 } else { 60.0 },
    },
    Service {
        name: "catalog",
        operations: &[("GET /items", 0.7), ("GET /item", 0.28), ("GET /health", 0.02)],
        demand: |t| 200.0 + 80.0 * (TAU * t / 30.0).sin(),
    },
    Service { name: "batch", operations: &[("job", 1.0)], demand: |t| 60.0 + 40.0 * (TAU * t / 20.0).cos() },
];

/// A carrier of the demo: what its NATs do, 12.5 times faster than in the field.
pub(super) struct Carrier {
    pub(super) name: &'static str,
    /// How long a binding lives that nothing passed later than 2 s after its first packet; `None` = as any other.
    pub(super) unreplied: Option<Duration>,
    /// A binding that is made anew gets the port that it had, so that nobody sees that it was lost.
    pub(super) is_port_kept: bool,
    lifetime: fn(f64) -> f64,
}

/// Linux' own timeouts, a carrier that changes its mind, and one that preserves ports.
pub(super) const CARRIERS: [Carrier; 3] = [
    Carrier {
        name: "north",
        unreplied: Some(Duration::from_millis(2_400)),
        is_port_kept: false,
        lifetime: |_| 120.0 / SCALE,
    },
    Carrier {
        name: "south",
        unreplied: None,
        is_port_kept: false,
        lifetime: |t| if (HALVED..LENGTH).contains(&t) { 56.0 / SCALE } else { 112.0 / SCALE },
    },
    Carrier { name: "west", unreplied: None, is_port_kept: true, lifetime: |_| 62.5 / SCALE },
];

impl Carrier {
    /// How long its NATs keep a binding at second `t` of the demo.
    pub(super) fn lifetime(&self, t: f64) -> Duration {
        Duration::from_secs_f64((self.lifetime)(t % LENGTH))
    }
}

/// Share of the time in which a device with this fixed interval, 180 s in the field, could be reached: the classic.
pub(super) fn reachable_with_fixed_interval(seconds: u64) -> f64 {
    let share = |carrier: &Carrier, t: f64| {
        let lifetime = carrier.lifetime(t).as_secs_f64();
        // Without a second ack each beat makes a binding anew, which no packet passes late.
        let kept = carrier.unreplied.map_or(lifetime, |unreplied| unreplied.as_secs_f64().min(lifetime));
        (kept / (FIXED_INTERVAL / SCALE)).min(1.0)
    };
    let all: f64 = (0..seconds).flat_map(|s| CARRIERS.iter().map(move |c| share(c, s as f64 + 0.5))).sum();
    all / (seconds.max(1) * CARRIERS.len() as u64) as f64
}

impl Service {
    /// Requests/s at second `t` of the demo.
    pub(super) fn demand(&self, t: f64) -> f64 {
        (self.demand)(t % LENGTH)
    }
}

/// Spans/s that the tracing backend can take at second `t` of the demo.
pub(super) fn capacity(t: f64) -> f64 {
    if (42.0..LENGTH).contains(&(t % LENGTH)) { 900.0 } else { 1_500.0 }
}

/// What is told when it happens, at a whole second of the demo.
pub(super) fn event(second: u64) -> Option<&'static str> {
    match second % LENGTH as u64 {
        15 => Some("a flash crowd: requests to checkout rise tenfold"),
        35 => Some("the crowd leaves"),
        38 => Some("carrier south now forgets its devices after 4.5 s instead of 9.0 s, and nobody tells"),
        42 => Some("a part of the tracing backend fails: 900 spans/s are left of 1500, and nobody tells"),
        0 if second > 0 => Some("backend and carrier are as they were; the story begins anew"),
        _ => None,
    }
}

/// What a fixed probability would have done over the same story: share of the spans lost, and spans/s kept.
pub(super) fn with_fixed_probability(probability: f64, seconds: u64) -> (f64, f64) {
    let (mut offered, mut accepted) = (0.0, 0.0);
    for second in 0..seconds {
        let t = second as f64 + 0.5;
        let load: f64 = SERVICES.iter().map(|s| s.demand(t) * probability * SPANS_PER_TRACE).sum();
        offered += load;
        accepted += load.min(capacity(t));
    }
    let loss = if offered > 0.0 { 1.0 - accepted / offered } else { 0.0 };
    (loss, accepted / seconds.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_share_all_requests() {
        for service in &SERVICES {
            let sum: f64 = service.operations.iter().map(|(_, share)| share).sum();
            assert!((sum - 1.0).abs() < 1e-9, "{}", service.name);
        }
    }

    #[test]
    fn a_fixed_interval_leaves_devices_unreachable_most_of_the_time() {
        let reachable = reachable_with_fixed_interval(60);
        assert!((0.3..0.5).contains(&reachable), "{reachable}");
    }

    #[test]
    fn sampling_everything_loses_most_in_the_crowd_and_a_tenth_wastes_the_backend() {
        let (lost, _) = with_fixed_probability(1.0, 60);
        let (none, kept) = with_fixed_probability(0.1, 60);
        assert!(lost > 0.4, "{lost}");
        assert!(none < 0.01 && kept < 600.0, "{none} {kept}");
    }
}
