//! Devices: where their heartbeats and their gateways' streams come in, and the orders go out.

pub mod cohorts;
pub mod down;
pub mod grpc;
pub mod heartbeat;
pub mod keys;
pub mod passive;
pub mod prefixes;
pub mod registry;
pub mod scanned;
mod sys;
pub mod wiring;
