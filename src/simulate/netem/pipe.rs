//! One direction of a link on fake time: what netem does with a packet, by the packet, in netem's order.
//!
//! Corrupted packets are lost: the one bit fails a checksum at the next who looks. A packet that is sent twice goes
//! through everything else twice, as in the kernel.

use std::collections::VecDeque;
use std::time::Duration;

use rand::{Rng, RngExt};

use super::distribution::SCALE;
use super::{Chance, Loss, Netem};
use crate::time::MonoTime;

/// When the copies of a packet come out; none where it is lost.
pub type Arrivals = [Option<MonoTime>; 2];

/// What a direction remembers from packet to packet.
#[derive(Debug, Clone, Default)]
pub struct Pipe {
    state: State,
    /// The number drawn before, for what is correlated: loss, delay, duplicate, reorder, corrupt.
    last: [f64; 5],
    /// Packets since one was sent before its time.
    since_reorder: u32,
    /// When each packet that is held leaves, in no order.
    held: VecDeque<MonoTime>,
    /// When the last of them does.
    last_leaves: MonoTime,
}

/// Of the chains: good or received, but for the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Good,
    Bad,
    ReceivedInBurst,
    LostAlone,
}

/// Places of `last`.
#[derive(Debug, Clone, Copy)]
enum Draw {
    Loss,
    Delay,
    Duplicate,
    Reorder,
    Corrupt,
}

impl Pipe {
    /// A packet of this many bytes goes in.
    pub fn send(&mut self, netem: &Netem, now: MonoTime, bytes: u32, random: &mut impl Rng) -> Arrivals {
        let is_twice = self.happens(Draw::Duplicate, netem.duplicate, random);
        let is_lost = self.loses(netem.loss, random);
        let mut arrivals = [None; 2];
        if is_twice || !is_lost {
            arrivals[0] = self.passes(netem, now, bytes, random);
        }
        if is_twice && !is_lost && !self.loses(netem.loss, random) {
            arrivals[1] = self.passes(netem, now, bytes, random);
        }
        arrivals
    }

    /// When it comes out; not where it is corrupted, or the queue is full.
    fn passes(&mut self, netem: &Netem, now: MonoTime, bytes: u32, random: &mut impl Rng) -> Option<MonoTime> {
        let is_corrupt = self.happens(Draw::Corrupt, netem.corrupt, random);
        self.held.retain(|leaves| *leaves > now);
        if self.held.len() >= netem.limit() as usize {
            return None;
        }
        let leaves = if self.overtakes(netem, random) { now } else { self.leaves(netem, now, bytes, random) };
        if leaves > now {
            self.held.push_back(leaves);
        }
        (!is_corrupt).then_some(leaves)
    }

    fn overtakes(&mut self, netem: &Netem, random: &mut impl Rng) -> bool {
        let Some(reorder) = netem.reorder else { return false };
        let may = self.since_reorder + 1 >= reorder.gap;
        let does = may && self.happens(Draw::Reorder, reorder.chance, random);
        self.since_reorder = if does { 0 } else { self.since_reorder.saturating_add(1) };
        does
    }

    /// A rate begins with a packet when its delay is over and the one before is through.
    fn leaves(&mut self, netem: &Netem, now: MonoTime, bytes: u32, random: &mut impl Rng) -> MonoTime {
        let mut leaves = now.plus(self.delay(netem, random));
        if let Some(rate) = netem.rate {
            let bits = 8.0 * (f64::from(bytes) + f64::from(rate.packet_overhead)).max(0.0);
            let takes = Duration::from_secs_f64(bits / rate.bits_per_second.max(1) as f64);
            leaves = leaves.max(self.last_leaves).plus(takes);
            self.last_leaves = leaves;
        }
        leaves
    }

    fn delay(&mut self, netem: &Netem, random: &mut impl Rng) -> Duration {
        if netem.jitter.is_zero() {
            return netem.delay;
        }
        let table = netem.distribution.table();
        let part = self.draw(Draw::Delay, netem.delay_correlation, random);
        let place = ((part * table.len() as f64) as usize).min(table.len() - 1);
        let off = f64::from(table[place]) / SCALE * netem.jitter.as_secs_f64();
        Duration::from_secs_f64((netem.delay.as_secs_f64() + off).max(0.0))
    }

    fn happens(&mut self, draw: Draw, chance: Chance, random: &mut impl Rng) -> bool {
        chance.probability > 0.0 && self.draw(draw, chance.correlation, random) <= chance.probability
    }

    /// Partly the number drawn before.
    fn draw(&mut self, draw: Draw, correlation: f64, random: &mut impl Rng) -> f64 {
        let fresh = random.random::<f64>();
        if correlation == 0.0 {
            return fresh;
        }
        let last = &mut self.last[draw as usize];
        *last = fresh * (1.0 - correlation) + *last * correlation;
        *last
    }

    fn loses(&mut self, loss: Loss, random: &mut impl Rng) -> bool {
        match loss {
            Loss::Random(chance) => self.happens(Draw::Loss, chance, random),
            // The state changes for the next packet.
            Loss::GilbertElliott { to_bad, to_good, lost_bad, lost_good } => {
                let is_bad = self.state == State::Bad;
                let turns = random.random::<f64>() < if is_bad { to_good } else { to_bad };
                self.state = if is_bad != turns { State::Bad } else { State::Good };
                random.random::<f64>() < if is_bad { lost_bad } else { lost_good }
            }
            Loss::States { p13, p31, p32, p14, p23 } => {
                let drawn = random.random::<f64>();
                self.state = match self.state {
                    State::Good if drawn < p14 => State::LostAlone,
                    State::Good if drawn < p14 + p13 => State::Bad,
                    State::Good | State::LostAlone => State::Good,
                    State::Bad if drawn < p32 => State::ReceivedInBurst,
                    State::Bad if drawn < p32 + p31 => State::Good,
                    State::ReceivedInBurst if drawn >= p23 => State::ReceivedInBurst,
                    State::Bad | State::ReceivedInBurst => State::Bad,
                };
                matches!(self.state, State::Bad | State::LostAlone)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    use super::super::{Distribution, Rate, Reorder};
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const PACKETS: usize = 200_000;

    fn at(ms: u64) -> MonoTime {
        MonoTime::from_start(Duration::from_millis(ms))
    }

    /// One packet each millisecond.
    fn run(netem: &Netem) -> Vec<(MonoTime, Arrivals)> {
        let (mut pipe, mut random) = (Pipe::default(), Pcg64Mcg::seed_from_u64(7));
        (0..PACKETS as u64).map(|ms| (at(ms), pipe.send(netem, at(ms), 100, &mut random))).collect()
    }

    fn part(runs: &[(MonoTime, Arrivals)], is: impl Fn(&Arrivals) -> bool) -> f64 {
        runs.iter().filter(|(_, arrivals)| is(arrivals)).count() as f64 / runs.len() as f64
    }

    fn lost(loss: Loss) -> f64 {
        part(&run(&Netem { loss, ..Netem::default() }), |arrivals| arrivals[0].is_none())
    }

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 0.1 * expected, "{found} is not {expected}");
    }

    #[test]
    fn nothing_said_nothing_done() {
        assert!(run(&Netem::default()).iter().all(|(now, arrivals)| *arrivals == [Some(*now), None]));
    }

    #[test]
    fn each_loss_loses_what_its_chain_says() {
        near(lost(Loss::Random(Chance::of(0.02))), 0.02);
        // Bad for 0.01 / (0.01 + 0.25) of the time.
        let bursts = Loss::GilbertElliott { to_bad: 0.01, to_good: 0.25, lost_bad: 0.8, lost_good: 0.001 };
        near(lost(bursts), 0.8 * 0.01 / 0.26 + 0.001 * 0.25 / 0.26);
        // pi3 / pi1 = p13 / p31 and pi2 / pi3 = p32 / p23 and pi4 / pi1 = p14 (Salsano and others, 2012).
        let (p13, p31, p32, p14, p23) = (0.01, 0.2, 0.1, 0.005, 0.3);
        let (three, four) = (p13 / p31, p14);
        let all = 1.0 + three + three * p32 / p23 + four;
        near(lost(Loss::States { p13, p31, p32, p14, p23 }), (three + four) / all);
    }

    #[test]
    fn a_correlated_loss_comes_in_bursts_and_is_less() {
        let both = |loss| {
            let runs = run(&Netem { loss, ..Netem::default() });
            let pairs: Vec<_> = runs.windows(2).filter(|pair| pair[0].1[0].is_none()).collect();
            let again = pairs.iter().filter(|pair| pair[1].1[0].is_none()).count() as f64;
            (pairs.len() as f64 / runs.len() as f64, again / pairs.len() as f64)
        };
        let (alone, alone_again) = both(Loss::Random(Chance::of(0.2)));
        near(alone_again, alone);
        let (less, again) = both(Loss::Random(Chance { probability: 0.2, correlation: 0.6 }));
        assert!(less < 0.1 && again > 3.0 * less, "{less} {again}");
    }

    #[test]
    fn delays_have_the_mean_and_the_deviation_that_are_asked_for() {
        for (name, distribution) in Distribution::ALL {
            let netem = Netem { delay: 100 * MS, jitter: 10 * MS, distribution, ..Netem::default() };
            let runs = run(&netem);
            let delays: Vec<f64> =
                runs.iter().filter_map(|(now, a)| Some(a[0]?.since(*now).as_secs_f64() * 1e3)).collect();
            let mean = delays.iter().sum::<f64>() / delays.len() as f64;
            let deviation = (delays.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / delays.len() as f64).sqrt();
            let expected = if distribution == Distribution::Uniform { 10.0 / 3f64.sqrt() } else { 10.0 };
            assert!((mean - 100.0).abs() < 0.2 && (deviation - expected).abs() < 0.2, "{name}: {mean} {deviation}");
        }
    }

    #[test]
    fn duplicates_come_twice_and_the_corrupt_not_at_all() {
        let runs = run(&Netem { duplicate: Chance::of(0.1), corrupt: Chance::of(0.05), ..Netem::default() });
        near(part(&runs, |arrivals| arrivals[0].is_none()), 0.05);
        near(part(&runs, |arrivals| arrivals[1].is_some()), 0.1 * 0.95);
    }

    #[test]
    fn the_reordered_are_there_at_once() {
        let reorder = Some(Reorder { chance: Chance::of(0.5), gap: 5 });
        let runs = run(&Netem { delay: 10 * MS, reorder, ..Netem::default() });
        let at_once = runs.iter().filter(|(now, arrivals)| arrivals[0] == Some(*now)).count() as f64;
        // Four that may not, then one in two of those that may: two on average.
        near(at_once / runs.len() as f64, 1.0 / 6.0);
    }

    #[test]
    fn a_rate_lets_packets_through_one_by_one_and_its_queue_is_bounded() {
        // 100 bytes a millisecond are 800 kbit/s: half of it passes, and the queue is 20.
        let rate = Some(Rate { bits_per_second: 400_000, packet_overhead: 0 });
        let runs = run(&Netem { rate, limit: Some(20), ..Netem::default() });
        near(part(&runs, |arrivals| arrivals[0].is_some()), 0.5);
        let longest = runs.iter().filter_map(|(now, arrivals)| Some(arrivals[0]?.since(*now))).max();
        assert!(longest.is_some_and(|longest| (38 * MS..=41 * MS).contains(&longest)), "{longest:?}");
    }
}
