//! Heartbeats over UDP.

pub mod address;
pub mod counters;
pub mod handle;
pub mod server;
pub mod settings;
mod socket;
pub mod steer;
