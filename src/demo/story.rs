//! What happens in the demo, second by second: pure, and the same at each run.

use std::f64::consts::TAU;

/// Spans that one trace of the demo's services has.
pub(super) const SPANS_PER_TRACE: f64 = 8.0;
/// The story begins anew after this many seconds.
const LENGTH: f64 = 60.0;

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
        42 => Some("a part of the tracing backend fails: 900 spans/s are left of 1500, and nobody tells"),
        0 if second > 0 => Some("the tracing backend is whole again; the story begins anew"),
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
    fn sampling_everything_loses_most_in_the_crowd_and_a_tenth_wastes_the_backend() {
        let (lost, _) = with_fixed_probability(1.0, 60);
        let (none, kept) = with_fixed_probability(0.1, 60);
        assert!(lost > 0.4, "{lost}");
        assert!(none < 0.01 && kept < 600.0, "{none} {kept}");
    }
}
