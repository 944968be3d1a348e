//! Capacity: filled, exceeded, halved, grown, and loss that has nothing to do with it.

use super::{Plant, SPANS, policy};
use crate::sampling::decision::{BudgetReason, Reason};

#[test]
fn an_idle_backend_is_filled_by_slow_start_up_to_everything() {
    let mut plant = Plant::new(policy(), &[("checkout", None, 100.0)]);
    plant.run(120);
    assert_eq!(plant.served("checkout", None), 1.0);
    assert_eq!(plant.last().services[0].rate.reason, Reason::AtMax);
    assert_eq!(plant.last().inputs.spans_per_trace, Some(SPANS));
}

#[test]
fn the_first_loss_ends_slow_start_just_under_the_capacity() {
    let mut plant = Plant::new(policy(), &[("checkout", None, 10_000.0)]);
    plant.capacity = 20_000.0;
    plant.run(180);
    assert!(plant.loss() <= 0.01, "loss {}", plant.loss());
    assert!((0.9..=1.01).contains(&(plant.offered() / plant.capacity)), "offered {}", plant.offered());
}

#[test]
fn a_tenfold_surge_is_answered_in_the_tick_that_sees_it() {
    let mut plant = Plant::new(policy(), &[("checkout", None, 1_000.0)]);
    plant.capacity = 8_000.0;
    plant.run(600);
    let before = plant.served("checkout", None);
    plant.demand[0].2 = 10_000.0;
    plant.tick();
    assert!(plant.loss() <= 0.01, "loss {} after the tick", plant.loss());
    let ratio = |plant: &Plant| before / plant.served("checkout", None);
    // A rise is led, because it may have begun late in the interval; the next interval tells that it did not.
    assert!((9.0..=30.0).contains(&ratio(&plant)), "cut by {}", ratio(&plant));
    plant.run(20);
    assert!((9.0..=11.5).contains(&ratio(&plant)), "cut by {}", ratio(&plant));
}

#[test]
fn halved_capacity_is_found_and_used() {
    let mut plant = Plant::new(policy(), &[("checkout", None, 10_000.0)]);
    plant.capacity = 8_000.0;
    plant.run(600);
    plant.capacity = 4_000.0;
    plant.run(15);
    assert!(plant.loss() <= 0.01, "loss {}", plant.loss());
    plant.run(600);
    assert!(plant.offered() >= 0.9 * 4_000.0, "offered {}", plant.offered());
}

#[test]
fn a_grown_capacity_is_found_slowly() {
    let mut plant = Plant::new(policy(), &[("checkout", None, 10_000.0)]);
    plant.capacity = 4_000.0;
    plant.run(300);
    plant.capacity = 8_000.0;
    let before = plant.budget();
    plant.run(3_600);
    assert!(plant.budget() > 1.3 * before, "{} after {before}", plant.budget());
    assert!(plant.loss() <= 0.01);
}

#[test]
fn loss_that_does_not_depend_on_load_does_not_ratchet_the_budget() {
    let mut plant = Plant::new(policy(), &[("checkout", None, 1_000.0)]);
    plant.run(300);
    plant.constant_loss = 0.03;
    plant.run(60);
    assert_eq!(plant.last().inputs.budget_reason, BudgetReason::LossNotLoad);
    plant.run(3_600);
    assert!(plant.served("checkout", None) >= 0.8, "{}", plant.served("checkout", None));
}

#[test]
fn a_loss_that_was_called_unavoidable_and_is_of_load_is_cut_again() {
    let mut plant = Plant::new(policy(), &[("checkout", None, 1_000.0)]);
    plant.run(300);
    plant.constant_loss = 0.4;
    plant.run(60);
    assert_eq!(plant.last().inputs.budget_reason, BudgetReason::LossNotLoad);
    // As much is lost as before, but of load.
    (plant.constant_loss, plant.capacity) = (0.0, 0.6 * plant.offered());
    plant.run(900);
    assert!(plant.loss() <= 0.01, "loss {}", plant.loss());
}

#[test]
fn constant_loss_from_the_start_does_not_end_slow_start() {
    let mut plant = Plant::new(policy(), &[("checkout", None, 1_000.0)]);
    plant.constant_loss = 0.03;
    plant.run(600);
    assert!(plant.served("checkout", None) >= 0.8, "{}", plant.served("checkout", None));
}

#[test]
fn real_overload_beside_unavoidable_loss_is_still_cut() {
    let mut plant = Plant::new(policy(), &[("checkout", None, 1_000.0)]);
    plant.constant_loss = 0.03;
    plant.run(600);
    plant.capacity = 4_000.0;
    plant.run(120);
    assert!(plant.offered() <= 4_400.0, "offered {}", plant.offered());
}

#[test]
fn clients_that_ignore_us_are_paid_for_by_the_rest() {
    let mut plant = Plant::new(policy(), &[("checkout", None, 10_000.0)]);
    plant.ignoring = 0.3;
    plant.capacity = 8_000.0;
    plant.run(900);
    assert!(plant.loss() <= 0.02, "loss {}", plant.loss());
    // 2,400 spans/s are beyond our reach; 5,600 are left for 7,000 requests/s.
    let right = 5_600.0 / (7_000.0 * SPANS);
    assert!(plant.served("checkout", None) >= 0.8 * right, "{} of {right}", plant.served("checkout", None));
}
