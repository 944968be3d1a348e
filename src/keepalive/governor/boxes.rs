//! The boxes of a cohort, from the shortest lifetime up.
//!
//! What is learnt first is the lowest lifetime that a fifth of the cohort has: it decides what everybody may be told. When
//! it is known, some devices may be seen to live far longer: they are behind another box, and are learnt as a cohort of
//! their own, one layer up. A layer that nobody lives beyond is the last.
//!
//! Limits: a box whose devices never were asked for more than the box below them stays hidden until the watch for longer
//! lifetimes comes to one of them; it costs them heartbeats, and no message.

use std::sync::Arc;
use std::time::Duration;

use flyball_sdk::device::id::DeviceId;
use flyball_sdk::device::probe::Cell;

use super::learning::{Ground, Learning};
use crate::keepalive::device::{APART_CELLS, Offer, Shown};
use crate::keepalive::mixture::{Bracket, Outcome};

/// Boxes told apart at most.
const LAYERS_MAX: usize = 4;

/// What is known of one class of bindings.
#[derive(Debug)]
pub(super) struct Boxes {
    ground: Arc<Ground>,
    layers: Vec<Layer>,
}

/// Devices that live beyond this, as a cohort of their own.
#[derive(Debug)]
struct Layer {
    beyond: Cell,
    learning: Learning,
}

impl Boxes {
    /// Of which only the prior is known.
    pub(super) fn new(ground: Arc<Ground>) -> Self {
        let learning = Learning::new(&ground);
        Self { ground, layers: vec![Layer { beyond: Cell::new(0), learning }] }
    }

    /// From the start again.
    pub(super) fn forget(&mut self) {
        *self = Self::new(Arc::clone(&self.ground));
    }

    /// What one silence of a device showed, which by now has shown this.
    pub(super) fn observe(&mut self, device: DeviceId, shown: &Shown, cell: Cell, outcome: Outcome) {
        let survived = shown.survived().unwrap_or(Cell::new(0));
        for (at, layer) in self.layers.iter_mut().enumerate() {
            if at == 0 || survived >= layer.beyond {
                layer.learning.observe(device, cell, outcome);
            }
        }
    }

    /// Takes in what was observed since the last time, and looks for another box above those that are known.
    pub(super) fn refresh(&mut self) {
        self.layers.iter_mut().for_each(|layer| layer.learning.refresh());
        let Some(top) = self.layers.last() else { return };
        let Some(offer) = top.learning.offer() else { return };
        let beyond = offer.upper.plus(1);
        let lives_beyond = |bracket: &&Bracket| {
            bracket.survived >= beyond.number() && bracket.expired >= beyond.number() + APART_CELLS
        };
        let upper: Vec<Bracket> = top.learning.brackets().iter().filter(lives_beyond).copied().collect();
        if upper.is_empty() || self.layers.len() >= LAYERS_MAX {
            return;
        }
        let mut learning = Learning::new(&self.ground);
        for bracket in upper {
            learning.observe(bracket.device, Cell::new(bracket.survived), Outcome::Survived);
            if bracket.has_expired() {
                let false_probability = f64::from(bracket.false_probability);
                learning.observe(bracket.device, Cell::new(bracket.expired), Outcome::Expired { false_probability });
            }
        }
        learning.refresh();
        self.layers.push(Layer { beyond, learning });
    }

    /// The layer that is still to be learnt, and from which silence on devices are of it.
    pub(super) fn open(&mut self) -> Option<(&mut Learning, Cell)> {
        let at = self.open_at()?;
        let layer = &mut self.layers[at];
        Some((&mut layer.learning, layer.beyond))
    }

    /// What lifetimes may be.
    pub(super) fn ground(&self) -> &Ground {
        &self.ground
    }

    /// The box that decides what everybody is told.
    pub(super) fn lowest(&self) -> &Learning {
        &self.layers[0].learning
    }

    /// The same, to be changed.
    pub(super) fn lowest_mut(&mut self) -> &mut Learning {
        &mut self.layers[0].learning
    }

    /// Lifetimes that devices may try, shortest first.
    pub(super) fn offers(&self) -> Vec<Offer> {
        let is_apart = |layer: &Layer, offer: &Offer| {
            layer.beyond.number() == 0 || offer.lower.number() >= layer.beyond.number() + APART_CELLS
        };
        let offers = self.layers.iter().filter_map(|layer| layer.learning.offer().filter(|one| is_apart(layer, one)));
        let mut offers: Vec<Offer> = offers.collect();
        offers.sort_unstable();
        offers
    }

    /// Whether tests of these silences, which began `waited` ago, are to be waited for.
    pub(super) fn is_worth_waiting(&self, running: &[Cell], waited: Duration) -> bool {
        self.open_at().is_some_and(|at| self.layers[at].learning.is_worth_waiting(running, waited))
    }

    /// Searches come first: what is found is offered, and then confirmed by those who try it.
    fn open_at(&self) -> Option<usize> {
        let is_open = |layer: &Layer| !layer.learning.is_learnt();
        let is_searching = |layer: &Layer| is_open(layer) && layer.learning.is_searching();
        self.layers.iter().position(is_searching).or_else(|| self.layers.iter().position(is_open))
    }
}
