//! Flyball governs what a fleet sends too much or too little of.
//!
//! One way through the house:
//!
//! ```text
//!  prometheus ─┐                                    ┌─▶ serve/jaeger   HTTP :5778, gRPC :5779 :14250
//!  scrape ─────┼─ Traffic ─▶ controller ─ Snapshot ─┼─▶ serve/stream   push to SDKs
//!  otlp ───────┘               │    ▲               └─▶ admin          metrics, API, dashboard
//!                              ▼    │
//!                            sampling (pure)
//! ```
//!
//! Sources make observations, the controller decides and publishes an immutable snapshot, sinks only read it. What SDKs
//! answer comes in again as an observation, through the front door.

// What tests inside and outside the library share names it by its name.
#[cfg(test)]
extern crate self as flyball;

pub mod admin;
pub mod alert;
pub mod chaos;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod controller;
pub mod demo;
pub mod document;
pub mod error_chain;
pub mod fleet;
mod folder;
pub mod house;
pub mod keepalive;
#[path = "../chaos/lab/mod.rs"]
pub mod lab;
pub mod monitor;
mod plot;
pub mod policy;
pub mod proto;
pub mod sampling;
pub mod scenario;
pub mod serve;
pub mod simulate;
pub mod socket;
pub mod source;
pub mod telemetry;
pub mod time;
