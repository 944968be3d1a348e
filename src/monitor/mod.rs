//! The edge into the kernel: loads and attaches the eBPF monitor, and reads of each device's gaps and rebindings.
//!
//! ```text
//!  kernel ── load, mirror ─▶ Frame ─▶ view ─┬─▶ Event ─▶ Gap      what ended, and how
//!  a file ── capture ──────▶                └─▶ Totals            what was counted, by cohort
//! ```

pub mod board;
pub mod capture;
pub mod event;
pub mod frame;
pub mod histogram;
pub mod key;
pub mod load;
pub mod mirror;
pub mod prefixes;
pub mod settings;
#[cfg(test)]
pub(crate) mod synthetic;
pub mod totals;
pub mod view;
