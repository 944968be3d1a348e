//! The edge into the kernel: loads and attaches the eBPF monitor, and reads of each device's gaps and rebindings.

pub mod frame;
pub mod key;
pub mod load;
pub mod mirror;
pub mod prefixes;
pub mod settings;
