//! What outlives a process and what several processes share. On one machine: an embedded store.

pub mod ledger;
pub mod store;
