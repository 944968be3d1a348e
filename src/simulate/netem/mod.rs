//! What a link does to packets, in the words of Linux's `netem`: one set of values for both worlds. The lab gives them to
//! the kernel, the simulator to [`pipe::Pipe`], which does the same by the packet.
//!
//! All of it concerns one direction of one link. Probabilities are of a packet, from 0 to 1. Where a correlation is not
//! 0, netem draws each number partly from the one before; sums of uniform numbers are not uniform, so that the part of
//! packets hit is then another than the probability (below it where it is under one half). Losses in bursts are better
//! told by a chain of states.

pub mod distribution;
pub mod pipe;
pub mod schedule;

use std::time::Duration;

pub use distribution::Distribution;

/// A lab's link without a `rate` passes fewer packets a second than this.
const PACKETS_PER_SECOND: f64 = 100_000.0;
/// The shortest Ethernet frame; a queue is counted in packets, and the shortest need most of them.
const FRAME_MIN_BYTES: f64 = 64.0;
/// A link with a `rate` queues this long before it drops: more only delays.
const QUEUE: Duration = Duration::from_secs(1);
/// The kernel's own limit; no queue need be shorter where there is no rate.
const LIMIT_DEFAULT: f64 = 1_000.0;
/// Fewer than these drop what comes together.
const LIMIT_MIN: f64 = 16.0;
/// Beyond this a queue is a leak.
const LIMIT_MAX: f64 = 10_000_000.0;

/// Longest delay and jitter.
pub const DELAY_MAX: Duration = Duration::from_secs(3_600);
/// Lowest and highest rate, in bits/s.
pub const RATE_RANGE: std::ops::RangeInclusive<u64> = 1_000..=1_000_000_000_000;

/// One direction of a link. `Default` changes nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Netem {
    /// Each packet takes this long more.
    pub delay: Duration,
    /// How far a packet's delay is from `delay`: the half width of `Uniform`, else the standard deviation. Packets
    /// overtake each other by it, except where a `rate` keeps them in line.
    pub jitter: Duration,
    /// How the jitter is distributed.
    pub distribution: Distribution,
    /// Correlation of one packet's delay with the next one's.
    pub delay_correlation: f64,
    /// What is lost.
    pub loss: Loss,
    /// What comes twice.
    pub duplicate: Chance,
    /// What is sent at once, before those that are delayed. Needs a delay.
    pub reorder: Option<Reorder>,
    /// Packets of which one bit is flipped; nearly all are dropped by a checksum.
    pub corrupt: Chance,
    /// How fast packets follow each other.
    pub rate: Option<Rate>,
    /// How many packets are held at once, those delayed included; what comes then is dropped, in silence. `None`: see
    /// [`Netem::limit`].
    pub limit: Option<u32>,
    /// Seed of what is drawn, the same each time from the moment that it is set. The kernel takes it since 6.6.
    pub seed: Option<u64>,
}

/// A probability of a packet, and its correlation with the packet before.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Chance {
    /// From 0, never, to 1, always.
    pub probability: f64,
    /// From 0, each by itself, to 1.
    pub correlation: f64,
}

/// What a direction loses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loss {
    /// Each packet by itself, or nearly.
    Random(Chance),
    /// Gilbert and Elliott: a good state and a bad one, which change from packet to packet.
    GilbertElliott {
        /// From good to bad: netem's `p`.
        to_bad: f64,
        /// From bad to good: `r`.
        to_good: f64,
        /// Lost while bad: `1-h`.
        lost_bad: f64,
        /// Lost while good: `1-k`.
        lost_good: f64,
    },
    /// Four states (Salsano and others): 1 received in a gap, 2 received in a burst, 3 lost in a burst, 4 lost alone.
    States {
        /// A burst begins.
        p13: f64,
        /// A burst ends; with `p32` at most 1.
        p31: f64,
        /// A packet is received within a burst.
        p32: f64,
        /// Lost alone, in a gap; with `p13` at most 1.
        p14: f64,
        /// The burst goes on after such a packet.
        p23: f64,
    },
}

/// Packets sent before their time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reorder {
    /// Which of those that may.
    pub chance: Chance,
    /// Only each packet of this number may, from 1: every one.
    pub gap: u32,
}

/// How fast packets follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Bits a second, the Ethernet header included.
    pub bits_per_second: u64,
    /// Bytes that each packet counts more for, or less.
    pub packet_overhead: i32,
}

/// Which way, as seen from a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Towards the server.
    Up,
    /// Towards the devices.
    Down,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Up, Self::Down];
}

impl Chance {
    /// Each packet by itself.
    pub const fn of(probability: f64) -> Self {
        Self { probability, correlation: 0.0 }
    }
}

impl Default for Loss {
    fn default() -> Self {
        Self::Random(Chance::default())
    }
}

impl Loss {
    /// Whether it loses nothing, whatever is drawn.
    pub fn is_none(&self) -> bool {
        match *self {
            Self::Random(chance) => chance.probability == 0.0,
            Self::GilbertElliott { to_bad, lost_bad, lost_good, .. } => {
                lost_good == 0.0 && (to_bad == 0.0 || lost_bad == 0.0)
            }
            Self::States { p13, p14, .. } => p13 == 0.0 && p14 == 0.0,
        }
    }
}

impl Netem {
    /// How many packets are held at once: `limit` where it is given, else
    ///
    /// ```text
    /// without a rate   max(1000, 1.25 x 100,000 x longest)
    /// with one         max(16, 1.25 x rate / (8 x (64 + overhead)) x (longest + 1 s))
    /// longest          delay + jitter x the distribution's longest tail (1 uniform, else 4)
    /// ```
    ///
    /// and at most 10,000,000. The kernel's own limit of 1,000 packets drops in silence what a link holds that is both
    /// fast and long: 100 ms at 10,000 packets a second, or 110 s at 9.
    pub fn limit(&self) -> u32 {
        if let Some(limit) = self.limit {
            return limit;
        }
        let longest = self.delay + self.jitter.mul_f64(self.distribution.longest());
        let packets = match self.rate {
            None => (PACKETS_PER_SECOND * longest.as_secs_f64() * 1.25).max(LIMIT_DEFAULT),
            Some(rate) => {
                let bytes = (FRAME_MIN_BYTES + f64::from(rate.packet_overhead)).max(1.0);
                let a_second = rate.bits_per_second as f64 / (8.0 * bytes);
                (1.25 * a_second * (longest + QUEUE).as_secs_f64()).max(LIMIT_MIN)
            }
        };
        packets.min(LIMIT_MAX).ceil() as u32
    }

    /// What netem cannot do, in a sentence; `None` for what it can.
    pub fn mistake(&self) -> Option<String> {
        let chances = [
            ("duplicate", self.duplicate),
            ("corrupt", self.corrupt),
            ("reorder", self.reorder.map(|reorder| reorder.chance).unwrap_or_default()),
            ("delay correlation", Chance { probability: 0.0, correlation: self.delay_correlation }),
        ];
        let is_part = |part: f64| (0.0..=1.0).contains(&part);
        let wrong = chances.into_iter().find(|(_, c)| !is_part(c.probability) || !is_part(c.correlation));
        if let Some((name, chance)) = wrong {
            return Some(format!("{name}: {chance:?} is not within 0 and 1"));
        }
        if !self.loss.is_possible() {
            return Some(format!(
                "{:?}: parts are within 0 and 1, and what leaves one state sums to at most 1",
                self.loss
            ));
        }
        if self.delay > DELAY_MAX || self.jitter > DELAY_MAX {
            return Some(format!("a delay or jitter above {DELAY_MAX:?}"));
        }
        if self.reorder.is_some_and(|reorder| reorder.gap == 0) {
            return Some("a reorder gap of 0: from 1 on, every packet".to_owned());
        }
        if self.reorder.is_some() && self.delay.is_zero() {
            return Some("reorder without a delay: there is nobody to overtake".to_owned());
        }
        if self.rate.is_some_and(|rate| !RATE_RANGE.contains(&rate.bits_per_second)) {
            return Some(format!("a rate outside of {RATE_RANGE:?} bits/s"));
        }
        (self.limit == Some(0)).then(|| "a limit of 0 packets: nothing would pass".to_owned())
    }
}

impl Loss {
    fn is_possible(&self) -> bool {
        let (parts, sums) = match *self {
            Self::Random(chance) => (vec![chance.probability, chance.correlation], vec![]),
            Self::GilbertElliott { to_bad, to_good, lost_bad, lost_good } => {
                (vec![to_bad, to_good, lost_bad, lost_good], vec![])
            }
            Self::States { p13, p31, p32, p14, p23 } => (vec![p13, p31, p32, p14, p23], vec![p13 + p14, p31 + p32]),
        };
        parts.into_iter().chain(sums).all(|part| (0.0..=1.0).contains(&part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_limit_holds_what_the_link_holds() {
        let plain = Netem { delay: 100 * MS, ..Netem::default() };
        assert_eq!(plain.limit(), 12_500);
        assert_eq!(Netem { delay: MS, ..Netem::default() }.limit(), 1_000, "never less than the kernel's own");
        assert_eq!(Netem { limit: Some(7), ..plain.clone() }.limit(), 7);
        let rate = Some(Rate { bits_per_second: 512_000, packet_overhead: 0 });
        // 1,000 of the shortest frames a second, for 1.1 s, and a quarter more.
        assert_eq!(Netem { rate, ..plain.clone() }.limit(), 1_375);
        let jitter = Netem { rate, jitter: 100 * MS, distribution: Distribution::Normal, ..plain };
        assert_eq!(jitter.limit(), 1_875);
        let slow = Some(Rate { bits_per_second: 1_000, packet_overhead: -64 });
        assert_eq!(Netem { rate: slow, ..Netem::default() }.limit(), 157);
        assert_eq!(Netem { delay: DELAY_MAX, ..Netem::default() }.limit(), 10_000_000);
    }

    #[test]
    fn what_netem_cannot_do_is_said() {
        let chance = Chance::of(1.5);
        let reorder = Some(Reorder { chance: Chance::of(0.5), gap: 0 });
        let mistakes = [
            Netem { duplicate: chance, ..Netem::default() },
            Netem { corrupt: Chance { probability: 0.1, correlation: f64::NAN }, ..Netem::default() },
            Netem { loss: Loss::Random(Chance::of(-0.1)), ..Netem::default() },
            Netem { loss: Loss::States { p13: 0.6, p31: 0.1, p32: 0.1, p14: 0.6, p23: 0.1 }, ..Netem::default() },
            Netem { delay: 2 * DELAY_MAX, ..Netem::default() },
            Netem { delay: MS, reorder, ..Netem::default() },
            Netem { reorder: Some(Reorder { chance: Chance::of(0.5), gap: 1 }), ..Netem::default() },
            Netem { rate: Some(Rate { bits_per_second: 1, packet_overhead: 0 }), ..Netem::default() },
            Netem { limit: Some(0), ..Netem::default() },
        ];
        for netem in mistakes {
            assert!(netem.mistake().is_some(), "{netem:?}");
        }
        assert_eq!(Netem::default().mistake(), None);
    }
}
