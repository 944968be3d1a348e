//! The loop: observe, decide, publish. One task owns all state; everyone else reads the [`snapshot::Snapshot`].

pub mod answer;
pub mod assemble;
pub mod audit;
pub mod control;
pub mod governors;
mod journal;
pub mod keepalive;
pub mod memory;
mod released;
pub mod rollouts;
pub mod snapshot;
pub mod usage;
mod wire;
