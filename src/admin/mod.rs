//! Edge out for operators: health, metrics, decisions and why they were taken.
