//! What netem is told, byte by byte: `struct tc_netem_qopt`, then attributes, all of `<linux/pkt_sched.h>` and in the
//! machine's own byte order. (libraries know netem as opaque bytes only.)
//!
//! The kernel keeps what a change leaves out: a table once set, a loss that was corrected. So that what is set is what
//! was said, each change says everything.

use crate::simulate::netem::{Chance, Loss, Netem};
use rtnetlink::packet_core::NlasIterator;

/// Attributes after the struct.
const CORRELATIONS: u16 = 1;
const TABLE: u16 = 2;
const REORDER: u16 = 3;
const CORRUPT: u16 = 4;
const LOSS: u16 = 5;
const RATE: u16 = 6;
const RATE64: u16 = 8;
const LATENCY64: u16 = 10;
const JITTER64: u16 = 11;
const SEED: u16 = 14;
/// Within `LOSS`.
const LOSS_STATES: u16 = 1;
const LOSS_GILBERT_ELLIOTT: u16 = 2;
const NESTED: u16 = 0x8000;
/// Length of `struct tc_netem_qopt`.
const HEAD: usize = 24;
/// A tick of the scheduler, in which older kernels take times.
const TICK_NS: u128 = 64;

/// The payload of `TCA_OPTIONS`.
pub(super) fn encode(netem: &Netem) -> Vec<u8> {
    let mut bytes = head(netem);
    let random = if let Loss::Random(chance) = netem.loss { chance } else { Chance::default() };
    let reorder = netem.reorder.map(|reorder| reorder.chance).unwrap_or_default();
    let correlations = [netem.delay_correlation, random.correlation, netem.duplicate.correlation].map(part);
    attribute(&mut bytes, CORRELATIONS, &words(&correlations));
    attribute(&mut bytes, REORDER, &chance(reorder));
    attribute(&mut bytes, CORRUPT, &chance(netem.corrupt));
    attribute(&mut bytes, RATE, &rate(netem));
    // A rate of 0 would be the 32 bits' maximum.
    let bytes_per_second = netem.rate.map_or(0, |rate| rate.bits_per_second / 8);
    if bytes_per_second > u64::from(u32::MAX) {
        attribute(&mut bytes, RATE64, &bytes_per_second.to_ne_bytes());
    }
    attribute(&mut bytes, LATENCY64, &nanoseconds(netem.delay).to_ne_bytes());
    attribute(&mut bytes, JITTER64, &nanoseconds(netem.jitter).to_ne_bytes());
    if let Some(loss) = chain(&netem.loss) {
        attribute(&mut bytes, LOSS | NESTED, &loss);
    }
    if !netem.jitter.is_zero() {
        let table: Vec<u8> = netem.distribution.table().iter().flat_map(|x| x.to_ne_bytes()).collect();
        attribute(&mut bytes, TABLE, &table);
    }
    if let Some(seed) = netem.seed {
        attribute(&mut bytes, SEED, &seed.to_ne_bytes());
    }
    bytes
}

/// `latency`, `limit`, `loss`, `gap`, `duplicate`, `jitter`.
fn head(netem: &Netem) -> Vec<u8> {
    let random = if let Loss::Random(chance) = netem.loss { chance.probability } else { 0.0 };
    let gap = netem.reorder.map_or(0, |reorder| reorder.gap);
    words(&[
        ticks(netem.delay),
        netem.limit(),
        part(random),
        gap,
        part(netem.duplicate.probability),
        ticks(netem.jitter),
    ])
}

fn chance(chance: Chance) -> Vec<u8> {
    words(&[part(chance.probability), part(chance.correlation)])
}

/// `rate` in bytes/s, `packet_overhead`, `cell_size`, `cell_overhead`.
fn rate(netem: &Netem) -> Vec<u8> {
    let bytes_per_second = netem.rate.map_or(0, |rate| u32::try_from(rate.bits_per_second / 8).unwrap_or(u32::MAX));
    let overhead = netem.rate.map_or(0, |rate| rate.packet_overhead);
    words(&[bytes_per_second, overhead.cast_unsigned(), 0, 0])
}

/// A chain of states, in an attribute of its own; `h` is what is *not* lost while bad.
fn chain(loss: &Loss) -> Option<Vec<u8>> {
    let (kind, parts) = match *loss {
        Loss::Random(_) => return None,
        Loss::GilbertElliott { to_bad, to_good, lost_bad, lost_good } => {
            (LOSS_GILBERT_ELLIOTT, vec![to_bad, to_good, 1.0 - lost_bad, lost_good])
        }
        Loss::States { p13, p31, p32, p14, p23 } => (LOSS_STATES, vec![p13, p31, p32, p14, p23]),
    };
    let mut bytes = Vec::new();
    attribute(&mut bytes, kind, &words(&parts.into_iter().map(part).collect::<Vec<u32>>()));
    Some(bytes)
}

/// A probability as the kernel counts it: 2^32 - 1 is always.
fn part(part: f64) -> u32 {
    (part.clamp(0.0, 1.0) * f64::from(u32::MAX)).round() as u32
}

fn ticks(time: std::time::Duration) -> u32 {
    u32::try_from(time.as_nanos() / TICK_NS).unwrap_or(u32::MAX)
}

fn nanoseconds(time: std::time::Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Length with the header, kind, payload, and zeros up to a multiple of 4.
fn attribute(bytes: &mut Vec<u8>, kind: u16, payload: &[u8]) {
    let length = u16::try_from(4 + payload.len()).expect("the longest is a table of 8 KB");
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// The first thing that was told and is shown otherwise. Tables are not shown. Times are shown twice, and the shorter
/// form is rounded.
pub(super) fn difference(told: &[u8], shown: &[u8]) -> Option<String> {
    if word(told, 4).is_none() || (4..20).step_by(4).any(|at| word(told, at) != word(shown, at)) {
        return Some(format!("{:?} in place of {:?}", head_words(shown), head_words(told)));
    }
    let shown = attributes(shown);
    let told = attributes(told).into_iter().filter(|(kind, _)| ![TABLE, SEED].contains(kind));
    told.into_iter().find_map(|(kind, value)| {
        let found = shown.iter().find(|(shown, _)| *shown == kind).map(|(_, value)| value);
        // What is zero need not be shown, and a nested attribute may be padded.
        let is_same = found.map_or(value.iter().all(|byte| *byte == 0), |found| *found == value);
        (!is_same).then(|| format!("attribute {kind} as {found:?} in place of {value:?}"))
    })
}

/// The limit, and the seed where the kernel knows of one.
pub(super) fn limit_and_seed(shown: &[u8]) -> (u32, Option<u64>) {
    let seed = attributes(shown).into_iter().find(|(kind, _)| *kind == SEED);
    let seed = seed.and_then(|(_, value)| Some(u64::from_ne_bytes(value.try_into().ok()?)));
    (word(shown, 4).unwrap_or(0), seed)
}

fn head_words(options: &[u8]) -> Vec<u32> {
    (0..HEAD).step_by(4).filter_map(|at| word(options, at)).collect()
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Kind and payload of each; what cannot be read ends the list.
fn attributes(options: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let rest = options.get(HEAD..).unwrap_or_default();
    let each = NlasIterator::new(rest).map_while(Result::ok);
    each.map(|attribute| (attribute.kind() & !NESTED, attribute.value().to_vec())).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::simulate::netem::{Distribution, Rate, Reorder};

    fn full() -> Netem {
        Netem {
            delay: Duration::from_millis(100),
            jitter: Duration::from_micros(64),
            distribution: Distribution::Pareto,
            delay_correlation: 0.25,
            loss: Loss::GilbertElliott { to_bad: 0.5, to_good: 1.0, lost_bad: 1.0, lost_good: 0.0 },
            duplicate: Chance { probability: 1.0, correlation: 0.5 },
            reorder: Some(Reorder { chance: Chance::of(1.0), gap: 5 }),
            corrupt: Chance::of(1.0),
            rate: Some(Rate { bits_per_second: 8_000_000, packet_overhead: -14 }),
            limit: Some(77),
            seed: Some(0x0102_0304_0506_0708),
        }
    }

    /// `struct tc_netem_qopt` of `<linux/pkt_sched.h>`: six words.
    #[test]
    fn the_head_is_the_kernels_struct() {
        let bytes = encode(&full());
        let words: Vec<u32> = head_words(&bytes);
        // Times in ticks of 64 ns.
        assert_eq!(words, [1_562_500, 77, 0, 5, u32::MAX, 1_000]);
        let random = Netem { loss: Loss::Random(Chance::of(0.5)), ..Netem::default() };
        assert_eq!(head_words(&encode(&random)), [0, 1_000, 0x8000_0000, 0, 0, 0]);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn attributes_are_the_kernels_byte_by_byte() {
        let bytes = encode(&Netem { jitter: Duration::ZERO, ..full() });
        let half = 0x8000_0000_u32;
        let mut expected = Vec::new();
        for (length, kind, words) in [
            (16, 1, vec![0x4000_0000, 0, half]),
            (12, 3, vec![u32::MAX, 0]),
            (12, 4, vec![u32::MAX, 0]),
            (20, 6, vec![1_000_000, 14_u32.wrapping_neg(), 0, 0]),
            (12, 10, vec![100_000_000, 0]),
            (12, 11, vec![0, 0]),
            (24, 0x8005, vec![20 | 2 << 16, half, u32::MAX, 0, 0]),
            (12, 14, vec![0x0506_0708, 0x0102_0304]),
        ] {
            expected.extend([length as u8, 0, kind as u8, (kind >> 8) as u8]);
            expected.extend(words.iter().flat_map(|word: &u32| word.to_le_bytes()));
        }
        assert_eq!(bytes[HEAD..], expected);
    }

    #[test]
    fn four_states_are_in_the_kernels_order() {
        let loss = Loss::States { p13: 1.0, p31: 0.0, p32: 1.0, p14: 0.0, p23: 1.0 };
        let bytes = encode(&Netem { loss, ..Netem::default() });
        let (_, value) = attributes(&bytes).into_iter().find(|(kind, _)| *kind == LOSS).expect("told");
        assert_eq!(value[..4], [24_u16.to_ne_bytes(), LOSS_STATES.to_ne_bytes()].concat());
        let told: Vec<u32> = (4..24).step_by(4).filter_map(|at| word(&value, at)).collect();
        assert_eq!(told, [u32::MAX, 0, u32::MAX, 0, u32::MAX]);
    }

    #[test]
    fn a_table_is_sent_whole_wherever_there_is_jitter_and_a_fast_rate_in_64_bits() {
        let rate = Some(Rate { bits_per_second: 80_000_000_000, packet_overhead: 0 });
        let bytes = encode(&Netem { distribution: Distribution::Uniform, rate, ..full() });
        let of = |kind| attributes(&bytes).into_iter().find(|(found, _)| *found == kind).map(|(_, value)| value);
        let table = of(TABLE).expect("sent");
        assert_eq!((table.len(), i16::from_ne_bytes([table[0], table[1]])), (8_192, -8_190));
        assert_eq!(of(RATE64), Some(10_000_000_000_u64.to_ne_bytes().to_vec()));
        assert_eq!(of(RATE).and_then(|rate| word(&rate, 0)), Some(u32::MAX));
    }

    #[test]
    fn what_the_kernel_took_otherwise_is_found() {
        let told = encode(&full());
        assert_eq!(difference(&told, &told), None);
        let other = [
            Netem { limit: Some(78), ..full() },
            Netem { corrupt: Chance::of(0.5), ..full() },
            Netem { delay: Duration::from_millis(101), ..full() },
            Netem { loss: Loss::default(), ..full() },
        ];
        for netem in other {
            assert!(difference(&told, &encode(&netem)).is_some(), "{netem:?}");
        }
        assert!(difference(&told, &[]).is_some());
        assert_eq!(limit_and_seed(&told), (77, Some(0x0102_0304_0506_0708)));
        assert_eq!(limit_and_seed(&encode(&Netem::default())), (1_000, None));
    }
}
