//! Which worker a device is of. By its id, not by its address: the kernel's own choice hashes the address, and a device
//! behind a NAT that forgot it would come to a worker that has never heard of it, with an empty replay window.
//!
//! The same function twice: here, for commands, and as a program of classic BPF that the kernel runs for each datagram.

/// An odd number with its bits well spread (2^32 over the golden ratio).
const MULTIPLIER: u32 = 0x9e37_79b1;
/// Of the device's id in the payload.
const ID_OFFSET: u32 = 8;
const WORDS: u32 = 4;

/// One instruction of classic BPF: `struct sock_filter`.
pub(crate) type Instruction = (u16, u8, u8, u32);

/// The worker of a device, of `workers`.
pub fn worker_of(id: &[u8; 16], workers: u32) -> usize {
    let words = id.chunks_exact(4).map(|word| word.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)));
    let hash = words.fold(0, |hash: u32, word| (hash ^ word).wrapping_mul(MULTIPLIER));
    ((hash >> 16) % workers) as usize
}

/// The same as a program. A datagram too short to hold an id is the first worker's.
pub(crate) fn program(workers: u32) -> Vec<Instruction> {
    const LD_W_ABS: u16 = 0x20;
    const LDX_IMM: u16 = 0x01;
    const XOR_X: u16 = 0xac;
    const MUL_K: u16 = 0x24;
    const RSH_K: u16 = 0x74;
    const MOD_K: u16 = 0x94;
    const TAX: u16 = 0x07;
    const RET_A: u16 = 0x16;
    let mut program = vec![(LDX_IMM, 0, 0, 0)];
    for word in 0..WORDS {
        program.extend([
            (LD_W_ABS, 0, 0, ID_OFFSET + 4 * word),
            (XOR_X, 0, 0, 0),
            (MUL_K, 0, 0, MULTIPLIER),
            (TAX, 0, 0, 0),
        ]);
    }
    program.extend([(RSH_K, 0, 0, 16), (MOD_K, 0, 0, workers), (RET_A, 0, 0, 0)]);
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_spread_evenly_whatever_their_ids_are_like() {
        let counted = |n: u64| std::array::from_fn::<u8, 16, _>(|i| if i < 8 { 0 } else { n.to_be_bytes()[i - 8] });
        let repeated = |n: u64| [n.to_be_bytes(), n.to_be_bytes()].concat().try_into().expect("16 bytes");
        for id in [&counted as &dyn Fn(u64) -> [u8; 16], &repeated] {
            let mut workers = [0; 8];
            (0..80_000).for_each(|n| workers[worker_of(&id(n), 8)] += 1);
            assert!(workers.iter().all(|n| (8_500..11_500).contains(n)), "{workers:?}");
        }
    }
}
