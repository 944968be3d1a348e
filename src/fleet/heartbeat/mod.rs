//! Heartbeats over UDP.
//!
//! Millions of small datagrams from addresses that change, that can be copied, and that cannot be believed. A thread a
//! core, each with a socket of its own and with its own part of the devices, so that nothing on the way is shared or
//! locked; the kernel steers datagrams by device id. What is refused costs little, creates nothing and is counted.
//!
//! ```text
//!  kernel ─ steer ─▶ worker ─▶ shard: shape ▸ key id ▸ device ▸ MAC ▸ replay ▸ address ─▶ ack, order, second ack
//!                                └▶ observations, by the batch ─▶ the loop
//! ```
//!
//! What goes back is never more than what came: two answers of 40 bytes for 80. A device that is not here, or that comes
//! from a new address, answers first; until then it is no more than a line in a table that cannot grow.

pub mod address;
mod beat;
mod census;
pub mod counters;
mod flows;
pub mod handle;
mod hello;
mod judged;
mod names;
mod notices;
mod orders;
mod passive;
mod pending;
mod scan;
mod second;
mod secret;
pub mod server;
pub mod settings;
mod shard;
mod side;
mod socket;
pub mod steer;
mod stranger;
mod tend;
pub mod worker;
