//! The loop: observe, decide, publish. One task owns all state; everyone else reads the [`snapshot::Snapshot`].

pub mod answer;
pub mod snapshot;
pub mod usage;
