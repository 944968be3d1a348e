//! How an edge is joined to the loop: orders and commands come in, observations go out.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};

use super::cohorts::CohortTable;
use crate::keepalive::observation::Observation;
use crate::keepalive::order::{DeviceCommand, Orders};

/// Batches of observations that wait for the loop; an edge drops what does not fit, and counts it: statistics lose
/// nothing but time by it.
pub const OBSERVATIONS_QUEUE: usize = 1_024;
/// Batches of commands that wait for an edge. More are dropped: tests are ordered again, a pace when its device comes back.
pub const COMMANDS_QUEUE: usize = 256;

/// What an edge is given.
#[derive(Debug)]
pub struct Wiring {
    /// The orders in force.
    pub orders: Arc<ArcSwap<Orders>>,
    /// Their generation; changes after they are stored. For edges that push.
    pub changed: watch::Receiver<u64>,
    /// For devices of this edge.
    pub commands: mpsc::Receiver<Vec<DeviceCommand>>,
    /// What this edge saw.
    pub observations: mpsc::Sender<Vec<Observation>>,
    /// Which cohort a device is of.
    pub cohorts: Arc<CohortTable>,
}
