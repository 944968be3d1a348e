//! What Flyball says about itself: logs and counters.

pub mod metrics;
