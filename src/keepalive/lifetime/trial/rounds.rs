//! Several devices behind one box, several flows on each, until the lifetime is known.

use std::time::Duration;

use flyball_sdk::device::probe::{Cell, ProbeOrder, SETTLE, TRIES, TRY_EVERY};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::draw::NatBox;
use super::search::{Found, Trial, evidence, found};
use crate::keepalive::lifetime::belief::Belief;
use crate::keepalive::lifetime::channel::Channel;
use crate::keepalive::lifetime::round;

/// Orders ride on acks: each device's comes with its next heartbeat, anywhere within the floor of the interval.
const ORDER_SECONDS: f64 = 15.0;
/// Exchanges in short gaps of all devices before the first round.
const SHORT_GAPS: u32 = 200;
/// A search that takes more rounds than this has failed.
const ROUNDS_MAX: u32 = 20;

/// How one search ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FoundInRounds {
    /// Rounds made.
    pub rounds: u32,
    /// From the first order to the answer.
    pub time: Duration,
    /// The answer; its tests are those that were not abandoned.
    pub found: Found,
}

/// A test on its way: when it ends, and what it tests.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Running {
    ends: f64,
    cell: Cell,
}

impl Trial {
    /// Searches once, with so many devices and flows.
    pub fn run_in_rounds(&self, devices: usize, flows: u8, seed: u64) -> FoundInRounds {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let nat = self.boxes.draw(&mut random);
        let mut belief = Belief::new(&self.guess.prior(&mut random));
        let mut channel = Channel::new();
        channel.short_gap(SHORT_GAPS, self.link.short_gaps(SHORT_GAPS, &mut random));
        let (mut rounds, mut tests, mut seconds) = (0, 0, 0.0);
        while rounds < ROUNDS_MAX {
            let orders = round::next(&belief, devices, flows);
            if orders.is_empty() {
                break;
            }
            rounds += 1;
            let running = started(&orders, &mut random);
            let (made, lasted) = self.wait(&running, nat, &mut belief, &mut channel, &mut random);
            tests += made;
            seconds += lasted;
        }
        FoundInRounds { rounds, time: Duration::from_secs_f64(seconds), found: found(&belief, nat, tests) }
    }

    /// One round: tests that were waited for, and its length in seconds.
    fn wait(
        &self,
        running: &[Running],
        nat: NatBox,
        belief: &mut Belief,
        channel: &mut Channel,
        random: &mut Pcg64Mcg,
    ) -> (u32, f64) {
        let (mut made, mut now) = (0, 0.0);
        for (done, test) in running.iter().enumerate() {
            let waited = Duration::from_secs_f64(now);
            if !round::is_worth_waiting(belief, running[done..].iter().map(|left| left.cell), waited) {
                break;
            }
            now = test.ends;
            made += 1;
            let (outcome, controls) = self.link.test(nat, test.cell.silence().as_secs_f64(), random);
            if let Some(evidence) = evidence(channel, outcome, controls) {
                channel.controls(controls);
                belief.observe(test.cell, evidence);
            }
        }
        (made, now)
    }
}

/// The tests of these orders, the first to end first.
fn started(orders: &[ProbeOrder], random: &mut Pcg64Mcg) -> Vec<Running> {
    let around = SETTLE.as_secs_f64() + f64::from(TRIES - 1) * TRY_EVERY.as_secs_f64();
    let mut running = Vec::new();
    for order in orders {
        let told = ORDER_SECONDS * random.random::<f64>();
        let ends = |cell: Cell| told + around + cell.silence().as_secs_f64();
        running.extend(order.cells().map(|cell| Running { ends: ends(cell), cell }));
    }
    running.sort_by(|a, b| a.ends.total_cmp(&b.ends));
    running
}
