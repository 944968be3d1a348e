//! How long one box on the way keeps a binding: the search for a hidden threshold through a channel that lies.
//!
//! ```text
//!  Prior ─▶ Belief ──▶ next_probe / round::next ──▶ orders on the wire
//!             ▲                                          │
//!             └── observe(cell, Evidence) ◀── Channel ◀──┘ outcome, controls
//! ```
//!
//! Doubling and then halving, as firmware tools do, takes one lost packet for an expiry and never looks back: at 5 % loss
//! it is wrong by more than 3.3 % in a third of its runs. Here each test moves a posterior, the next one is where it tells
//! most, and the search ends when one answer holds 99.9 % of the belief: eight or nine bits of a 2 % grid from 10 s to 2 h,
//! and about one test more to be sure of the upper edge (Horstein, *Sequential transmission using noiseless feedback*,
//! 1963; Waeber, Frazier and Henderson, *Bisection search with noisy responses*, 2013).
//!
//! One belief is of one box. What several boxes behind one name are is not learnt here.

pub mod belief;
pub mod channel;
pub mod prior;
pub mod probe;
pub mod round;
pub mod trial;
