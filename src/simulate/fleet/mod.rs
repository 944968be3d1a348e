//! Fleets on fake time: devices behind the NATs of their carriers, a way that loses packets, power and radio that come and
//! go, and a server around the real governor. Event by event, so that a day of thousands of devices takes seconds, and
//! coverage is summed exactly.
//!
//! Devices are the real state machine of `flyball_sdk::device`, driven without sockets; what a NAT does with a binding is
//! Linux's conntrack, by the packet. What the links do to packets is netem's, by the packet. Left out: everything about
//! keys and labels.

mod agenda;
mod device;
mod draw;
mod law;
mod ledger;
mod loss;
pub mod metrics;
mod nat;
mod plant;
mod recorder;
mod resumed;
mod rollouts;
pub mod scenario;
mod server;
mod shown;
pub mod trace;
pub mod trajectory;

pub use draw::facts;
pub use plant::run;
