//! The search tried out on boxes whose lifetime is known, thousands of times: what the tables of the tests and of
//! `benches/keepalive` are made by. Everything is drawn from a seed.

pub mod draw;
pub mod link;
pub mod rounds;
pub mod search;
