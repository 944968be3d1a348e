//! The sampling core: from observed [`traffic`] and a validated [`policy`] to a complete [`decision`]. Pure: no clock,
//! no I/O, no logging; a [`governor::Governor`] holds one policy's memory and is given `now`.

pub mod allocation;
pub mod budget;
#[cfg(test)]
mod closed_loop;
pub mod decision;
pub mod effect;
pub mod forecast;
pub mod governor;
pub mod guard;
pub mod law;
pub mod local;
pub mod memory;
pub mod pattern;
pub mod phase;
pub mod policy;
pub mod probability;
mod report;
pub mod roster;
pub mod settle;
pub mod spans;
pub mod traffic;
