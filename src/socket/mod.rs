//! What every door of the house needs: listening sockets for bursts, and connections that give their slot back.

pub(crate) mod idle;
pub(crate) mod listen;

pub use self::listen::{BindError, raise_nofile_limit};
