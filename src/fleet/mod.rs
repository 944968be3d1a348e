//! Devices: where their heartbeats and their gateways' streams come in, and the orders go out.

pub mod cohorts;
pub mod heartbeat;
pub mod keys;
pub mod prefixes;
pub mod registry;
mod sys;
pub mod wiring;
