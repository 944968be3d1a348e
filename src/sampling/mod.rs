//! The sampling core: from observed [`traffic`] and a validated [`policy`] to a complete [`decision`]. Pure: no clock,
//! no I/O, no logging; a [`governor::Governor`] holds one policy's memory and is given `now`.

pub mod decision;
pub mod pattern;
pub mod policy;
pub mod probability;
pub mod traffic;
