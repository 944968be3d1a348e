//! The edge into the kernel: loads and attaches the eBPF monitor, and reads of each device's gaps and rebindings.

pub mod attach;
pub mod capability;
mod census;
pub mod clock;
mod counts;
pub mod error;
mod extras;
pub mod frame;
mod interfaces;
pub mod key;
pub mod live;
pub mod load;
mod lock;
pub mod mirror;
mod netlink;
pub mod prefixes;
pub mod reader;
pub mod settings;
pub mod steering;
mod sys;
