//! What Flyball says about itself: logs and counters.

pub mod logs;
pub mod metrics;
