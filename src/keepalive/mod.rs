//! The second loop's core: how long the NATs on the way to a cohort's devices keep a binding, and the pace that follows.
//! Pure: observations come in with their times, orders come out.
//!
//! ```text
//!  Observation ─▶ Governor ─▶ Orders (a snapshot, one order a cohort) and DeviceCommands (for one device)
//! ```

pub mod alarm;
pub mod change;
pub mod cohort;
pub mod device;
pub mod governor;
pub mod interval;
pub mod lifetime;
pub mod mixture;
pub mod observation;
pub mod order;
pub mod policy;
pub mod ports;
pub mod report;
pub mod wave;
