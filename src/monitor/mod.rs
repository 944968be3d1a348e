//! The edge into the kernel: loads and attaches the eBPF monitor, and reads of each device's gaps and rebindings.
//!
//! ```text
//!  kernel ── live ────▶ Frame ─▶ view ─┬─▶ Event ─▶ Gap      what ended, and how
//!  a file ── capture ─▶                └─▶ Totals            what was counted, by cohort
//! ```

pub mod attach;
pub mod board;
pub mod capability;
pub mod capture;
mod census;
pub mod clock;
mod counts;
pub mod error;
pub mod event;
mod extras;
pub mod frame;
pub mod histogram;
mod interfaces;
pub mod key;
pub mod live;
pub mod load;
mod lock;
pub mod mirror;
mod netlink;
pub mod prefixes;
pub mod reader;
pub mod room;
pub mod settings;
pub mod steering;
#[cfg(test)]
pub(crate) mod synthetic;
mod sys;
pub mod totals;
pub mod view;
